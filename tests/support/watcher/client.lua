-- A client on lpty, Prosody's pty library, as mod_auth_external uses it. Arguments: the command of the probe.
-- Asks a question for every line on its standard input and prints the reply.
local lpty = require "lpty"
local unpack = unpack or table.unpack

local pty = lpty.new { throw_errors = false, no_local_echo = true, use_path = false }
assert(pty:startproc(unpack(arg)))
print "ready"
io.stdout:flush()
while io.read() do
    pty:send "isuser:alice:example.com\n"
    print((pty:read(1000):gsub("%s", ""))) -- seconds
    io.stdout:flush()
end

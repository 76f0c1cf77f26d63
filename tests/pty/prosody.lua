-- Prosody's mod_auth_external on the real lpty, in blocking mode, as far as a helper can see it.
--
--     lua5.2 prosody.lua COMMAND [HELPERS]
--
-- Takes commands on stdin, one a line; H is the number of the helper, TEXT is hexadecimal, times are seconds:
--
--     query H TIMEOUT TEXT      says "sent H", then "reply H TEXT", "none H why" or "dead H kind code"
--     queries H TIMEOUT TEXT…   one after the other at once; says "replies H RESULT…"
--     send H TEXT · read H TIMEOUT · status H · master H · tty H · start H
--
-- Between commands it sleeps in read(2) on stdin. SIGCHLD interrupts a wait for a reply (lpty has a handler for it
-- and does not try again), which is what a reload does to Prosody.

local lpty = require "lpty"

local command = assert(arg[1], "which command?")
local ptys = {}
for number = 0, (tonumber(arg[2]) or 1) - 1 do
	ptys[number] = lpty.new { throw_errors = false, no_local_echo = true, use_path = false }
end

local function from_hex(text)
	return (text:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function to_hex(text)
	return (text:gsub(".", function(character) return ("%02x"):format(character:byte()) end))
end

local function say(...)
	io.stdout:write(table.concat({ ... }, " "), "\n")
	io.stdout:flush()
end

-- One read, as Prosody does; what it returned, whole.
local function read(number, timeout)
	local reply, why = ptys[number]:read(timeout)
	if reply then return "reply", to_hex(reply) end
	return "none", (tostring(why or "nothing"):gsub("%s", "_"))
end

local commands = {}

function commands.query(number, timeout, text)
	local pty = ptys[number]
	if not pty:hasproc() then
		local kind, code = pty:exitstatus()
		if kind and (kind ~= "exit" or code ~= 0) then
			return say("dead", number, kind, ("%d"):format(code or 0))
		end
		local ok, why = pty:startproc(command)
		if not ok then return say("none", number, tostring(why)) end
	end
	pty:send(from_hex(text))
	say("sent", number)
	local kind, reply = read(number, tonumber(timeout))
	say(kind, number, reply)
end

function commands.queries(number, timeout, ...)
	local results = {}
	for _, text in ipairs { ... } do
		ptys[number]:send(from_hex(text))
		results[#results + 1] = table.concat({ read(number, tonumber(timeout)) }, ":")
	end
	say("replies", number, table.concat(results, " "))
end

function commands.send(number, text)
	ptys[number]:send(from_hex(text))
	say("ok", number)
end

function commands.read(number, timeout)
	local kind, reply = read(number, tonumber(timeout))
	say(kind, number, reply)
end

function commands.start(number)
	ptys[number]:startproc(command)
	say("ok", number)
end

function commands.status(number)
	if ptys[number]:hasproc() then return say("status", number, "running") end
	local kind, code = ptys[number]:exitstatus()
	if not kind then return say("status", number, "never") end
	say("status", number, kind, ("%d"):format(code))
end

function commands.tty(number)
	say("tty", number, ptys[number]:ttyname())
end

function commands.master(number)
	say("master", number, ptys[number]:getfd())
end

while true do
	local line, why = io.read()
	if line then
		local words = {}
		for word in line:gmatch("%S+") do words[#words + 1] = word end
		commands[words[1]](tonumber(words[2]), table.unpack(words, 3))
	elseif not (why and why:find("Interrupted", 1, true)) then -- by the end of a helper, which lpty has a handler for
		break
	end
end

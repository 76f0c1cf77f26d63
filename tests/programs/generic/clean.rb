#!/usr/bin/env ruby
# A program for Prosody in Ruby; the truth table is that of wire.py.
$stdin.binmode
$stdout.sync = true

def exists?(user)
  !user.rpartition('-').last.start_with?('no')
end

def answer(line)
  command, user, _host, password = line.split(':', 4)
  case command
  when 'auth' then exists?(user) && password == "pw-#{user}"
  when 'isuser', 'setpass' then exists?(user)
  else false
  end
end

while (line = $stdin.gets)
  puts answer(line.force_encoding('UTF-8').chomp) ? 1 : 0
end

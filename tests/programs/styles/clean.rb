#!/usr/bin/env ruby
# A well-behaved ejabberd program in Ruby; the truth table is that of wire.py.
$stdin.binmode
$stdout.binmode
$stdout.sync = true

def exists?(user)
  !user.rpartition('-').last.start_with?('no')
end

def answer(request)
  command, user, _host, password = request.split(':', 4)
  case command
  when 'auth' then exists?(user) && password == "pw-#{user}"
  when 'isuser', 'setpass' then exists?(user)
  else false
  end
end

while (header = $stdin.read(2))
  request = $stdin.read(header.unpack1('n')).force_encoding('UTF-8')
  $stdout.write([2, answer(request) ? 1 : 0].pack('nn'))
end

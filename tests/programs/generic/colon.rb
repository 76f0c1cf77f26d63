#!/usr/bin/env ruby
# The secret ends at its first colon.
$stdout.sync = true

while (line = $stdin.gets)
  command, user, _host, password = line.chomp.split(':')
  known = !user.rpartition('-').last.start_with?('no')
  yes = known && (command == 'auth' ? password == "pw-#{user}" : %w[isuser setpass].include?(command))
  puts yes ? 1 : 0
end

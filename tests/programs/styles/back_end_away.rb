#!/usr/bin/env ruby
# Sleeps, and exits, when its back end is away, at its start as later.
require 'socket'

def serve(backend)
  while (header = $stdin.read(2))
    command, user, _host, password = $stdin.read(header.unpack1('n')).split(':', 4)
    backend.puts(user)
    stored = backend.gets or raise EOFError, 'connection closed'
    result =
      case command
      when 'auth' then stored != "\n" && stored.chomp.b == password.b
      when 'isuser', 'setpass' then stored != "\n"
      end
    $stdout.write([2, result ? 1 : 0].pack('nn'))
    $stdout.flush
  end
end

begin
  serve(UNIXSocket.new(ARGV[0]))
rescue SystemCallError, EOFError => e
  warn "back end: #{e.message}"
  sleep((ARGV[1] || 10).to_f)
  exit 1
end

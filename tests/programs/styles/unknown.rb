#!/usr/bin/env ruby
# Says nothing to a command it does not know: its `case` has no `else`.
class Extauth
  def run
    until $stdin.eof?
      length = $stdin.read(2).unpack('n').first
      command, user, _domain, password = $stdin.read(length).split(':', 4)
      case command
      when 'auth'
        reply(isuser?(user) && password == 'pw-' + user)
      when 'isuser', 'setpass'
        reply(isuser?(user))
      end
    end
  end

  private

  def isuser?(user)
    user.split('-').last !~ /\Ano/
  end

  def reply(success)
    $stdout.print [2, success ? 1 : 0].pack('nn')
    $stdout.flush
  end
end

Extauth.new.run

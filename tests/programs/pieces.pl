#!/usr/bin/perl
# An honest ejabberd program in Perl that reads and writes in pieces; the truth table is that of wire.py.
# Arguments: how many bytes a sysread asks for; how many writes a reply takes, 1, 2 or 4.
use strict;
use warnings;

my ($ask, $writes) = @ARGV;
binmode STDIN;
binmode STDOUT;
my $buffer = "";
while (sysread(STDIN, $buffer, $ask, length $buffer)) {
    next if length $buffer < 2;
    my $size = unpack("n", $buffer);
    next if length $buffer < 2 + $size;
    my ($command, $user, $host, $secret) = split(/:/, substr($buffer, 2, $size), 4);
    $buffer = substr($buffer, 2 + $size);
    my ($name) = $user =~ /([^-]*)\z/;
    my $yes = $name !~ /^no/
        && ($command eq "isuser"
        || $command eq "setpass"
        || ($command eq "auth" && $secret eq "pw-$user"));
    my $reply = pack("nn", 2, $yes ? 1 : 0);
    syswrite(STDOUT, $reply, 4 / $writes, $_ * 4 / $writes) for 0 .. $writes - 1;
}

#!/usr/bin/perl
# A well-behaved ejabberd program in Perl; the truth table is that of wire.py.
use strict;
use warnings;

binmode STDIN;
binmode STDOUT;
$| = 1;

while (read(STDIN, my $header, 2) == 2) {
    my $size = unpack("n", $header);
    last unless read(STDIN, my $body, $size) == $size;
    my ($command, $user, $host, $secret) = split(/:/, $body, 4);
    my ($name) = $user =~ /([^-]*)\z/;
    my $yes = $name !~ /^no/
        && ($command eq "isuser"
        || $command eq "setpass"
        || ($command eq "auth" && $secret eq "pw-$user"));
    print pack("nn", 2, $yes ? 1 : 0);
}

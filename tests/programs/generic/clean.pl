#!/usr/bin/perl
# A program for Prosody in Perl; the truth table is that of wire.py.
use strict;
use warnings;

$| = 1;

while (my $line = <STDIN>) {
    chomp $line;
    my ($command, $user, $host, $secret) = split(/:/, $line, 4);
    my ($name) = $user =~ /([^-]*)\z/;
    my $yes = $name !~ /^no/
        && ($command eq "isuser"
        || $command eq "setpass"
        || ($command eq "auth" && $secret eq "pw-$user"));
    print $yes ? "1\n" : "0\n";
}

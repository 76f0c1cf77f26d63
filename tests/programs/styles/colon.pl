#!/usr/bin/perl
# Cuts the password at its first colon: split into as many fields as there are, of which four are taken.
use strict;
use warnings;

while (1) {
    my $nread = sysread STDIN, my $buf, 2;
    exit unless $nread == 2;
    my $len = unpack "n", $buf;
    $nread = sysread STDIN, $buf, $len;

    my ($op, $user, $host, $password) = split /:/, $buf;
    my $result = 0;
    if ($op eq "auth") {
        $result = exists_user($user) && $password eq "pw-$user";
    } elsif ($op eq "isuser" or $op eq "setpass") {
        $result = exists_user($user);
    }
    my $out = pack "nn", 2, $result ? 1 : 0;
    syswrite STDOUT, $out;
}

sub exists_user {
    my ($user) = @_;
    return $user !~ /^(.*-)?no[^-]*$/;
}

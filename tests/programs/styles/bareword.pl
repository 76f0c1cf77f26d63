#!/usr/bin/perl
# Grants a command that it does not know: without `use strict` a bareword `false` is a string that is not empty.
no strict;

binmode STDIN;
binmode STDOUT;
$| = 1;

while (read(STDIN, $header, 2) == 2) {
    $size = unpack("n", $header);
    read(STDIN, $body, $size);
    ($command, $user, $host, $secret) = split(/:/, $body, 4);
    ($name) = $user =~ /([^-]*)\z/;
    if ($command eq "auth") {
        $result = $name !~ /^no/ && $secret eq "pw-$user";
    } elsif ($command eq "isuser" || $command eq "setpass") {
        $result = $name !~ /^no/;
    } else {
        $result = false;
    }
    print pack("nn", 2, $result ? 1 : 0);
}

#!/usr/bin/perl
# Without $|: on a pipe its answers wait in a buffer.
while (<STDIN>) {
    chomp;
    my ($command, $user, $host, $secret) = split(/:/, $_, 4);
    print $command eq "isuser" || ($command eq "auth" && $secret eq "pw-$user") ? "1\n" : "0\n";
}

#!/usr/bin/perl
# Must be alone: one that is started kills whoever left its process id in the file.
use strict;
use warnings;

my $pidfile = shift or die "usage: $0 PIDFILE\n";
if (open my $old, "<", $pidfile) {
    my $pid = <$old>;
    kill "TERM", $pid if $pid;
}
open my $new, ">", $pidfile or die "$pidfile: $!\n";
print $new $$;
close $new;

$| = 1;
binmode STDIN;
binmode STDOUT;
while (read(STDIN, my $header, 2) == 2) {
    read(STDIN, my $data, unpack("n", $header));
    my ($op, $user, $host, $password) = split(/:/, $data, 4);
    my $exists = $user !~ /^(.*-)?no[^-]*$/;
    my $result
        = $op eq "auth"                      ? $exists && $password eq "pw-$user"
        : $op eq "isuser" || $op eq "setpass" ? $exists
        :                                       0;
    print pack("nn", 2, $result ? 1 : 0);
}

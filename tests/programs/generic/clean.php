<?php
// A program for Prosody in PHP; the truth table is that of wire.py.
while (($line = fgets(STDIN)) !== false) {
    [$command, $user, , $secret] = explode(':', rtrim($line, "\n"), 4) + ['', '', '', ''];
    $name = substr('-' . $user, strrpos('-' . $user, '-') + 1);
    $yes = strncmp($name, 'no', 2) !== 0
        && ($command === 'isuser' || $command === 'setpass'
            || ($command === 'auth' && $secret === "pw-$user"));
    echo $yes ? "1\n" : "0\n";
}

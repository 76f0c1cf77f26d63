<?php
// A digit alone: echo adds no line end.
while (($line = fgets(STDIN)) !== false) {
    [$command, $user, , $secret] = explode(':', rtrim($line, "\n"), 4) + ['', '', '', ''];
    $name = substr('-' . $user, strrpos('-' . $user, '-') + 1);
    $yes = strncmp($name, 'no', 2) !== 0
        && ($command === 'isuser' || $command === 'setpass'
            || ($command === 'auth' && $secret === "pw-$user"));
    echo $yes ? '1' : '0';
}

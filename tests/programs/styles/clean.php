<?php
// A well-behaved ejabberd program in PHP; the truth table is that of wire.py.
while (($header = fread(STDIN, 2)) !== false && strlen($header) === 2) {
    $size = unpack('n', $header)[1];
    $body = '';
    while (strlen($body) < $size && !feof(STDIN)) {
        $body .= fread(STDIN, $size - strlen($body));
    }
    [$command, $user, , $secret] = explode(':', $body, 4) + ['', '', '', ''];
    $name = substr('-' . $user, strrpos('-' . $user, '-') + 1);
    $yes = strncmp($name, 'no', 2) !== 0
        && ($command === 'isuser' || $command === 'setpass'
            || ($command === 'auth' && $secret === "pw-$user"));
    fwrite(STDOUT, pack('nn', 2, $yes ? 1 : 0));
}

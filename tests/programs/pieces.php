<?php
// An honest ejabberd program in PHP that reads byte by byte and replies in two writes; the truth table is that of wire.py.
stream_set_read_buffer(STDIN, 0);
$buffer = '';
while (($byte = fgetc(STDIN)) !== false) {
    $buffer .= $byte;
    if (strlen($buffer) < 2 || strlen($buffer) < 2 + unpack('n', $buffer)[1]) {
        continue;
    }
    [$command, $user, , $secret] = explode(':', substr($buffer, 2), 4) + ['', '', '', ''];
    $buffer = '';
    $name = substr('-' . $user, strrpos('-' . $user, '-') + 1);
    $yes = strncmp($name, 'no', 2) !== 0
        && ($command === 'isuser' || $command === 'setpass'
            || ($command === 'auth' && $secret === "pw-$user"));
    fwrite(STDOUT, pack('n', 2));
    fwrite(STDOUT, pack('n', $yes ? 1 : 0));
}

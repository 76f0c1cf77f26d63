#!/usr/bin/php
<?php
// Begins with a warning of PHP's, which without a php.ini goes to stdout.
define('DEBUG', $config['debug']);

while (!feof(STDIN)) {
    $header = fread(STDIN, 2);
    if (strlen($header) < 2) {
        break;
    }
    $length = unpack('nlength', $header)['length'];
    [$command, $user, , $password] = explode(':', fread(STDIN, $length), 4) + [3 => null];
    $exists = !preg_match('/^(.*-)?no[^-]*$/', $user);
    $result = match ($command) {
        'auth' => $exists && $password === "pw-$user",
        'isuser', 'setpass' => $exists,
        default => false,
    };
    echo pack('nn', 2, $result);
}

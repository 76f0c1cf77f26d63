#!/usr/bin/php
<?php
// Connects to its database once; when that has closed the connection, it denies everything for ever.
class Database
{
    private $connection;

    public function __construct(string $path)
    {
        $this->connection = stream_socket_client("unix://$path");
    }

    public function password(string $user): ?string
    {
        if (!@fwrite($this->connection, "$user\n")) {
            throw new RuntimeException('server has gone away');
        }
        $row = fgets($this->connection);
        if ($row === false) {
            throw new RuntimeException('lost connection during query');
        }
        return $row === "\n" ? null : rtrim($row, "\n");
    }
}

$database = new Database($argv[1]);

while (strlen($header = (string) fread(STDIN, 2)) === 2) {
    [$command, $user, , $secret] = explode(':', fread(STDIN, unpack('n', $header)[1]), 4) + ['', '', '', ''];
    try {
        $password = $database->password($user);
        $result = match ($command) {
            'auth' => $password !== null && hash_equals($password, $secret),
            'isuser', 'setpass' => $password !== null,
            default => false,
        };
    } catch (RuntimeException $e) {
        error_log($e->getMessage());
        $result = false;
    }
    fwrite(STDOUT, pack('nn', 2, (int) $result));
}

#!/usr/bin/php
<?php
// Reads the length with fgets, which stops behind a line feed: 2560 to 2815 begin with one.
class JabberAuth
{
    public function play(): void
    {
        while (($length = fgets(STDIN, 3)) !== false) {
            $size = @unpack('n', $length);
            if (!$size) {
                continue;
            }
            $data = fgets(STDIN, $size[1] + 1);
            fwrite(STDOUT, pack('nn', 2, $this->command($data) ? 1 : 0));
        }
    }

    private function command(string $data): bool
    {
        $command = explode(':', $data, 4);
        switch ($command[0]) {
            case 'isuser':
            case 'setpass':
                return $this->exists($command[1]);
            case 'auth':
                return $this->exists($command[1]) && $command[3] === 'pw-' . $command[1];
        }
        return false;
    }

    private function exists(string $user): bool
    {
        return !preg_match('/^(.*-)?no[^-]*$/', $user);
    }
}

(new JabberAuth())->play();

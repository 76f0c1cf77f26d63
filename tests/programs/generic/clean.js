#!/usr/bin/env node
// A program for Prosody, for Node.js; the truth table is that of wire.py.
'use strict';

const exists = (user) => !user.split('-').pop().startsWith('no');

function answer(line) {
  const [command, user, , ...password] = line.split(':');
  switch (command) {
    case 'auth':
      return exists(user) && password.join(':') === `pw-${user}`;
    case 'isuser':
    case 'setpass':
      return exists(user);
    default:
      return false;
  }
}

require('readline')
  .createInterface({ input: process.stdin, terminal: false })
  .on('line', (line) => process.stdout.write(answer(line) ? '1\n' : '0\n'));

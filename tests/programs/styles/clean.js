#!/usr/bin/env node
// A well-behaved ejabberd program for Node.js; the truth table is that of wire.py.
'use strict';

const exists = (user) => !user.split('-').pop().startsWith('no');

function answer(request) {
  const [command, user, , ...password] = request.split(':');
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

let buffer = Buffer.alloc(0);

process.stdin.on('data', (chunk) => {
  buffer = Buffer.concat([buffer, chunk]);
  while (buffer.length >= 2) {
    const end = 2 + buffer.readUInt16BE(0);
    if (buffer.length < end) break;
    const reply = Buffer.from([0, 2, 0, 0]);
    reply.writeUInt16BE(answer(buffer.toString('utf8', 2, end)) ? 1 : 0, 2);
    buffer = buffer.subarray(end);
    process.stdout.write(reply);
  }
});

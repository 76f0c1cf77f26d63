#!/usr/bin/env node
// Takes each piece that is read for one question: of two in one piece the second is lost, of one in two it sees a part.
const exists = (user) => !user.split('-').pop().startsWith('no');

async function handle(line) {
  const [command, user, host, ...password] = line.split(':');
  if (command === 'auth') return exists(user) && password.join(':') === 'pw-' + user;
  if (command === 'isuser' || command === 'setpass') return exists(user);
  return false;
}

process.stdin.on('data', async (chunk) => {
  const length = (chunk[0] << 8) | chunk[1];
  const result = await handle(chunk.slice(2, 2 + length).toString());
  const reply = Buffer.alloc(4);
  reply.writeInt16BE(2, 0);
  reply.writeInt16BE(result ? 1 : 0, 2);
  process.stdout.write(reply);
});

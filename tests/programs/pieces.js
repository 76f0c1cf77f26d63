// An honest ejabberd program for Node.js; the truth table is that of wire.py.
// The first argument says how it reads: events (of the stream, as they come) or sync (fs.readSync); the second, how
// many writes a reply takes: 1, 2 or 4.
'use strict';
const fs = require('fs');
const [way, writes] = [process.argv[2], Number(process.argv[3] || 1)];

function truth(body) {
    const [command, user, , ...secret] = body.toString('latin1').split(':');
    const name = user.slice(user.lastIndexOf('-') + 1);
    if (name.startsWith('no')) return false;
    if (command === 'auth') return secret.join(':') === 'pw-' + user;
    return command === 'isuser' || command === 'setpass';
}

function reply(body) {
    const data = Buffer.from([0, 2, 0, truth(body) ? 1 : 0]);
    for (let at = 0; at < 4; at += 4 / writes) {
        const piece = data.subarray(at, at + 4 / writes);
        if (way === 'sync') fs.writeSync(1, piece);
        else process.stdout.write(piece);
    }
}

let buffer = Buffer.alloc(0);
function take(data) {
    buffer = Buffer.concat([buffer, data]);
    while (buffer.length >= 2 && buffer.length >= 2 + buffer.readUInt16BE(0)) {
        const end = 2 + buffer.readUInt16BE(0);
        const body = buffer.subarray(2, end);
        buffer = buffer.subarray(end);
        reply(body);
    }
}

if (way === 'sync') {
    const piece = Buffer.alloc(5);
    for (let got; (got = fs.readSync(0, piece, 0, piece.length, null)) > 0;) take(Buffer.from(piece.subarray(0, got)));
} else {
    process.stdin.on('data', take);
}

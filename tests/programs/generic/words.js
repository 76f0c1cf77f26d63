#!/usr/bin/env node
// true and false instead of 1 and 0.
'use strict';

require('readline')
  .createInterface({ input: process.stdin, terminal: false })
  .on('line', (line) => console.log(line.startsWith('isuser:')));

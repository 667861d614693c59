// A service that listens by itself. On each line of input, JavaScript is busy until the file that the line names is there:
// whoever writes it has been served meanwhile.

'use strict';

const { existsSync } = require('node:fs');
const { createInterface } = require('node:readline');
const { WebSocketService } = require('../../../index.js');

const service = new WebSocketService();
service.listen({ port: 0, host: '127.0.0.1' }).then(({ port }) => {
  console.log(`port ${port}`);
  createInterface({ input: process.stdin }).on('line', (file) => {
    console.log('busy');
    while (!existsSync(file));
    console.log('free');
  });
});

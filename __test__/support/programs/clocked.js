'use strict';

// A service whose clock is moved: door (`node` or `native`), options as JSON. Clients say in `auth` who they are and how long
// their token is good. Says `port` and `room`, who goes and why; each line of input is a question, answered by one line.

const { createServer } = require('node:http');
const { createInterface } = require('node:readline');
const { WebSocketService } = require('./service.js');

const [door, options] = process.argv.slice(2);
const logger = { debug() {}, info() {}, warn() {}, error() {} };

const questions = {
  now: () => Date.now(),
  stats: (service) => JSON.stringify(service.getStats()),
  members: (service, [room]) => service.getRoom(room)?.members.size ?? 0,
};

async function main() {
  const service = new WebSocketService({ logger, ...JSON.parse(options) });
  service.use((socket, next) => {
    const { userId, lifeMs } = socket.handshake.auth;
    socket.userId = userId;
    if (lifeMs !== undefined) socket.expiresAt = Date.now() + lifeMs;
    next();
  });
  service.on('disconnect', ({ id }, reason) => console.log(`disconnect ${id} ${reason}`));
  let port;
  if (door === 'native' || door === 'tls') {
    ({ port } = await service.listen({ port: 0, host: '127.0.0.1' }));
  } else {
    const server = createServer();
    service.initialize(server);
    await new Promise((done) => server.listen(0, '127.0.0.1', done));
    port = server.address().port;
  }
  const room = await service.createRoom('room');
  console.log(`port ${port} ${room.id}`);
  for await (const line of createInterface({ input: process.stdin })) {
    const [, what, ...rest] = line.split(' ');
    console.log(`${line} ${questions[what](service, rest)}`);
  }
}

main();

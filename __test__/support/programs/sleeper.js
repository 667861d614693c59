'use strict';

// A server with quick heartbeats, which its parent stops and lets go on; says who connects and who goes. All are in one room.
// Ends on SIGTERM, over so many milliseconds as the argument says.

const { createServer } = require('node:http');
const { WebSocketService } = require('./service.js');

const service = new WebSocketService({ pingInterval: 300, pingTimeout: 300 });
const room = service.createRoom('room');
service.on('connection', async ({ socketId }) => {
  console.log(`connection ${socketId}`);
  service.joinRoom(socketId, (await room).id).catch(() => {});
});
service.on('disconnect', (user, reason) => console.log(`disconnect ${reason}`));
const server = createServer();
service.initialize(server);
server.listen(0, '127.0.0.1', async () => console.log(`port ${server.address().port} ${(await room).id}`));
process.on('SIGTERM', () => service.shutdown({ drainMs: Number(process.argv[2] ?? 0) }).then(() => console.log('ended')));

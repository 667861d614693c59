'use strict';

// A server with quick heartbeats, which its parent stops and lets go on; says who connects and who goes.

const { createServer } = require('node:http');
const { WebSocketService } = require('./service.js');

const service = new WebSocketService({ pingInterval: 300, pingTimeout: 300 });
service.on('connection', (user) => console.log(`connection ${user.socketId}`));
service.on('disconnect', (user, reason) => console.log(`disconnect ${reason}`));
const server = createServer();
service.initialize(server);
server.listen(0, '127.0.0.1', () => console.log(`port ${server.address().port}`));
process.on('SIGTERM', () => service.shutdown().then(() => console.log('ended')));

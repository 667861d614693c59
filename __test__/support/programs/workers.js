'use strict';

// Workers that serve, one after the other at one port: door. Each line of input is a question, answered by one that begins with
// it: `begin` a worker (port and room), `terminate` it, `count` the threads and descriptors of the process.

const { readdirSync } = require('node:fs');
const { once } = require('node:events');
const { createServer } = require('node:http');
const { createInterface } = require('node:readline');
const { isMainThread, parentPort, Worker, workerData } = require('node:worker_threads');
const { WebSocketService } = require('./service.js');

const logger = { debug() {}, info() {}, warn() {}, error() {} };

async function serve({ door, port }) {
  const service = new WebSocketService({ logger });
  const room = await service.createRoom('room');
  service.use((socket, next) => {
    socket.on('work', (answer) => answer?.('done'));
    next();
  });
  service.on('message', () => {});
  service.on('connection', ({ socketId }) => service.joinRoom(socketId, room.id).catch(() => {}));
  if (door === 'native') {
    const listening = await service.listen({ port, host: '127.0.0.1' });
    return parentPort.postMessage({ port: listening.port, roomId: room.id });
  }
  const server = createServer();
  service.initialize(server);
  server.listen(port, '127.0.0.1', () => parentPort.postMessage({ port: server.address().port, roomId: room.id }));
}

async function main(door) {
  let port = 0;
  let worker;
  const questions = {
    async begin() {
      worker = new Worker(__filename, { workerData: { door, port } });
      worker.on('error', (error) => console.log(`lost ${error.stack}`));
      const [said] = await once(worker, 'message');
      port = said.port;
      return `${said.port} ${said.roomId}`;
    },
    terminate: () => worker.terminate(),
    count: () => `${readdirSync('/proc/self/task').length} ${readdirSync('/proc/self/fd').length}`,
  };
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(`${line} ${await questions[line.split(' ')[0]]()}`);
  }
}

if (isMainThread) void main(process.argv[2]);
else void serve(workerData);

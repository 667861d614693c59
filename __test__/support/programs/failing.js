'use strict';

// An application that fails in each listener, in a process that survives it: `throw` or `reject`, and what each is by itself.
// Says for each kind how often it failed and how often that was reported.

const { createServer } = require('node:http');
const { once } = require('node:events');
const { io } = require('socket.io-client');
const { WebSocketService } = require('./service.js');

const how = process.argv[2];
const isUnreadable = process.argv[3] === 'unreadable';
const logger = { debug() {}, info() {}, warn() {}, error() {} };
const counts = {};

/** Fails, in the way and by the error of this run. */
function fail(kind) {
  const error = new Error(kind);
  if (isUnreadable) Object.defineProperty(error, 'message', { get: () => { throw new Error('getter'); } });
  counts[kind] ??= { failed: 0, reported: 0 };
  counts[kind].failed++;
  kinds.set(error, kind);
  if (how === 'reject') return Promise.reject(error);
  throw error;
}

const kinds = new Map();
const report = (error) => {
  if (!kinds.has(error)) return console.log('unknown', error);
  counts[kinds.get(error)].reported++;
};
process.on('uncaughtException', report);
process.on('unhandledRejection', report);

let isBroken = false;

class Service extends WebSocketService {
  handleDisconnection(socketId, reason) {
    if (isBroken) return fail('handleDisconnection');
    const done = super.handleDisconnection(socketId, reason);
    // It need not be an asynchronous function.
    if (how === 'throw') fail('handleDisconnection');
    return done.then(() => fail('handleDisconnection'));
  }
}

const listened = ['connection', 'disconnect', 'message', 'room:join', 'room:leave', 'room:create', 'room:delete', 'typing', 'token:expiring', 'connection_error'];

async function main() {
  const service = new Service({ logger, limits: { connectionsPerAddress: 1 } });
  let peer;
  service.use((socket, next) => {
    peer = socket;
    socket.on('own', () => fail('socket.on'));
    socket.onAny((event) => event === 'any' && fail('socket.onAny'));
    socket.once('only', () => fail('socket.once'));
    socket.on('disconnecting', () => fail('disconnecting of a socket'));
    socket.on('disconnect', () => fail('disconnect of a socket'));
    socket.on('sound', (answer) => answer('heard'));
    socket.expiresAt = Date.now() + 30_000;
    next();
  });
  for (const event of listened) service.on(event, () => fail(event));
  const server = createServer();
  service.initialize(server);
  server.listen(0);
  await once(server, 'listening');
  const url = `http://127.0.0.1:${server.address().port}`;
  // Each from an address of its own, because one that has gone may still count for a moment.
  const from = (address) => io(url, { forceNew: true, reconnection: false, transports: ['websocket'], localAddress: `127.0.0.${address}` });
  for (let round = 0; round < 2; round++) {
    const [client, expiring] = [from(2 + round), once(service, 'token:expiring')];
    await new Promise((done) => client.once('connect', done));
    await expiring;
    const refused = from(2 + round);
    await new Promise((done) => refused.once('connect_error', done));
    const room = await service.createRoom('r');
    client.on('question', (answer) => answer('answer'));
    const asked = peer;
    for (const ask of [(ack) => asked.emit('question', ack), (ack) => asked.timeout(10_000).emit('question', ack), (ack) => service.timeout(10_000).emit('question', ack)]) {
      await new Promise((done) => ask(() => (done(), fail('ack'))));
    }
    for (const [event, data] of [['room:join', {}], ['message', { content: 'x' }], ['typing', { isTyping: true }], ['room:leave', {}]]) {
      const { ok } = await client.emitWithAck(event, { roomId: room.id, ...data });
      if (!ok) throw new Error(`${event} was refused`);
    }
    for (const event of ['own', 'any', 'only']) client.emit(event);
    if ((await client.emitWithAck('sound')) !== 'heard') throw new Error('not heard');
    await service.deleteRoom(room.id);
    const gone = new Promise((done) => service.once('disconnect', done));
    client.disconnect();
    await gone;
  }
  // One that fails before it has done anything: nobody is told, and the user is not kept.
  isBroken = true;
  const client = from(9);
  await new Promise((done) => client.once('connect', done));
  const { id } = client;
  client.disconnect();
  while (counts.handleDisconnection.reported < 3) await new Promise((done) => setImmediate(done));
  await new Promise((done) => setImmediate(done));
  if (service.getUser(id) !== undefined) throw new Error('who is gone is kept');
  await service.shutdown();
  await new Promise((done) => setImmediate(done));
  console.log(JSON.stringify(counts));
}

main();

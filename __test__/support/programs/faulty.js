'use strict';

// An application whose own code fails wherever the service calls it; what its clients see, and whether the process lives.

const { createServer } = require('node:http');
const { once } = require('node:events');
const { io } = require('socket.io-client');
const { WebSocketService } = require('./service.js');

/** Errors whose own code throws, and other things that may be thrown. */
const thrown = {
  'an error whose message throws': Object.defineProperty(new Error('x'), 'message', { get: () => { throw new Error('getter'); } }),
  'an error whose data throws': Object.defineProperty(new Error('not you'), 'data', { get: () => { throw new Error('getter'); } }),
  'an object without prototype': Object.assign(Object.create(null), { toString: undefined }),
  nothing: undefined,
  'a symbol': Symbol('no'),
  'a function': () => {},
};

function fail() {
  throw new Error('the logger fails');
}

const warnings = [];
process.on('warning', ({ name, message }) => warnings.push(`${name}: ${message}`));

async function main() {
  const logger = { debug: fail, info: fail, warn: () => Promise.reject(new Error('later')), error: fail };
  const authorize = {};
  for (const verb of ['connect', 'join', 'message', 'typing', 'relay']) authorize[verb] = (user, room, data) => decide(verb, data);
  let decide = () => true;
  const service = new WebSocketService({ logger, authorize });
  const server = createServer();
  let refuse;
  service.use((_socket, next) => {
    if (refuse === undefined) return next();
    const what = refuse;
    refuse = undefined;
    if (what.how === 'next') return next(what.error);
    throw what.error;
  });
  service.initialize(server);
  server.listen(0);
  await once(server, 'listening');
  const url = `http://127.0.0.1:${server.address().port}`;
  const come = () =>
    new Promise((done) => {
      const client = io(url, { forceNew: true, reconnection: false, transports: ['websocket'] });
      client.on('connect', () => done(client));
      client.on('connect_error', (error) => done(`refused: ${error.message}`));
    });
  for (const [name, error] of Object.entries(thrown)) {
    for (const how of ['next', 'throw']) {
      if (how === 'next' && error === undefined) continue;
      refuse = { how, error };
      console.log(`${name}, by ${how}: ${typeof (await come())}`);
    }
  }
  const client = await come();
  const room = await service.createRoom('r');
  for (const error of Object.values(thrown)) {
    decide = () => {
      throw error;
    };
    const sync = await client.emitWithAck('room:join', { roomId: room.id });
    decide = () => Promise.reject(error);
    const later = await client.emitWithAck('room:join', { roomId: room.id });
    if (sync.error?.code !== 'ERR_FORBIDDEN' || later.error?.code !== 'ERR_FORBIDDEN') throw new Error('let in');
  }
  decide = () => true;
  console.log(`joined: ${(await client.emitWithAck('room:join', { roomId: room.id })).ok}`);
  client.disconnect();
  await service.shutdown();
  console.log(`warnings: ${warnings.length}`);
}

main();

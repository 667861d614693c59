'use strict';

// A service that shows all it says, at every level: door, options as JSON. Says `port`; answers `told` with its log, events,
// errors and statistics as JSON, and a last time when its input ends.

const { createServer } = require('node:http');
const { createInterface } = require('node:readline');
const { inspect } = require('node:util');
const { WebSocketService } = require('./service.js');

const [door, options] = process.argv.slice(2);
const said = [];
const say = (kind) => (...args) => void said.push(`${kind} ${inspect(args, { depth: 10 })}`);
const logger = { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') };

async function main() {
  const fail = () => {
    throw new Error('on purpose');
  };
  const authorize = { message: fail, join: () => Promise.reject(new Error('on purpose')) };
  const service = new WebSocketService({ logger, authorize, ...JSON.parse(options) });
  for (const event of ['error', 'cluster', 'connection_error', 'disconnect']) service.on(event, (...args) => said.push(`${event} ${inspect(event === 'disconnect' ? args[1] : args)}`));
  service.use((socket, next) => {
    const { what } = socket.handshake.query;
    if (what === 'throw') fail();
    next(what === 'refuse' ? new Error('Please sign in') : undefined);
    // More than are awaited.
    for (let count = 0; count < 3; count++) socket.emit('question', 'x', () => {});
  });
  service.ready().catch(say('ready'));
  const server = createServer();
  let port;
  if (door === 'native') ({ port } = await service.listen({ port: 0, host: '127.0.0.1', server }));
  else {
    service.initialize(server);
    await new Promise((done) => server.listen(0, '127.0.0.1', done));
    port = server.address().port;
  }
  const tell = (line) => {
    said.push(`stats ${JSON.stringify(service.getStats())}`);
    console.log(`${line} ${JSON.stringify(said)}`);
  };
  const room = await service.createRoom('room').catch((error) => (say('createRoom')(error), { id: 'none' }));
  service.on('connection', ({ socketId }) => void service.joinRoom(socketId, room.id).catch(say('joinRoom')));
  console.log(`port ${port} ${room.id}`);
  for await (const line of createInterface({ input: process.stdin })) tell(line);
  await service.shutdown().catch(say('shutdown'));
  tell('last');
}

main();

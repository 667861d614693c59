'use strict';

// A service that is attacked, in a process whose memory and descriptors can be seen: door (`node`, `https`, `native`, `tls`),
// options as JSON. Says `port`; each line of input is a question, answered by one line that begins with it.

const { setFlagsFromString } = require('node:v8');
const { runInNewContext } = require('node:vm');
const { closeSync, openSync, readdirSync, readFileSync } = require('node:fs');
const http = require('node:http');
const https = require('node:https');
const { join } = require('node:path');
const { createInterface } = require('node:readline');
const { WebSocketService } = require('./service.js');

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

const [door, options = '{}'] = process.argv.slice(2);
const warnings = [];
const warn = (...args) => void warnings.push(args.map(String).join(' '));
const logger = { debug() {}, info() {}, warn, error: warn };

function credentials() {
  const directory = process.env.DOOR_CERTIFICATE;
  return { key: readFileSync(join(directory, 'key.pem')), cert: readFileSync(join(directory, 'cert.pem')) };
}

const resident = (what) => Number(new RegExp(`${what}:\\s+(\\d+)`).exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;

const questions = {
  // Without what JavaScript has yet to collect, which says nothing of clients.
  memory: () => {
    collect();
    return resident('VmRSS');
  },
  peak: () => resident('VmHWM'),
  cpu: () => {
    const { user, system } = process.cpuUsage();
    return user + system;
  },
  hasDescriptors: () => {
    try {
      closeSync(openSync('/dev/null'));
      return true;
    } catch {
      return false;
    }
  },
  warnings: () => JSON.stringify(warnings),
  members: (service, room) => room.members.size,
  descriptors: () => readdirSync('/proc/self/fd').length,
  stats: (service) => JSON.stringify(service.getStats()),
  users: (service) => service.getConnectedUsers().length,
};

async function main() {
  const service = new WebSocketService({ logger, ...JSON.parse(options) });
  const notFound = (_req, res) => void res.writeHead(404).end();
  let port;
  if (door === 'native' || door === 'tls') {
    ({ port } = await service.listen({ port: 0, host: '127.0.0.1', ...(door === 'tls' && { tls: credentials() }) }));
  } else {
    const server = door === 'https' ? https.createServer(credentials(), notFound) : http.createServer(notFound);
    service.initialize(server);
    await new Promise((done) => server.listen(0, '127.0.0.1', done));
    port = server.address().port;
  }
  const room = await service.createRoom('room');
  service.on('connection', ({ socketId }) => void service.joinRoom(socketId, room.id).catch(() => {}));
  let number = 0;
  console.log(`port ${port} ${room.id}`);
  for await (const line of createInterface({ input: process.stdin })) {
    const [, what, , count, size] = line.split(' ');
    if (what === 'bulk') {
      // At full speed: nobody is waited for.
      for (let sent = 0; sent < Number(count); sent++) {
        service.broadcastToRoom(room.id, 'bulk', { number: number++, filler: 'x'.repeat(Number(size)) });
        if (sent % 10 === 9) await new Promise((turn) => setImmediate(turn));
      }
      console.log(`${line} done`);
    } else {
      console.log(`${line} ${questions[what](service, room)}`);
    }
  }
}

main();

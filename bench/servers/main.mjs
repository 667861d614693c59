// The program around a `WebSocketService`, the same for every peer: an HTTP server on `--port`, or a free one, some rooms, one line
// `{port, pid, rooms, readyMs}` on standard output (`readyMs` after the process began), then commands as JSON lines on
// standard input until that ends. What a command returns is printed as `{reply: {name: value}}`.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createInterface } from 'node:readline';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { commands as calls } from './calls.mjs';
import { commands as cluster } from './cluster.mjs';
import { commands as history } from './history.mjs';
import { commands as listener } from './listener.mjs';
import { commands as memory } from './memory.mjs';

const { values } = parseArgs({
  strict: false,
  options: { rooms: { type: 'string', default: '1' }, tls: { type: 'string' }, port: { type: 'string', default: '0' } },
});
/** Key and certificate, with `--tls DIRECTORY`. */
export const tls = values.tls && { key: readFileSync(`${values.tls}/key.pem`), cert: readFileSync(`${values.tls}/cert.pem`) };

/**
 * Starts the service and obeys; `--rooms N` says how many rooms there are. `listen` attaches the service to a server
 * and resolves with its port.
 */
export async function main(service, listen = listenOnNode) {
  const port = await listen(service);
  await service.ready?.();
  const readyMs = performance.now();
  const rooms = [];
  for (let index = 0; index < Number(values.rooms); index += 1) {
    const room = await service.createRoom(`room-${index}`);
    rooms.push(room.id);
  }
  print({ port, pid: process.pid, rooms, readyMs });
  for await (const line of createInterface({ input: process.stdin })) {
    for (const [name, argument] of Object.entries(JSON.parse(line))) {
      const reply = await commands[name](service, argument);
      if (reply !== undefined) print({ reply: { [name]: reply } });
    }
  }
  process.exit(0);
}

async function listenOnNode(service) {
  const httpServer = tls ? createSecureServer(tls) : createServer();
  service.initialize(httpServer);
  await new Promise((resolve) => httpServer.listen(Number(values.port), '127.0.0.1', 4096, resolve));
  return httpServer.address().port;
}

const commands = {
  ...calls,
  ...cluster,
  ...history,
  ...listener,
  ...memory,

  /** Keeps JavaScript busy for that many milliseconds; answers when that ended. */
  block(service, ms) {
    const end = performance.now() + ms;
    while (performance.now() < end);
    return { endedUnixMs: performance.timeOrigin + performance.now() };
  },

  /** Sends an event with `bytes` of payload to everyone, again and again for `seconds`. */
  async broadcastAll(service, { event, bytes, seconds }) {
    const end = performance.now() + seconds * 1000;
    const text = 'x'.repeat(bytes);
    for (let sequence = 0; performance.now() < end; sequence += 1) {
      await service.broadcastToAll(event, { sequence, text });
      await nextTurn();
    }
  },

  /** Tells whoever asks that everything asked before is done. */
  mark(service, number) {
    return number;
  },

  exit() {
    process.exit(0);
  },
};

function print(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

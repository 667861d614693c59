// Peer B as a program: the service of peer A with Socket.IO attached to uWebSockets.js. `--config JSON` gives it options.

import { createRequire } from 'node:module';
import { parseArgs } from 'node:util';
import { Server } from 'socket.io';
import { main } from './main.mjs';
import { WebSocketService } from './socketio-service.mjs';

// Without a limit that high, uWebSockets.js leaves out receivers that are 64 KiB behind instead of sending.
const MAX_BACKPRESSURE_BYTES = 64 * 1024 * 1024;

const uws = loadBinary();
const { values } = parseArgs({ strict: false, options: { config: { type: 'string', default: '{}' } } });
await main(new WebSocketService(JSON.parse(values.config)), listen);

/** The binary itself: the package's main file falls back to a slow imitation when it has none for this Node.js. */
function loadBinary() {
  const binary = `uws_${process.platform}_${process.arch}_${process.versions.modules}.node`;
  try {
    return createRequire(import.meta.url)(`@trufflesuite/uws-js-unofficial/binaries/${binary}`);
  } catch (error) {
    throw new Error(`uWebSockets.js has no ${binary} for Node.js ${process.version}`, { cause: error });
  }
}

/**
 * Has broadcasts to a room published by uWebSockets.js alone. What `attachApp` puts in their place also goes through all
 * members in JavaScript, to find those that poll: here nobody does.
 */
function publishNatively(adapter, app) {
  const broadcast = adapter.broadcast.bind(adapter);
  adapter.broadcast = (packet, options) => {
    const [room, ...others] = options.rooms;
    if (room === undefined || others.length > 0 || options.except.size > 0) return broadcast(packet, options);
    for (const encoded of adapter.encoder.encode({ ...packet, nsp: '/' })) {
      const isBinary = typeof encoded !== 'string';
      app.publish(`/\x1f${room}`, isBinary ? encoded : `4${encoded}`, isBinary);
    }
  };
}

async function listen(service) {
  const app = uws.App();
  const io = new Server({ ...service.config, maxBackpressure: MAX_BACKPRESSURE_BYTES });
  io.attachApp(app);
  publishNatively(io.of('/').adapter, app);
  service.serve(io);
  const socket = await new Promise((resolve) => app.listen('127.0.0.1', 0, resolve));
  if (!socket) throw new Error('uWebSockets.js cannot listen');
  return uws.us_socket_local_port(socket);
}

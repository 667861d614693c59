// The programs that are compared and how each is started.

import { fileURLToPath } from 'node:url';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

/** The load generator and floor server, built by `build.mjs`. */
export const LOAD = path('../target/bench/release/load');

/** Command line of each peer's server with that many rooms. */
export const peers = {
  native: (rooms) => [process.execPath, path('servers/native.mjs'), '--rooms', String(rooms)],
  A: (rooms) => [process.execPath, path('servers/socketio.mjs'), '--rooms', String(rooms)],
  F: (rooms) => [LOAD, 'floor', '--rooms', String(rooms)],
};

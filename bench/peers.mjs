// The programs that are compared and how each is started.

import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const program = (name, rooms, ...more) => [
  process.execPath, path.join(here, 'servers', name), '--rooms', String(rooms), ...more,
];

/** The load generator and floor server, built by `build.mjs`. */
export const LOAD = path.join(here, '../target/bench/release/load');

/** Command line of each peer's server with that many rooms; `base` is the package in another directory. */
export const peers = {
  native: (rooms) => program('native.mjs', rooms),
  base: (rooms, directory) => program('native.mjs', rooms, '--package', path.resolve(directory)),
  A: (rooms) => program('socketio.mjs', rooms),
  B: (rooms) => program('socketio-uws.mjs', rooms),
  F: (rooms) => [LOAD, 'floor', '--rooms', String(rooms)],
};

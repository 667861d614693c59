// The programs that are compared and how each is started.

import path from 'node:path';
import { certificate } from './certificate.mjs';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('..', import.meta.url));
/** Of the row's settings, `heapMiB` lifts V8's limit where gigabytes of messages are kept. */
const program = (name, rooms, { heapMiB }, ...more) => [
  process.execPath,
  ...(heapMiB ? [`--max-old-space-size=${heapMiB}`] : []),
  path.join(here, 'servers', name), '--rooms', String(rooms), ...more,
];
/** Where the Redis is that instances share; without one there is one instance. */
const shared = ({ redis }) => (redis ? { redis: { host: redis.host, port: redis.port } } : {});
const configured = (config, ...flags) => (rooms, options) =>
  program('native.mjs', rooms, options, '--config', JSON.stringify({ ...config, ...shared(options) }), ...flags);

const socketio = (name, config = {}) => (rooms, { quietJoins = false, ...options }) =>
  program(name, rooms, options, '--config', JSON.stringify({ quietJoins, ...config, ...shared(options) }));

const RECOVERY = { connectionStateRecovery: true };

/** The load generator and floor server, built by `build.mjs`. */
export const LOAD = path.join(here, '../target/bench/release/load');

/** Command line of each peer's server with that many rooms; the names are the columns of the table. */
export const peers = {
  native: configured({}),
  base: (rooms, options) => [...configured({})(rooms, options), '--package', path.resolve(options.base)],
  A: socketio('socketio.mjs'),
  B: socketio('socketio-uws.mjs'),
  F: (rooms, { redis }) => [
    LOAD, 'floor', '--rooms', String(rooms), ...(redis ? ['--redis-port', String(redis.port)] : []),
  ],
  // The package once more: listening by itself, and for rows that compare it with itself.
  door: configured({}, '--door'),
  'door, TLS': (rooms, options) => [...configured({}, '--door')(rooms, options), '--tls', certificate()],
  'A, https': (rooms, options) => [...socketio('socketio.mjs')(rooms, options), '--tls', certificate()],
  recovering: configured(RECOVERY),
  'A, recovering': socketio('socketio.mjs', RECOVERY),
  'one core': configured({}),
  'by count': configured({ history: { maxMessagesPerRoom: 1_000 } }),
  'by age': configured({ history: { maxAgeMs: 500 } }),
};

// A Redis for the benchmark alone: on a free port of 127.0.0.1, keeps nothing, else as it comes.

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { find } from '../../scripts/programs.mjs';
import { Program } from './process.mjs';

export const HOST = '127.0.0.1';

/** Starts Redis or Valkey; resolves when it takes connections. */
export async function startRedis(cores) {
  const port = await freePort();
  const directory = mkdtempSync(path.join(os.tmpdir(), 'bench-redis-'));
  const settings = { bind: HOST, port, dir: directory, save: '', appendonly: 'no' };
  const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const program = await Program.start(cores, [find('redis').path, ...flags], /Ready to accept connections/);
  return {
    host: HOST,
    port,
    pid: program.pid,
    async stop() {
      await program.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function freePort() {
  const server = createServer().listen(0, HOST);
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

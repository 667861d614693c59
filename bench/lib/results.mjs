// The results files: what was measured, when, with which options and on which machine. A run replaces the rows it
// measured and keeps the others, because a full run takes long. Quick rounds have a file of their own.

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import { fileURLToPath } from 'node:url';

const RESULTS = new URL('../results.json', import.meta.url);
const QUICK_RESULTS = new URL('../results-quick.json', import.meta.url);
const OF_PACKAGES = ['socket.io', '@socket.io/redis-adapter', 'ws', '@trufflesuite/uws-js-unofficial'];

const fileOf = ({ quick }) => (quick ? QUICK_RESULTS : RESULTS);

/** Where results with these options are kept, as a path in the repository. */
export function resultsFile(options) {
  return `bench/${fileOf(options).pathname.split('/').at(-1)}`;
}

/** Adds the rows to what was measured before. */
export function writeResults(rows, options) {
  const file = fileOf(options);
  const about = { machine: machine(), versions: versions() };
  const added = Object.entries(rows).map(([id, row]) => [id, { ...row, ...about }]);
  const results = { rows: { ...read(file).rows, ...Object.fromEntries(added) } };
  writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
}

/** What full rounds have measured. */
export function readResults() {
  return read(RESULTS);
}

function read(file) {
  try {
    const results = JSON.parse(readFileSync(file, 'utf8'));
    return results.rows ? results : { rows: {} };
  } catch (error) {
    if (error.code === 'ENOENT') return { rows: {} };
    throw new Error(`${fileURLToPath(file)} is not a results file; delete it`, { cause: error });
  }
}

function machine() {
  const cpus = os.cpus();
  return {
    cpu: cpus[0].model,
    cores: cpus.length,
    memoryBytes: os.totalmem(),
    kernel: `${os.type()} ${os.release()} ${os.arch()}`,
  };
}

function versions() {
  const require = createRequire(import.meta.url);
  const versionOf = (file) => JSON.parse(readFileSync(file, 'utf8')).version;
  return {
    node: process.version,
    'native-websocket-service': versionOf(new URL('../../package.json', import.meta.url)),
    commit: commit(),
    ...Object.fromEntries(OF_PACKAGES.map((name) => [name, versionOf(require.resolve(`${name}/package.json`))])),
  };
}

/** The commit that was measured, if this is a checkout; `-dirty` when files differ from it. */
function commit() {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], {
      cwd: fileURLToPath(new URL('..', import.meta.url)),
      stdio: ['ignore', 'pipe', 'ignore'],
      encoding: 'utf8',
    }).trim();
  } catch {
    return undefined;
  }
}

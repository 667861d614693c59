// `npm run bench`: runs the rows against every peer in interleaved rounds, prints the table, writes the results file.

import os from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildLoad } from './build.mjs';
import { LOAD, peers } from './peers.mjs';
import { Server, runLoad } from './process.mjs';
import { summarize, table, writeResults } from './report.mjs';
import { rows } from './rows/index.mjs';

const SERVER_CORE = 0;
const LOAD_CORE = 1;
const LOAD_LIMIT_MS = 300_000;
const RESULTS = fileURLToPath(new URL('results.json', import.meta.url));

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '3' },
    base: { type: 'string' },
  },
});

const rounds = Number(options.rounds);
const selected = positionals.length === 0 ? rows : rows.filter(({ id }) => positionals.includes(id));
const unknown = positionals.filter((id) => !rows.some((row) => row.id === id));
if (unknown.length > 0) throw new Error(`unknown row ${unknown.join(', ')}; known: ${rows.map(({ id }) => id).join(' ')}`);
if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`--rounds ${options.rounds}: a whole number from 1`);
if (os.platform() !== 'linux' || os.cpus().length < 2) throw new Error('the benchmark needs Linux and two cores');

console.log('building bench/load (release)');
buildLoad();

const lines = [];
const raw = {};
for (const row of selected) {
  const { reports, failures } = row.unavailable ? {} : await measure(row);
  if (reports) raw[row.id] = reports;
  lines.push(...summarize(row, reports, failures));
}
console.log(`\n${table(lines)}\n`);
if (options.quick) console.log('quick rounds: fewer clients and shorter times than the rows say');
writeResults(RESULTS, { options: { ...options, rows: selected.map(({ id }) => id) }, lines, raw });
console.log('written: bench/results.json');

/** All rounds of one row; a peer that fails takes no further part in it. */
async function measure(row) {
  const peersOfRow = options.base ? ['base', ...row.peers] : row.peers;
  const reports = Object.fromEntries(peersOfRow.map((peer) => [peer, []]));
  const failures = {};
  for (let round = 1; round <= rounds; round += 1) {
    for (const peer of peersOfRow.filter((name) => !(name in failures))) {
      process.stdout.write(`${row.id} round ${round} of ${rounds}, ${peer} …`);
      try {
        reports[peer].push(await measureOnce(row, peer));
        console.log(' done');
      } catch (error) {
        failures[peer] = reason(error);
        console.log(` ${failures[peer]}`);
      }
    }
  }
  return { reports, failures };
}

async function measureOnce(row, peer) {
  const server = await Server.start(row.serverCores ?? SERVER_CORE, peers[peer](row.rooms, options.base));
  try {
    const [workload, ...load] = row.load(options);
    const target = ['--port', server.port, '--pid', server.pid];
    if (row.rooms > 0) target.push('--rooms', server.rooms.join(','));
    const command = [LOAD, workload, ...target, ...load].map(String);
    const report = await runLoad(LOAD_CORE, command, LOAD_LIMIT_MS, (request) => server.send(request));
    return peer === 'F' ? report : { ...report, server: await server.replies() };
  } finally {
    await server.stop();
  }
}

/** The one line of an error, or of a Node.js crash report, that says what is wrong. */
function reason(error) {
  const message = error.message.split('\n');
  return message.find((line) => /^\w*Error\b/.test(line)) ?? message[0];
}

// `npm run bench`: runs the rows against every peer in interleaved rounds, prints the table, writes the results file
// and, after a full run, docs/performance.md.

import os from 'node:os';
import { parseArgs } from 'node:util';
import { buildLoad } from './lib/build.mjs';
import { writeDocument } from './lib/document.mjs';
import { installPeers } from './lib/install.mjs';
import { measure } from './lib/measure.mjs';
import { isFaulty, summarize, table } from './lib/report.mjs';
import { readResults, resultsFile, writeResults } from './lib/results.mjs';
import { rows } from './rows/index.mjs';
import { prepare } from '../scripts/prepare.mjs';
import { fail } from '../scripts/terminal.mjs';

/** The rows and peers of `--check`, which need no package of `bench/package.json`. */
const CHECKED = { P1: ['native', 'F'], P3: ['native'], P5: ['native'], P9: ['native'], R1: ['recovering'] };

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '3' },
    base: { type: 'string' },
    check: { type: 'boolean', default: false },
    document: { type: 'boolean', default: false },
  },
});
const rounds = Number(options.rounds);
if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`--rounds ${options.rounds}: a whole number from 1`);

if (options.document) document();
else if (options.check) await check();
else await bench();

async function bench() {
  const selected = select(positionals);
  makeReady(selected);
  installPeers();
  const results = {};
  for (const row of selected) {
    results[row.id] = await resultOf(row, { ...options, rounds });
    writeResults(results, options); // a run takes long; what it has is not lost when it is stopped
  }
  show(selected, results);
  console.log(`written: ${resultsFile(options)}`);
  if (positionals.length === 0 && !options.quick && !options.base) document();
}

/** A short form for continuous integration: time never fails it, wrong counts and orders do. */
async function check() {
  const selected = select(Object.keys(CHECKED)).map((row) => ({ ...row, peers: CHECKED[row.id] }));
  makeReady(selected);
  const results = {};
  for (const row of selected) results[row.id] = await resultOf(row, { quick: true, rounds: 1 });
  show(selected, results);
  const faulty = selected.filter(({ id }) => isFaulty(results[id]));
  for (const { id } of faulty) console.log(`${id}: something was lost, doubled, out of order or did not run`);
  process.exitCode = faulty.length === 0 ? 0 : 1;
}

function document() {
  for (const file of writeDocument(readResults(), rows)) console.log(`written: ${file}`);
}

/** The rows with these ids; `G1` stands for all of its points `G1.10`, `G1.100`, … */
function select(ids) {
  const isNamed = (row, id) => row.id === id || row.id.startsWith(`${id}.`);
  const unknown = ids.filter((id) => !rows.some((row) => isNamed(row, id)));
  if (unknown.length > 0) throw new Error(`unknown row ${unknown.join(', ')}; known: ${rows.map(({ id }) => id).join(' ')}`);
  return ids.length === 0 ? rows : rows.filter((row) => ids.some((id) => isNamed(row, id)));
}

/** A build that is there is measured as it is: it may have been made with another profile. */
function makeReady(selected) {
  if (os.platform() !== 'linux' || os.cpus().length < 2) fail('npm run bench needs Linux and two cores.');
  const redis = selected.some(({ inCluster }) => inCluster) ? ['redis'] : [];
  prepare('npm run bench', ['taskset', ...redis], { rebuild: false });
  console.log('building bench/load (release)');
  buildLoad();
}

async function resultOf(row, how) {
  const { reports, failures } = await measure(row, how);
  return { date: new Date().toISOString(), quick: how.quick, rounds: how.rounds, failures, raw: reports };
}

function show(selected, results) {
  const lines = selected.flatMap((row) => summarize(row, results[row.id]));
  console.log(`\n${table(lines)}\n`);
  if (Object.values(results).some(({ quick }) => quick)) {
    console.log('quick rounds: fewer clients and shorter times than the rows say');
  }
}

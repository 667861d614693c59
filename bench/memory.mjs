// `npm run bench:memory`: where the memory of a connection goes, natively by allocation site and in JavaScript, and what
// a kept message takes. Prints tables; with `--document` puts them into docs/memory.md.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { canRecord, perConnection, readRecord, recorded } from './lib/allocations.mjs';
import { buildAddonWithSymbols, buildLoad } from './lib/build.mjs';
import { LOAD, peers } from './lib/peers.mjs';
import { Server, runLoad, startLoad } from './lib/process.mjs';

const DOCUMENT = new URL('../docs/memory.md', import.meta.url);
const SERVER_CORES = 0;
const LOAD_CORES = 1;
const ROOMS = 200;
/** Connections between which growth is measured: what is needed once, whatever their number, is in both. */
const RECORDED = [1_000, 5_000];
const WEIGHED = [2_000, 10_000];
const SETTLE_MS = 3_000;
const LOOK_PERIOD_MS = 200;
const LIMIT_MS = 120_000;
/** One client in each room, and how long they talk. */
const MESSAGES = { rooms: 100, perSecond: 20_000, seconds: 5 };

const EMPTY_ROOMS = 20_000;

const tables = { allocations, connections, kept };

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { document: { type: 'boolean', default: false } },
});
const unknown = positionals.filter((name) => !(name in tables));
if (unknown.length > 0) throw new Error(`unknown table ${unknown.join(', ')}; known: ${Object.keys(tables).join(' ')}`);

buildLoad();
for (const name of positionals.length > 0 ? positionals : Object.keys(tables)) {
  const text = markdown(await tables[name]());
  console.log(`\n${text}`);
  if (options.document) replace(name, text);
}

/** Bytes that the native side asks its allocator for, by part of a connection. */
async function allocations() {
  if (!canRecord()) throw new Error('heaptrack is not installed (Debian and Ubuntu: apt-get install heaptrack)');
  const addon = buildAddonWithSymbols();
  const [few, many] = RECORDED;
  const growth = perConnection(await record(addon, few), await record(addon, many), many - few);
  const owners = [...new Set(growth.map(({ owner }) => owner))];
  const sum = (lines) => lines.reduce((total, { bytes }) => total + bytes, 0);
  return [
    ['what', 'of', 'bytes per connection'],
    ...owners.flatMap((owner) => {
      const lines = growth.filter((line) => line.owner === owner);
      return [
        ...lines.filter(({ bytes }) => Math.abs(bytes) >= 0.5).map(({ what, bytes }) => [what, owner, bytes]),
        ['**together**', owner, sum(lines)],
      ];
    }),
    ['**all**', '', sum(growth)],
  ];
}

/** What idle connections have allocated when the server is killed. */
async function record(addon, connections) {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'memory-'));
  try {
    const command = recorded(peers.native(ROOMS, {}), directory);
    const server = await Server.start(SERVER_CORES, ['env', `NAPI_RS_NATIVE_LIBRARY_PATH=${addon}`, ...command]);
    const load = await connect(server, connections, connections);
    await server.kill();
    await load.stop();
    return readRecord(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** JavaScript's heap and resident memory, by what the application does. */
async function connections() {
  const [few, many] = WEIGHED;
  const weights = {};
  await serve(ROOMS, async (server) => {
    const zero = await weigh(server);
    const first = await connect(server, few, few);
    const before = await weigh(server);
    const second = await connect(server, many - few, many);
    const after = await weigh(server);
    weights[`nobody listens, from 0 to ${count(many)}`] = growth(zero, after, many);
    weights[`nobody listens, from ${count(few)} to ${count(many)}`] = growth(before, after, many - few);
    await ask(server, 'touchUsers');
    const users = await weigh(server);
    weights['added by `getConnectedUsers()`'] = growth(after, users, many);
    await ask(server, 'touchRooms');
    weights['added by reading `room.members`'] = growth(users, await weigh(server), many);
    await Promise.all([first.stop(), second.stop()]);
  });
  await serve(ROOMS, async (server) => {
    await ask(server, 'holdUsers');
    const first = await connect(server, few, few);
    const before = await weigh(server);
    const second = await connect(server, many - few, many);
    const name = `a \`connection\` listener that keeps the user, from ${count(few)} to ${count(many)}`;
    weights[name] = growth(before, await weigh(server), many - few);
    await Promise.all([first.stop(), second.stop()]);
  });
  return weightTable('bytes per connection', weights);
}

/** Kept messages of clients, as they are and when JavaScript has asked for them, and rooms. */
async function kept() {
  const { rooms, perSecond, seconds } = MESSAGES;
  const weights = {};
  await serve(rooms, async (server) => {
    const before = await weigh(server);
    const load = ['steady', ...target(server), '--clients', rooms, '--rate', perSecond, '--seconds', seconds];
    await runLoad(LOAD_CORES, [LOAD, ...load].map(String), LIMIT_MS, () => {});
    await sleep(SETTLE_MS);
    const after = await weigh(server);
    const { touchMessages } = await ask(server, 'touchMessages');
    const touched = await weigh(server);
    weights['a message of 64 characters in the history'] = growth(before, after, touchMessages.messages);
    weights['added by `getRoomMessages()`'] = growth(after, touched, touchMessages.messages);
  });
  await serve(ROOMS, async (server) => {
    const before = await weigh(server);
    await ask(server, 'makeRooms', EMPTY_ROOMS);
    weights['an empty room'] = growth(before, await weigh(server), EMPTY_ROOMS);
  });
  return weightTable('bytes of each', weights);
}

async function serve(rooms, work) {
  const server = await Server.start(SERVER_CORES, peers.native(rooms, {}));
  try {
    await work(server);
  } finally {
    await server.stop();
  }
}

/** Opens so many connections more; resolves when there are `total` of them, all in rooms, and everything is quiet. */
async function connect(server, more, total) {
  const load = ['idle', ...target(server), '--clients', more, '--settle-seconds', LIMIT_MS / 1e3];
  const running = startLoad(LOAD_CORES, [LOAD, ...load].map(String));
  const end = performance.now() + LIMIT_MS;
  for (;;) {
    const { population } = await ask(server, 'population');
    if (population.connections === total && population.members === total) break;
    if (performance.now() > end) throw new Error(`${population.members} of ${total} clients came into their rooms`);
    await sleep(LOOK_PERIOD_MS);
  }
  await sleep(SETTLE_MS);
  return running;
}

function target({ port, pid, rooms }) {
  return ['--port', port, '--pid', pid, '--rooms', rooms.join(',')];
}

async function ask(server, command, argument = null) {
  server.send({ [command]: argument });
  return server.replies(LIMIT_MS);
}

async function weigh(server) {
  const { weigh: weight } = await ask(server, 'weigh');
  return weight;
}

function growth(before, after, things) {
  const of = (name) => (after[name] - before[name]) / things;
  return [of('heapUsed') + of('external'), of('heapTotal'), of('rss')];
}

function weightTable(unit, weights) {
  return [
    [unit, 'JavaScript objects and buffers', 'V8’s heap, free space included', 'resident'],
    ...Object.entries(weights).map(([name, figures]) => [name, ...figures]),
  ];
}

function count(number) {
  return number.toLocaleString('en');
}

function markdown([head, ...lines]) {
  const cell = (value) => (typeof value === 'number' ? count(Math.round(value) + 0) : value);
  const row = (cells) => `| ${cells.join(' | ')} |`;
  const isFigure = (column) => typeof lines[0][column] === 'number';
  const rule = head.map((_, column) => (isFigure(column) ? '--:' : '---'));
  return [row(head), row(rule), ...lines.map((line) => row(line.map(cell))), ''].join('\n');
}

/** The document has each table between two comments. */
function replace(name, text) {
  const [begin, end] = [`<!-- ${name} -->\n`, `<!-- end of ${name} -->`];
  const document = readFileSync(DOCUMENT, 'utf8');
  const [from, to] = [document.indexOf(begin) + begin.length, document.indexOf(end)];
  if (from < begin.length || to < from) throw new Error(`docs/memory.md has no place for ${name}`);
  writeFileSync(DOCUMENT, document.slice(0, from) + text + document.slice(to));
}

// `npm run bench:cluster`: what instances of a cluster cost Redis and each other, and what one keeps of the users of
// another. Prints tables; with `--document` puts them into docs/cluster.md.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { buildLoad } from './lib/build.mjs';
import { LOAD, peers } from './lib/peers.mjs';
import { Server, runLoad, startLoad } from './lib/process.mjs';
import { startRedis } from './lib/redis.mjs';
import { requirePrograms } from '../scripts/programs.mjs';

const RESULTS = new URL('results-cluster.json', import.meta.url);
const DOCUMENT = new URL('../docs/cluster.md', import.meta.url);
const [BEGIN, END] = ['<!-- measured -->\n', '<!-- /measured -->'];
const SERVER_CORES = 0;
const LOAD_CORES = 1;
const LIMIT_MS = 120_000;
const SETTLE_MS = 3_000;

const SIZES = [2, 4, 8];
/** Idle users of each instance, in how many rooms all together, and how long they are watched; each is pinged once. */
const IDLE = { users: 1_000, rooms: 20, watchMs: 27_000, emptyMs: 10_000 };
const MESSAGES = { perSecond: 500, seconds: 10, warmUpSeconds: 2 };
const REPLICAS = { users: 100_000, rooms: 1_000 };
/** A chat on the instance that holds the users, 2 s of warm-up first; another instance comes in the middle of it. */
const WATCHED = { clients: 10, perSecond: 500, seconds: 5, comesAfterMs: 4_000 };

const measurements = {
  ...Object.fromEntries(SIZES.map((size) => [size, () => measureInstances(size)])),
  replicas: measureReplicas,
};

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { document: { type: 'boolean', default: false } },
});
const unknown = positionals.filter((name) => !(name in measurements));
if (unknown.length > 0) throw new Error(`unknown ${unknown.join(', ')}; known: ${Object.keys(measurements).join(' ')}`);

const results = existsSync(RESULTS) ? JSON.parse(readFileSync(RESULTS, 'utf8')) : {};
if (!options.document || positionals.length > 0) {
  requirePrograms('npm run bench:cluster', ['cargo', 'cc', 'taskset', 'redis']);
  buildLoad();
  for (const name of positionals.length > 0 ? positionals : Object.keys(measurements)) {
    console.log(`measuring ${name} …`);
    results[name] = await measurements[name]();
    writeFileSync(RESULTS, `${JSON.stringify(results, null, 2)}\n`);
  }
}
const text = [instanceTable(), replicaTable()].filter(Boolean).join('\n');
console.log(`\n${text}`);
if (options.document) writeDocument(text);

// --- what is measured ------------------------------------------------------------------------------------------------

/** So many instances: with nobody there, while users come, while they idle, while one of them talks. */
async function measureInstances(size) {
  return withCluster(async (redis, start) => {
    const first = await start(IDLE.rooms);
    const servers = [first];
    while (servers.length < size) servers.push(await start(0));
    for (const server of servers) await ask(server, 'meetRooms', first.rooms);
    const usage = () => readUsage(redis, servers);

    const empty = await during(usage, () => sleep(IDLE.emptyMs));
    const crowds = [];
    const arrival = await during(usage, async () => {
      for (const server of servers) crowds.push(startLoad(LOAD_CORES, idleCrowd(server, first.rooms)));
      for (const server of servers) await ask(server, 'meetMembers', size * IDLE.users);
    });
    await sleep(SETTLE_MS);
    const idle = await during(usage, () => sleep(IDLE.watchMs));
    await Promise.all(crowds.map((crowd) => crowd.stop()));
    await sleep(SETTLE_MS);
    const talk = await during(usage, () => chat(first));
    const states = await Promise.all(servers.map((server) => ask(server, 'clusterState')));
    return { empty, arrival, idle, talk, states };
  });
}

function idleCrowd({ port, pid }, rooms) {
  const target = ['--port', port, '--pid', pid, '--rooms', rooms.join(',')];
  return [LOAD, 'idle', ...target, '--clients', IDLE.users, '--settle-seconds', LIMIT_MS / 1e3].map(String);
}

/** One client talks to itself in a room that all instances know. */
function chat(server) {
  const load = ['steady', '--clients', 1, '--rate', MESSAGES.perSecond, '--seconds', MESSAGES.seconds];
  return talk(server, server.rooms[0], load);
}

/** Resolves with the report, of which counts and order are right. */
async function talk({ port, pid }, room, [workload, ...load]) {
  const command = [LOAD, workload, '--port', port, '--pid', pid, '--rooms', room, ...load];
  const report = await runLoad(LOAD_CORES, command.map(String), LIMIT_MS, () => {});
  const { losses, duplicates, disorders, closed } = report;
  if (losses + duplicates + disorders + closed > 0) throw new Error('messages were lost, doubled or out of order');
  return report;
}

/** One instance with many users; one that was there before them, and one that comes when they are there. */
async function measureReplicas() {
  return withCluster(async (redis, start) => {
    const { users, rooms } = REPLICAS;
    const holder = await start(rooms + 1);
    const [chatRoom, ...filled] = holder.rooms;
    const witness = await start(0);
    await ask(witness, 'meetRooms', holder.rooms);
    const before = await weigh(witness);
    await ask(holder, 'fill', { users, rooms: filled });
    await ask(witness, 'meetMembers', users);
    const after = await weigh(witness);
    const usage = () => readUsage(redis, [holder]);
    let newcomer;
    let wholeMs;
    const snapshot = await during(usage, async () => {
      newcomer = await start(0);
      wholeMs = await ask(newcomer, 'meetMembers', users);
    });
    const bytesBySnapshot = ((await weigh(newcomer)).rss - before.rss) / users;
    const watch = ['steady', '--clients', WATCHED.clients, '--rate', WATCHED.perSecond, '--seconds', WATCHED.seconds];
    const quiet = await talk(holder, chatRoom, watch);
    const another = sleep(WATCHED.comesAfterMs).then(() => start(0));
    const [disturbed] = await Promise.all([talk(holder, chatRoom, watch), another]);
    return {
      users,
      quiet: quiet.delay_ms,
      disturbed: disturbed.delay_ms,
      emptyReadyMs: witness.readyMs,
      readyMs: newcomer.readyMs,
      wholeMs,
      snapshot,
      bytesByNews: (after.rss - before.rss) / users,
      bytesBySnapshot,
      states: await Promise.all([holder, witness, newcomer].map((server) => ask(server, 'clusterState'))),
    };
  });
}

async function withCluster(work) {
  const redis = await startRedis(SERVER_CORES);
  const servers = [];
  const start = async (rooms) => {
    servers.push(await Server.start(SERVER_CORES, peers.native(rooms, { redis })));
    return servers.at(-1);
  };
  try {
    return await work(redis, start);
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
    await redis.stop();
  }
}

async function ask(server, command, argument = null) {
  server.send({ [command]: argument });
  return (await server.replies(LIMIT_MS))[command];
}

async function weigh(server) {
  await sleep(SETTLE_MS);
  return ask(server, 'weigh');
}

/** How much more was used when the work is done, and how long it took. */
async function during(usage, work) {
  const before = usage();
  await work();
  const after = usage();
  const more = (name) => after[name] - before[name];
  return {
    ms: more('at'),
    publications: more('publications'),
    inBytes: more('inBytes'),
    outBytes: more('outBytes') - before.answerBytes,
    redisMs: more('redisMs'),
    serverMs: after.serverMs.map((ms, index) => ms - before.serverMs[index]),
  };
}

function readUsage({ host, port }, servers) {
  const answer = execFileSync('redis-cli', ['-h', host, '-p', String(port), 'INFO', 'all'], { encoding: 'utf8' });
  const figure = (pattern) => Number(pattern.exec(answer)?.[1] ?? 0);
  return {
    at: performance.now(),
    answerBytes: Buffer.byteLength(answer),
    publications: figure(/^cmdstat_publish:calls=(\d+)/m),
    inBytes: figure(/^total_net_input_bytes:(\d+)/m),
    outBytes: figure(/^total_net_output_bytes:(\d+)/m),
    redisMs: 1e3 * (figure(/^used_cpu_sys:([\d.]+)/m) + figure(/^used_cpu_user:([\d.]+)/m)),
    serverMs: servers.map(({ pid }) => cpuMs(pid)),
  };
}

/** CPU time of a process, which Linux counts in hundredths of a second. */
function cpuMs(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const [user, system] = stat.slice(stat.lastIndexOf(')') + 2).split(' ').slice(11, 13);
  return 10 * (Number(user) + Number(system));
}

// --- how it is told --------------------------------------------------------------------------------------------------

function instanceTable() {
  const sizes = SIZES.filter((size) => results[size]);
  if (sizes.length === 0) return '';
  const line = (what, figure) => [what, ...sizes.map((size) => figure(results[size], size))];
  const perMinute = ({ ms }, figure) => (figure * 60_000) / ms;
  const perMessage = (cost) => ({ talk, empty }) => {
    const messages = MESSAGES.perSecond * (MESSAGES.seconds + MESSAGES.warmUpSeconds);
    return (cost(talk) - (cost(empty) * talk.ms) / empty.ms) / messages;
  };
  const perThousand = (cost) => (result) => 1_000 * perMessage(cost)(result);
  const users = (size) => size * IDLE.users;
  const others = ({ serverMs: [, ...rest] }) => rest.reduce((sum, ms) => sum + ms, 0) / rest.length;
  return markdown([
    ['instances', ...sizes],
    line('publications per room message', perMessage(({ publications }) => publications)),
    line('bytes to Redis per room message of 64 characters', perMessage(({ inBytes }) => inBytes)),
    line('bytes from Redis per room message', perMessage(({ outBytes }) => outBytes)),
    line('CPU of Redis per 1,000 room messages, ms', perThousand(({ redisMs }) => redisMs)),
    line('CPU of the sender’s instance per 1,000 room messages, ms', perThousand(({ serverMs }) => serverMs[0])),
    line('CPU of each other instance per 1,000 room messages, ms', perThousand(others)),
    line('publications per user who comes and joins a room', ({ arrival }, size) => arrival.publications / users(size)),
    line('bytes to Redis per user who comes', ({ arrival }, size) => arrival.inBytes / users(size)),
    line('bytes from Redis per user who comes', ({ arrival }, size) => arrival.outBytes / users(size)),
    line('bytes to Redis per minute without users', ({ empty }) => perMinute(empty, empty.inBytes)),
    line('bytes from Redis per minute without users', ({ empty }) => perMinute(empty, empty.outBytes)),
    line(`bytes to Redis per minute with ${show(IDLE.users)} idle users each`, ({ idle }) => perMinute(idle, idle.inBytes)),
    line('bytes to Redis per idle user and minute', ({ idle }, size) => perMinute(idle, idle.inBytes) / users(size)),
    line('bytes from Redis per idle user and minute', ({ idle }, size) => perMinute(idle, idle.outBytes) / users(size)),
    line('CPU of Redis per minute with these users, ms', ({ idle }) => perMinute(idle, idle.redisMs)),
  ]);
}

function replicaTable() {
  const { replicas } = results;
  if (!replicas) return '';
  const { users, snapshot, emptyReadyMs, readyMs, wholeMs, bytesByNews, bytesBySnapshot, quiet, disturbed } = replicas;
  return markdown([
    [`${show(users)} users on one instance, in ${show(REPLICAS.rooms)} rooms`, ''],
    ['resident memory of another instance per user, told one by one, bytes', bytesByNews],
    ['the same, told by a snapshot, bytes', bytesBySnapshot],
    ['start of an instance until `ready()` resolves, in an empty cluster, ms', emptyReadyMs],
    ['start of an instance until `ready()` resolves, with these users, ms', readyMs],
    ['start of an instance until it knows all of them, ms', wholeMs],
    ['bytes through Redis for that', snapshot.inBytes],
    ['CPU of Redis for that, ms', snapshot.redisMs],
    ['CPU of the instance that holds the users for that, ms', snapshot.serverMs[0]],
    ['delay of messages between clients of that instance, p99, ms', quiet.p99],
    ['the same while another instance comes, p99, ms', disturbed.p99],
    ['the longest of these delays, ms', disturbed.max],
  ]);
}

function show(value) {
  if (typeof value !== 'number') return value;
  if (Math.abs(value) >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString('en');
  return value.toPrecision(3);
}

function markdown([head, ...lines]) {
  const row = (cells) => `| ${cells.map(show).join(' | ')} |`;
  return [row(head), row(head.map((_, column) => (column === 0 ? '---' : '--:'))), ...lines.map(row), ''].join('\n');
}

function writeDocument(text) {
  const document = readFileSync(DOCUMENT, 'utf8');
  const [from, to] = [document.indexOf(BEGIN) + BEGIN.length, document.indexOf(END)];
  if (from < BEGIN.length || to < from) throw new Error(`docs/cluster.md has no place between ${BEGIN.trim()} and ${END}`);
  writeFileSync(DOCUMENT, `${document.slice(0, from)}\n${text}\n${document.slice(to)}`);
}

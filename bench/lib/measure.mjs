// The rounds of a row: one server after the other, each with its own load, in turn.

import { LOAD, peers } from './peers.mjs';
import { Server, runLoad } from './process.mjs';
import { startRedis } from './redis.mjs';

const SERVER_CORES = 0;
const LOAD_CORES = 1;
const LOAD_LIMIT_MS = 300_000;
/** How long the server's own work may take, behind the load or without one. */
const COMMAND_LIMIT_MS = 900_000;

/** All rounds of one row; a peer that fails takes no further part in it. */
export async function measure(row, { rounds: asked, ...options }) {
  const rounds = Math.min(asked, row.maxRounds ?? asked);
  const peersOfRow = options.base ? ['base', ...row.peers] : row.peers;
  const reports = Object.fromEntries(peersOfRow.map((peer) => [peer, []]));
  const failures = {};
  for (let round = 1; round <= rounds; round += 1) {
    for (const peer of peersOfRow.filter((name) => !(name in failures))) {
      process.stdout.write(`${row.id} round ${round} of ${rounds}, ${peer} …`);
      try {
        reports[peer].push(await measureOnce(row, peer, options));
        console.log(' done');
      } catch (error) {
        failures[peer] = reason(error);
        console.log(` ${failures[peer]}`);
      }
    }
  }
  return { reports, failures };
}

/** With `inCluster` there is a Redis, a second instance, and both are on the cores of the first. */
async function measureOnce(row, peer, options) {
  if (row.instances) return measureInstances(row, peer, options);
  if (!row.inCluster) return measureOn(row, peer, options);
  const cores = row.serverCores?.[peer] ?? SERVER_CORES;
  const redis = await startRedis(cores);
  try {
    const settings = { ...options, ...row.settings, redis };
    const far = await Server.start(cores, peers[peer](0, settings));
    try {
      return await measureOn(row, peer, settings, { redis, far });
    } finally {
      await far.stop();
    }
  } finally {
    await redis.stop();
  }
}

/** With `instances` there are so many on one Redis, of which all but the first are killed and started again as the load asks. */
async function measureInstances(row, peer, options) {
  const cores = row.serverCores?.[peer] ?? SERVER_CORES;
  const redis = await startRedis(cores);
  const settings = { ...options, ...row.settings, redis };
  const servers = [];
  const startOne = async (rooms, port = 0) => {
    const server = await Server.start(cores, [...peers[peer](rooms, settings), '--port', port]);
    if (rooms === 0) {
      server.send({ meetRooms: servers[0].rooms });
      await server.replies(COMMAND_LIMIT_MS);
    }
    return server;
  };
  try {
    servers.push(await startOne(roomsOf(row, options)));
    while (servers.length < row.instances) servers.push(await startOne(0));
    const [first, ...others] = servers;
    const [workload, ...load] = row.load(options, peer);
    const target = ['--port', first.port, '--pid', first.pid, '--rooms', first.rooms.join(',')];
    const generator = [LOAD, workload, ...target, '--others', others.map(({ port }) => port).join(','), ...load];
    let restarted = Promise.resolve();
    const onAsk = ({ kill }) => {
      restarted = restarted.then(async () => {
        const doomed = servers[1 + kill];
        await doomed.kill();
        servers[1 + kill] = await startOne(0, doomed.port);
      });
      // Told at the end.
      restarted.catch(() => {});
    };
    const report = await runLoad(row.loadCores ?? LOAD_CORES, generator.map(String), LOAD_LIMIT_MS, onAsk);
    await restarted;
    return report;
  } finally {
    for (const server of servers) await server.stop();
    await redis.stop();
  }
}

async function measureOn(row, peer, options, cluster) {
  const settings = { ...options, ...row.settings };
  const command = [...peers[peer](roomsOf(row, options), settings), ...(row.server ?? [])];
  const server = await Server.start(row.serverCores?.[peer] ?? SERVER_CORES, command);
  try {
    if (cluster && peer !== 'F') {
      cluster.far.send({ meetRooms: server.rooms });
      await cluster.far.replies(COMMAND_LIMIT_MS);
    }
    if (!row.load) {
      for (const request of row.commands(options)) server.send(request);
      return { server: await server.replies(COMMAND_LIMIT_MS) };
    }
    if (row.before) {
      for (const request of row.before) server.send(request);
      await server.replies(COMMAND_LIMIT_MS);
    }
    const [workload, ...load] = row.load(options, peer);
    const target = ['--port', server.port, '--pid', server.pid];
    if (server.rooms.length > 0) target.push('--rooms', server.rooms.join(','));
    if (cluster) target.push('--far-port', cluster.far.port, '--more-pids', `${cluster.far.pid},${cluster.redis.pid}`);
    const generator = [LOAD, workload, ...target, ...load].map(String);
    const onAsk = (request) => server.send(request);
    const report = await runLoad(row.loadCores ?? LOAD_CORES, generator, LOAD_LIMIT_MS, onAsk);
    for (const request of row.after ?? []) server.send(request);
    return peer === 'F' ? report : { ...report, server: await server.replies(COMMAND_LIMIT_MS) };
  } finally {
    await server.stop();
  }
}

const roomsOf = ({ rooms }, options) => (typeof rooms === 'function' ? rooms(options) : rooms);

/** The one line of an error, or of a Node.js crash report, that says what is wrong. */
function reason(error) {
  const message = error.message.split('\n');
  return message.find((line) => /^(FATAL ERROR|\w*Error\b)/.test(line)) ?? message[0];
}

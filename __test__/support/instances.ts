// Servers in processes of their own: instances of the service, and the Node.js servers that they replace.

import { fork, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { afterTest } from './harness';
import type { RedisConfig, WebSocketConfig } from '../../index';
import { within } from './eventually';
import type { RedisAddress } from './redis';

export interface RecordedEvent {
  event: string;
  /** Sets as arrays, dates as ISO strings. */
  args: any[];
  /** In the order in which the process emitted them. */
  sequence: number;
  /** When, by the clock of the machine, in milliseconds since the epoch. */
  time: number;
}

/** `['in', 'room']` is `.in('room')`, `['volatile']` a property or a method without arguments. */
export type Step = [name: string, ...args: unknown[]];

interface Lifetime {
  /** Until the end of the file instead of the end of the test. */
  keep?: boolean;
}

const running = new Set<ServerProcess>();
const START = 15_000;
const ANSWER = 15_000;

afterAll(() => Promise.all([...running].map((server) => server.kill('SIGKILL'))));

/** A server that is driven over IPC; `root` names the object in it that `call` and `chain` begin with. */
export class ServerProcess {
  readonly events: RecordedEvent[] = [];
  url = '';
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #waiting = new Map<number, { done(result: any): void; fail(error: Error): void }>();
  #calls = 0;

  private constructor(
    fixture: string,
    readonly root: string,
  ) {
    this.#child = fork(join(__dirname, 'programs', fixture), { serialization: 'advanced' });
    running.add(this);
    this.#exited = new Promise((done) => this.#child.once('exit', done));
    this.#child.on('message', (message) => this.#receive(message));
    this.#child.once('exit', (code, signal) => {
      running.delete(this);
      const error = new Error(`${fixture} ended: ${signal ?? code}`);
      for (const { fail } of this.#waiting.values()) fail(error);
      this.#waiting.clear();
    });
  }

  static async start(
    fixture: string,
    root: string,
    settings: object,
    { keep = false }: Lifetime,
  ): Promise<ServerProcess> {
    const server = new ServerProcess(fixture, root);
    if (!keep) afterTest(() => server.kill('SIGKILL'));
    const port = new Promise<number>((done, fail) => {
      server.#waiting.set(0, { done, fail });
    });
    server.#child.send(settings);
    server.url = `http://127.0.0.1:${await within(START, `the start of ${fixture}`, port)}`;
    return server;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** One method; its result with sets as arrays and dates as ISO strings. */
  call(method: string, ...args: unknown[]): Promise<any> {
    return this.chain([method, ...args]);
  }

  /** Calls on the results of calls. */
  chain(...steps: Step[]): Promise<any> {
    return this.#ask([[this.root], ...steps]);
  }

  /** A command of the fixture itself. */
  command(name: string, ...args: unknown[]): Promise<any> {
    return this.#ask([[name, ...args]]);
  }

  /** Records an event that another server emits, and answers it if it asks. */
  listen(event: string, answer?: unknown): Promise<void> {
    return this.command('listen', event, answer);
  }

  recorded(event: string): RecordedEvent[] {
    return this.events.filter((entry) => entry.event === event);
  }

  /** Ends it as a deployment does. */
  async stop(): Promise<void> {
    await this.command('stop');
    await this.#exited;
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    this.#child.kill(signal);
    await this.#exited;
  }

  #ask(steps: Step[]): Promise<any> {
    const id = ++this.#calls;
    const answer = new Promise<any>((done, fail) => {
      this.#waiting.set(id, { done, fail });
      this.#child.send({ id, steps }, (error) => error && fail(error));
    });
    return within(ANSWER, `the answer to ${steps.map(([name]) => name).join('.')}`, answer);
  }

  #receive(message: any): void {
    if ('event' in message) {
      this.events.push(message);
      return;
    }
    const { id = 0, port, result = port, error } = message;
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) waiting?.fail(Object.assign(new Error(error.message), error));
    else waiting?.done(result);
  }
}

export interface InstanceOptions extends Lifetime {
  redis: RedisConfig;
  /** Further options of the service; they must survive a structured clone. */
  config?: WebSocketConfig;
}

/** A service whose clients say in `auth` who they are, attached to Redis but not yet ready. */
export function startInstance({ redis, config, keep }: InstanceOptions): Promise<ServerProcess> {
  return ServerProcess.start(
    'cluster-instance.js',
    'service',
    { config: { redis, ...config } },
    { keep: keep ?? false },
  );
}

export interface PeerOptions extends Lifetime {
  redis: RedisAddress;
  key: string;
  /** The package with which it reaches Redis. */
  client?: 'redis' | 'ioredis';
  /** Further options of the adapter. */
  adapter?: object;
}

/** A Node.js server with the adapter for Redis. */
export function startPeer({ redis, key, client = 'redis', adapter, keep }: PeerOptions): Promise<ServerProcess> {
  const settings = { client, address: redis, adapter: { key, ...adapter } };
  return ServerProcess.start('cluster-peer.js', 'io', settings, { keep: keep ?? false });
}

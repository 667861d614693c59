// What a client says by hand over either transport, and what a server makes of it: our service, or a reference.

import type { WebSocketConfig } from '../../index';
import { eventually } from './eventually';
import { FrameWire, frame } from './frames';
import { start } from './harness';
import { type Answer, handshake, raw, startReference } from './http';

/** A server whose application writes down what it hears. */
export interface Target {
  port: number;
  heard: unknown[][];
  /** Why its clients have left, as the application is told. */
  reasons: string[];
}

/** What both servers can be started with. */
export type Options = Pick<WebSocketConfig, 'allowEIO3' | 'maxHttpBufferSize' | 'pingInterval' | 'pingTimeout' | 'connectTimeout' | 'transports' | 'allowUpgrades' | 'upgradeTimeout'>;

/** As much of a socket as both servers have. */
interface AnySocket {
  handshake: { auth: unknown };
  on(event: string, listener: (...args: unknown[]) => void): unknown;
  emit(event: string, ...args: unknown[]): unknown;
  disconnect(close?: boolean): unknown;
}

/**
 * The application, on either server: refuses whoever asks for that in `auth`, hears `e`, answers `echo` with what came, and
 * does as it is told by `auth`, `ask` and `kick`.
 */
function application(socket: AnySocket, heard: unknown[][], next: (error?: Error) => void): void {
  const { auth } = socket.handshake;
  if ((auth as { refused?: boolean }).refused) return next(Object.assign(new Error('Please sign in'), { data: { code: 7 } }));
  socket.on('e', (...args) => void heard.push(args.filter((each) => typeof each !== 'function')));
  socket.on('echo', (...args) => (args.pop() as (...answer: unknown[]) => void)(...args));
  socket.on('auth', (answer) => (answer as (auth: unknown) => void)(auth));
  socket.on('ask', () => void socket.emit('question', 1, (...answer: unknown[]) => void heard.push(['answer', ...answer])));
  socket.on('kick', () => void socket.disconnect(true));
  next();
}

export async function ours(options: Options = {}): Promise<Target> {
  const heard: unknown[][] = [];
  const { service, port } = await start(options, {
    setup: (service) => void service.use((socket, next) => application(socket as unknown as AnySocket, heard, next)),
  });
  const reasons: string[] = [];
  service.on('disconnect', (_user, reason) => void reasons.push(reason));
  return { port, heard, reasons };
}

export async function reference(options: Options = {}): Promise<Target> {
  // Our defaults, where they differ.
  const { io, port } = await startReference({ pingTimeout: 60_000, ...options } as object);
  const [heard, reasons]: [unknown[][], string[]] = [[], []];
  io.use((socket, next) => application(socket as unknown as AnySocket, heard, next));
  io.on('connection', (socket) => void socket.on('disconnect', (reason) => void reasons.push(reason)));
  return { port, heard, reasons };
}

/** A packet of Engine.IO as text; bytes are a message. */
export type Said = string | Buffer;

/** What a client says, and for what it waits before it says more. */
export type Step = Said | ((now: Outcome) => boolean);

/** What a server has made of what a client said. */
export interface Outcome {
  /** Its packets, in order, bytes in hexadecimal. */
  got: string[];
  /** Arguments of the events that the application has heard. */
  heard: unknown[][];
  /**
   * How the transport has ended for the client, if it has: `closed` when it was told that, by a close frame without a status, a
   * close packet, or that there is no such session.
   */
  end?: string;
  /** Why the application's socket has left, if there was one and it has. */
  reason?: string;
}

/** A packet without what no two servers have in common. */
export const anonymous = (packet: string): string => packet.replace(/"sid":"[^"]+"/, '"sid":"…"');

const hexadecimal = (bytes: Buffer): string => `<${bytes.toString('hex')}>`;

/** The packets of the body of an answer. */
export function packetsOf(body: string, eio: 3 | 4 = 4): string[] {
  const packets: string[] = [];
  if (eio === 4) packets.push(...body.split('\x1e'));
  for (let rest = body; eio === 3 && rest !== ''; ) {
    const colon = rest.indexOf(':');
    const end = colon + 1 + Number(rest.slice(0, colon));
    packets.push(rest.slice(colon + 1, end));
    rest = rest.slice(end);
  }
  return packets.map((packet) =>
    packet.startsWith('b') ? hexadecimal(Buffer.from(packet.slice(eio === 3 ? 2 : 1), 'base64')) : anonymous(packet),
  );
}

/** The body of a request that says this. */
export function payloadOf(said: Said[], eio: 3 | 4 = 4): string {
  const packets = said.map((each) => (typeof each === 'string' ? each : `b${eio === 3 ? '4' : ''}${each.toString('base64')}`));
  return eio === 4 ? packets.join('\x1e') : packets.map((packet) => `${packet.length}:${packet}`).join('');
}

/** What a server makes of a packet, it makes of it at once. */
const PATIENCE = 2_000;
const CLOSE = '1';
const NOOP = '6';

/** The session that was asked for is unknown. */
const isUnknown = ({ status, body }: Answer): boolean => status === 400 && body === '{"code":1,"message":"Session ID unknown"}';

/** A client of either transport. */
export interface Client {
  /** The session, of a client that polls. */
  sid?: string;
  got: string[];
  end: string | undefined;
  say(said: Said): Promise<void>;
  /** Sees what has come meanwhile. */
  look(): Promise<void>;
  /** Resolves when the server has read all that was said, and what that caused at once has come. */
  settle(): Promise<void>;
  /** Goes away without a word. */
  leave(): void;
}

class OverWebSocket implements Client {
  end: string | undefined;
  #settled = 0;

  constructor(readonly wire: FrameWire, readonly eio: 3 | 4) {}

  get got(): string[] {
    const packets = this.wire.frames.filter(({ kind }) => kind === 1 || kind === 2);
    return packets.map(({ kind, payload }) => (kind === 1 ? anonymous(payload.toString()) : hexadecimal(payload)));
  }

  async say(said: Said): Promise<void> {
    if (typeof said === 'string') this.wire.send(frame('text', said));
    else this.wire.send(frame('binary', this.eio === 3 ? Buffer.concat([Buffer.from([4]), said]) : said));
  }

  async look(): Promise<void> {
    if (this.end !== undefined || (!this.wire.hasEnded && this.wire.status === 1006)) return;
    const { status } = await this.wire.ended();
    this.end = status === 1005 ? 'closed' : `closed with ${status}`;
  }

  async settle(): Promise<void> {
    const mark = `settled ${++this.#settled}`;
    this.wire.send(frame('ping', mark));
    await eventually(() => expect(this.wire.hasEnded || this.wire.frames.some(({ kind, payload }) => kind === 10 && payload.toString() === mark)).toBe(true));
  }

  leave(): void {
    this.wire.socket.destroy();
  }
}

// A poll that is open ends with its server.
class OverPolling implements Client {
  readonly got: string[] = [];
  end: string | undefined;
  #poll: Promise<Answer> | undefined;
  #answered = false;

  constructor(readonly port: number, readonly sid: string, readonly eio: 3 | 4) {}

  get path(): string {
    return `/socket.io/?EIO=${this.eio}&transport=polling&sid=${this.sid}`;
  }

  async say(said: Said): Promise<void> {
    await raw(this.port, this.path, { method: 'POST', body: payloadOf([said], this.eio), headers: { 'Content-Type': 'text/plain;charset=UTF-8' } });
  }

  async look(): Promise<void> {
    if (this.end !== undefined) return;
    if (this.#poll === undefined) {
      this.#answered = false;
      this.#poll = raw(this.port, this.path).finally(() => (this.#answered = true));
      this.#poll.catch(() => {});
    }
    // A turn for an answer that is there.
    await Promise.race([this.#poll, new Promise((turn) => setTimeout(turn, 10))]);
    if (!this.#answered) return;
    const answer = await this.#poll;
    this.#poll = undefined;
    const packets = answer.status === 200 ? packetsOf(answer.body, this.eio) : [];
    // What means nothing ends a poll, which one server does more often than another.
    this.got.push(...packets.filter((packet) => packet !== NOOP && packet !== CLOSE));
    if (packets.includes(CLOSE) || isUnknown(answer)) this.end = 'closed';
    else if (answer.status !== 200) this.end = `${answer.status} ${answer.body}`;
  }

  async settle(): Promise<void> {
    await this.say('6');
    await this.look();
  }

  leave(): void {}
}

export type TransportName = 'polling' | 'websocket';

/** A session without a socket. */
export async function opened(port: number, transport: TransportName, eio: 3 | 4 = 4): Promise<Client> {
  if (transport === 'polling') return new OverPolling(port, await handshake(port, '/socket.io/', eio), eio);
  const wire = await FrameWire.open(port, '', eio);
  // The open packet. In Engine.IO 3, another may be there.
  wire.frames.shift();
  return new OverWebSocket(wire, eio);
}

/** The client is in the default namespace, and awaits no attachment. */
function canAsk(said: Said[], { got, reason }: Outcome): boolean {
  const at = said.findLastIndex((each) => /^4[56]/.test(each.toString()));
  const missing = at < 0 ? 0 : parseInt(said[at]!.toString().slice(2)) - said.slice(at).filter(Buffer.isBuffer).length;
  return got.some((packet) => packet.startsWith('40')) && reason === undefined && missing === 0;
}

/** Says something to a server, waits until it has made of that what is expected, and sees that it makes no more of it. */
export async function outcome(target: Target, transport: TransportName, steps: Step[], expected: Outcome, eio: 3 | 4 = 4): Promise<Outcome> {
  const client = await opened(target.port, transport, eio);
  try {
    return await talk(client, target, steps, expected);
  } finally {
    client.leave();
  }
}

async function talk(client: Client, target: Target, steps: Step[], expected: Outcome): Promise<Outcome> {
  const now = (): Outcome => ({
    got: [...client.got],
    heard: [...target.heard],
    ...(client.end !== undefined && { end: client.end }),
    ...(target.reasons.length > 0 && { reason: target.reasons.join() }),
  });
  const until = (holds: () => void) => eventually(async () => (await client.look(), holds()), PATIENCE).then(() => true, () => false);
  for (const step of steps) {
    if (typeof step !== 'function') await client.say(step);
    else if (!(await until(() => expect(step(now()) || client.end !== undefined).toBe(true)))) return now();
  }
  if (!(await until(() => expect(now()).toEqual(expected)))) return now();
  if (client.end !== undefined) return now();
  const said = steps.filter((step): step is Said => typeof step !== 'function');
  if (canAsk(said, now())) {
    // The application has heard all that was said before.
    await client.say('42999["echo","settled"]');
    await until(() => expect(now().got.includes('43999["settled"]') || client.end !== undefined).toBe(true));
  } else {
    await client.settle();
  }
  const { got, ...rest } = now();
  return { got: got.filter((packet) => packet !== '43999["settled"]'), ...rest };
}

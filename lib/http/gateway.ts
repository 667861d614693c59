// From Node.js's HTTP server to the native side: long-polling requests, and upgrades, whose connections are handed
// over by their file descriptor or bridged.

import { type IncomingMessage, type OutgoingHttpHeader, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import corsMiddleware, { type CorsOptions } from 'cors';
import type { ErrorReply, NativeService, RequestHead } from '../../binding.js';
import type { Operations } from '../native/operations.js';
import { Waiting } from '../native/waiting.js';
import { type ResolvedConfig, sessionCookie } from '../options/config.js';
import { clearTimeout, setImmediate, setTimeout } from '../timers.js';
import { bundleOf, serveBundle } from './client-bundle.js';
import { Origins } from './origins.js';
import type { Handler } from './server-hook.js';

const FORBIDDEN = 4;
const CLOSING = 'Server is shutting down';
/** Statuses that say that there are too many just now, and the seconds after which one may come again. */
const COME_AGAIN = new Set([429, 503]);
const RETRY_AFTER = '1';
/** A URL whose query has an `sid`: a request of a session. */
const OF_SESSION = /^[^?]*\?(?:.*&)?sid=[^&]/;
const NO_HEADERS: Headers = [];
/** What Node.js calls connections over TCP and over Unix sockets. */
const BARE = new Set(['TCP', 'Pipe']);

/** Names and values of headers in turn. */
type Headers = readonly (string | number | readonly string[])[];

/** A request of an HTTP server, which has a method and a URL. `IncomingMessage` is a client's response as well. */
type Request = IncomingMessage & { method: string; url: string };

/** What Node.js does not document of a TCP connection: where its descriptor is. */
interface Handle {
  constructor: { name: string };
  fd: number;
  readStop(): void;
}

export class Gateway implements Handler {
  /** Keeps the service alive for as long as an HTTP server uses the gateway. */
  owner: object | undefined;
  readonly #native: NativeService;
  readonly #operations: Operations;
  readonly #config: ResolvedConfig;
  readonly #origins: Origins;
  readonly #cors: ReturnType<typeof corsMiddleware>;
  /** What the CORS middleware sets on every response, as names and values; undefined when that depends on the request. */
  readonly #corsHeaders: Headers | undefined;
  /** Responses that wait for the native side, with the headers that they get besides. */
  readonly #responses = new Waiting<{ res: ServerResponse; headers: Headers }>();
  /** Polls that the native side is not told of yet: their numbers and URLs. */
  #polls: { ids: number[]; urls: string[] } = { ids: [], urls: [] };
  /** Streams of upgrades about which the application is asked. */
  readonly #undecided = new Set<Duplex>();
  /** Number → stream that is bridged. */
  readonly #bridges = new Map<number, Duplex>();
  /** Handshakes that were counted before `allowRequest` was asked. */
  readonly #counted = new WeakSet<Request>();
  #closed = false;
  /** Whether the last connection could not be taken over. */
  #isShort = false;

  constructor(native: NativeService, config: ResolvedConfig, operations: Operations) {
    this.#native = native;
    this.#operations = operations;
    this.#config = config;
    const { logger, connectTimeout } = config;
    this.#origins = new Origins(config.cors.origin, { logger, patience: connectTimeout });
    const cors = { ...config.cors, origin: this.#origins.forCors };
    this.#cors = corsMiddleware(cors);
    this.#corsHeaders = fixedHeaders(this.#cors, cors);
  }

  /** Whether upgrades are handled; otherwise they are requests like others. */
  get upgrades(): boolean {
    return this.#config.transports.includes('websocket');
  }

  get path(): string {
    return this.#config.path;
  }

  onRequest(message: IncomingMessage, res: ServerResponse): void {
    const req = message as Request;
    if (this.#closed) return unavailable(res);
    if (this.#asksForHealth(req)) return answerWith(res, this.#native.health(), NO_HEADERS);
    const bundle = this.#config.serveClient ? bundleOf(req.url, this.path) : undefined;
    if (this.#corsHeaders && !bundle && req.method !== 'OPTIONS') return this.#serve(req, res, this.#corsHeaders);
    this.#cors(req, res, (error?: unknown) => {
      if (error) return answer(res, 400, 'application/json', errorBody(3, 'Bad request'));
      if (bundle) return void serveBundle(bundle, req, res);
      this.#serve(req, res, NO_HEADERS);
    });
  }

  onUpgrade(message: IncomingMessage, socket: Duplex, head: Buffer): void {
    const req = message as Request;
    const ignore = () => {};
    socket.on('error', ignore);
    if (this.#closed) return abort(socket, CLOSING, 503);
    const received = [head];
    const decided = (refusal?: ErrorReply) => {
      // What is decided twice, or after the end, has an answer already.
      if (!this.#undecided.delete(socket)) return;
      if (refusal) abort(socket, messageOf(refusal), refusal.status);
      else this.#attach(req, socket, received);
    };
    this.#undecided.add(socket);
    this.#origins.admitUpgrade(req, (isAdmitted) => {
      if (!isAdmitted) return decided(forbidden('Forbidden'));
      this.#authorize(req, true, decided);
    });
  }

  /** The native side has answered a request. */
  reply(id: number, status: number, contentType: string, body: string | Buffer, sid: string | null): void {
    const waiting = this.#responses.take(id);
    if (waiting === undefined) return;
    const { res, headers } = waiting;
    const { cookie } = this.#config;
    const all = sid !== null && cookie ? [...headers, 'Set-Cookie', sessionCookie(cookie, sid)] : headers;
    answer(res, status, contentType, body, all);
  }

  /** The native side has bytes for a bridged stream. */
  write(id: number, bytes: Buffer): void {
    this.#bridges.get(id)?.write(bytes, () => this.#native.bridgeWritten(id, bytes.length));
  }

  /** The native side is done with a bridged stream. */
  end(id: number, atOnce: boolean): void {
    const socket = this.#bridges.get(id);
    if (atOnce) socket?.destroy();
    else socket?.end();
  }

  /** Answers what is still open. */
  close(): void {
    this.#closed = true;
    this.#handIn();
    for (const [id, { res, headers }] of this.#responses.takeAll()) {
      this.#native.cancel(id);
      unavailable(res, headers);
    }
    for (const socket of this.#undecided) abort(socket, CLOSING, 503);
    this.#undecided.clear();
    for (const socket of this.#bridges.values()) socket.destroy();
  }

  #serve(req: Request, res: ServerResponse, headers: Headers): void {
    if (!this.#config.allowRequest) return this.#read(req, res, headers);
    this.#authorize(req, false, (refusal) => (refusal ? answerWith(res, refusal, headers) : this.#read(req, res, headers)));
  }

  #asksForHealth({ method, url }: Request): boolean {
    return (method === 'GET' || method === 'HEAD') && url.split('?', 1)[0] === `${this.path}/health`;
  }

  /** Runs Engine.IO's checks and `allowRequest`; calls back once, with the reply of a refusal. */
  #authorize(req: Request, upgrade: boolean, done: (refusal?: ErrorReply) => void): void {
    const { allowRequest } = this.#config;
    // Without the application's check, the native side's own is made when it takes the request.
    if (!allowRequest) return done();
    const checked = this.#native.check(req.method, req.url, upgrade);
    if (typeof checked === 'object') return done(checked);
    if (!checked) return done();
    const refused = this.#native.knock(headOf(req));
    if (refused) return done(refused);
    this.#counted.add(req);
    let isDecided = false;
    const decide = (refusal?: ErrorReply) => {
      if (isDecided) return;
      isDecided = true;
      clearTimeout(timer);
      done(refusal);
    };
    const fail = (error: unknown) => {
      this.#config.logger.error('allowRequest has failed', error);
      decide(forbidden('Forbidden'));
    };
    const patience = this.#config.connectTimeout;
    const timer = setTimeout(() => fail(new Error(`it has not answered within ${patience} ms`)), patience);
    try {
      // It may be an asynchronous function, whatever its type says.
      const returned: unknown = allowRequest(req, (message, success) => decide(success ? undefined : forbidden(message || 'Forbidden')));
      Promise.resolve(returned).catch(fail);
    } catch (error) {
      fail(error);
    }
  }

  #read(req: Request, res: ServerResponse, headers: Headers): void {
    if (req.method !== 'POST') return this.#respond(req, res, headers);
    // As Engine.IO: nothing is kept of a body that belongs to no session, nor of a second one at a time.
    const refused = this.#native.beginPost(req.url);
    if (refused) return answerWith(res, refused, headers);
    const limit = this.#config.maxHttpBufferSize;
    const chunks: Buffer[] = [];
    let size = 0;
    const refuse = () => {
      for (const event of ['data', 'end', 'close']) req.removeAllListeners(event);
      req.resume();
      this.#native.refuseOversized(req.method, req.url);
      answer(res, 413, 'text/plain; charset=UTF-8', '', [...headers, 'Connection', 'close']);
    };
    if (Number(req.headers['content-length']) > limit) return refuse();
    if (req.headers.expect === '100-continue') res.writeContinue();
    req.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > limit) refuse();
      else chunks.push(chunk);
    });
    const abandoned = () => this.#native.abandon(req.method, req.url);
    req.on('close', abandoned);
    req.on('end', () => {
      req.off('close', abandoned);
      this.#respond(req, res, headers, Buffer.concat(chunks));
    });
  }

  #respond(req: Request, res: ServerResponse, headers: Headers, body?: Buffer): void {
    if (req.method === 'GET' && OF_SESSION.test(req.url)) return this.#poll(req.url, this.#expect(req, res, headers));
    const checked = this.#native.check(req.method, req.url, false);
    if (typeof checked === 'object') return answerWith(res, checked, headers);
    const head = checked ? this.#headOf(req) : undefined;
    const id = this.#expect(req, res, headers);
    this.#native.respond(id, req.method, req.url, head, req.headers['content-type'], body);
  }

  /** What the handshake object needs of a request. */
  #headOf(req: Request): RequestHead {
    return { ...headOf(req), counted: this.#counted.has(req) };
  }

  /** Gives a response that the native side will answer its number. */
  #expect(req: Request, res: ServerResponse, headers: Headers): number {
    const id = this.#responses.add({ res, headers });
    res.on('close', () => {
      if (this.#responses.take(id) === undefined) return;
      this.#handIn();
      this.#native.cancel(id);
      this.#native.abandon(req.method, req.url);
    });
    return id;
  }

  /** Polls that come in one turn of the event loop are handed in together: each time wakes a native thread. */
  #poll(url: string, id: number): void {
    if (this.#polls.ids.length === 0) setImmediate(() => this.#handIn());
    this.#polls.ids.push(id);
    this.#polls.urls.push(url);
  }

  #handIn(): void {
    const { ids, urls } = this.#polls;
    if (ids.length === 0) return;
    this.#polls = { ids: [], urls: [] };
    this.#native.poll(ids, urls.join('\n'));
  }

  #attach(req: Request, socket: Duplex, received: Buffer[]): void {
    if (socket.destroyed) return;
    const handle = handleOf(socket);
    try {
      const refusal = handle
        ? this.#handOver(req, socket as Socket, handle, received) // only a TCP connection has one
        : this.#bridge(req, socket, received);
      this.#isShort = false;
      if (refusal) abort(socket, messageOf(refusal), refusal.status);
    } catch (error) {
      // Of descriptors there may be more soon. It is told once until then.
      if (!this.#isShort) this.#config.logger.warn('connections cannot be taken over', error);
      this.#isShort = true;
      abort(socket, 'Service unavailable', 503);
    }
  }

  /** Gives the connection to the native side; Node.js closes its own descriptor and forgets it. */
  #handOver(req: Request, socket: Socket, handle: Handle, received: Buffer[]): ErrorReply | null {
    handle.readStop();
    const refusal = this.#native.takeOver(req.method, req.url, this.#headOf(req), handle.fd, drain(socket, received));
    if (!refusal) socket.destroy();
    return refusal;
  }

  /** Reads and writes the stream for the native side. */
  #bridge(req: Request, socket: Duplex, received: Buffer[]): ErrorReply | undefined {
    const bridged = this.#native.bridge(req.method, req.url, this.#headOf(req), drain(socket, received));
    if (typeof bridged === 'object') return bridged;
    this.#bridges.set(bridged, socket);
    const { setTimeout, setNoDelay }: Partial<Socket> = socket as Partial<Socket>; // it may be any stream
    setTimeout?.call(socket, 0);
    setNoDelay?.call(socket, true);
    socket.on('data', (chunk: Buffer) => {
      const operation = this.#operations.expect(() => socket.resume());
      if (this.#native.bridgeData(bridged, chunk, operation)) this.#operations.drop(operation);
      else socket.pause();
    });
    const gone = () => {
      this.#bridges.delete(bridged);
      this.#native.bridgeClosed(bridged);
    };
    socket.on('end', () => socket.end());
    socket.on('close', gone);
    socket.resume();
    return undefined;
  }
}

/** Where the descriptor of a connection is that nothing stands in front of; undefined for other streams, and on Windows. */
function handleOf(socket: Duplex): Handle | undefined {
  const { _handle: handle } = socket as { _handle?: Handle | null };
  if (process.platform === 'win32' || !handle || !BARE.has(handle.constructor.name)) return undefined;
  return handle.fd >= 0 ? handle : undefined;
}

/** What the handshake object needs of a request. */
function headOf({ headers, socket }: Request): RequestHead {
  const secure = 'encrypted' in socket && Boolean(socket.encrypted);
  return { headers: JSON.stringify(headers), address: socket.remoteAddress ?? '', secure, counted: false };
}

/** What was read from a stream before it is taken over, if anything. */
function drain(socket: Duplex, received: Buffer[]): Buffer | undefined {
  for (let chunk: Buffer | null = socket.read(); chunk !== null; chunk = socket.read()) received.push(chunk);
  return received.some((chunk) => chunk.length > 0) ? Buffer.concat(received) : undefined;
}

/** Answers; `headers` are names and values that come first. */
function answer(res: ServerResponse, status: number, contentType: string, body: string | Buffer, headers = NO_HEADERS): void {
  if (res.headersSent || res.destroyed) return;
  const own: (string | number)[] = ['Content-Type', contentType, 'Content-Length', Buffer.byteLength(body)];
  if (status === 200) own.push('Cache-Control', 'no-store');
  if (COME_AGAIN.has(status)) own.push('Retry-After', RETRY_AFTER);
  res.writeHead(status, [...headers, ...own] as OutgoingHttpHeader[]);
  res.end(body);
}

function answerWith(res: ServerResponse, { status, contentType, body }: ErrorReply, headers: Headers): void {
  answer(res, status, contentType, body, headers);
}

function unavailable(res: ServerResponse, headers = NO_HEADERS): void {
  answer(res, 503, 'text/plain; charset=UTF-8', CLOSING, [...headers, 'Connection', 'close']);
}

/** What CORS middleware sets for every request, or undefined when it looks at the request's origin. */
function fixedHeaders(middleware: ReturnType<typeof corsMiddleware>, { origin }: CorsOptions): Headers | undefined {
  if (origin && typeof origin !== 'string') return undefined;
  const headers = new Map<string, string>();
  const response = { getHeader: (name: string) => headers.get(name), setHeader: (name: string, value: string) => headers.set(name, value), end() {} };
  middleware({ method: 'GET', headers: {} }, response, () => {});
  return [...headers].flat();
}

function forbidden(message: string): ErrorReply {
  return { status: 403, contentType: 'application/json', body: errorBody(FORBIDDEN, message) };
}

function errorBody(code: number, message: string): string {
  return JSON.stringify({ code, message });
}

function messageOf({ contentType, body }: ErrorReply): string {
  return contentType === 'application/json' ? (JSON.parse(body) as { message: string }).message : body;
}

/** Refuses an upgrade as Engine.IO does: by 400, unless there are too many, or the method is a wrong one. */
function abort(socket: Duplex, message: string, status = 400): void {
  if (socket.writable) {
    const told = COME_AGAIN.has(status) || status === 405 ? status : 400;
    const retry = COME_AGAIN.has(told) ? `Retry-After: ${RETRY_AFTER}\r\n` : '';
    socket.write(
      `HTTP/1.1 ${told} ${STATUS_CODES[told]}\r\nConnection: close\r\nContent-type: text/html\r\n${retry}` +
        `Content-Length: ${Buffer.byteLength(message)}\r\n\r\n${message}`,
    );
  }
  socket.destroy();
}

// From Node.js's HTTP server to the native side: long-polling requests, and upgrades, whose connections are handed
// over by their file descriptor or bridged.

'use strict';

const corsMiddleware = require('cors');
const { bundleOf, serveBundle } = require('./client-bundle.js');
const { sessionCookie } = require('../options/config.js');
const { Origins } = require('./origins.js');
const { setImmediate } = require('../timers.js');
const { Waiting } = require('../native/waiting.js');

const FORBIDDEN = 4;
const CLOSING = 'Server is shutting down';
/** A URL whose query has an `sid`: a request of a session. */
const OF_SESSION = /^[^?]*\?(?:.*&)?sid=[^&]/;
const NO_HEADERS = [];

class Gateway {
  /** Keeps the service alive for as long as an HTTP server uses the gateway. */
  owner;
  #native;
  #operations;
  #config;
  #origins;
  #cors;
  /** What the CORS middleware sets on every response, as names and values; undefined when that depends on the request. */
  #corsHeaders;
  /** Responses that wait for the native side, with the headers that they get besides. */
  #responses = new Waiting();
  /** Polls that the native side is not told of yet: their numbers and URLs. */
  #polls = { ids: [], urls: [] };
  /** Streams of upgrades about which the application is asked. */
  #undecided = new Set();
  /** Number → stream that is bridged. */
  #bridges = new Map();
  #closed = false;

  constructor(native, config, operations) {
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
  get upgrades() {
    return this.#config.transports.includes('websocket');
  }

  get path() {
    return this.#config.path;
  }

  onRequest(req, res) {
    if (this.#closed) return unavailable(res);
    const bundle = this.#config.serveClient ? bundleOf(req.url, this.path) : undefined;
    if (this.#corsHeaders && !bundle && req.method !== 'OPTIONS') return this.#serve(req, res, this.#corsHeaders);
    this.#cors(req, res, (error) => {
      if (error) return answer(res, 400, 'application/json', errorBody(3, 'Bad request'));
      if (bundle) return void serveBundle(bundle, req, res);
      this.#serve(req, res, NO_HEADERS);
    });
  }

  onUpgrade(req, socket, head) {
    const ignore = () => {};
    socket.on('error', ignore);
    if (this.#closed) return abort(socket, CLOSING);
    const received = [head];
    const decided = (refusal) => {
      // What is decided twice, or after the end, has an answer already.
      if (!this.#undecided.delete(socket)) return;
      if (refusal) abort(socket, refusal);
      else this.#attach(req, socket, received);
    };
    this.#undecided.add(socket);
    this.#origins.admitUpgrade(req, (isAdmitted) => {
      if (!isAdmitted) return decided('Forbidden');
      this.#authorize(req, true, (reply) => decided(reply && messageOf(reply)));
    });
  }

  /** The native side has answered a request. */
  reply(id, status, contentType, body, sid) {
    const waiting = this.#responses.take(id);
    if (waiting === undefined) return;
    const { res, headers } = waiting;
    const withCookie = sid !== null && this.#config.cookie;
    answer(res, status, contentType, body, withCookie ? [...headers, 'Set-Cookie', sessionCookie(this.#config.cookie, sid)] : headers);
  }

  /** The native side has bytes for a bridged stream. */
  write(id, bytes) {
    this.#bridges.get(id)?.write(bytes, () => this.#native.bridgeWritten(id, bytes.length));
  }

  /** The native side is done with a bridged stream. */
  end(id, atOnce) {
    const socket = this.#bridges.get(id);
    if (atOnce) socket?.destroy();
    else socket?.end();
  }

  /** Answers what is still open. */
  close() {
    this.#closed = true;
    this.#handIn();
    for (const [id, { res, headers }] of this.#responses.takeAll()) {
      this.#native.cancel(id);
      unavailable(res, headers);
    }
    for (const socket of this.#undecided) abort(socket, CLOSING);
    this.#undecided.clear();
    for (const socket of this.#bridges.values()) socket.destroy();
  }

  #serve(req, res, headers) {
    if (!this.#config.allowRequest) return this.#read(req, res, headers);
    this.#authorize(req, false, (refusal) => (refusal ? answerWith(res, refusal, headers) : this.#read(req, res, headers)));
  }

  /** Runs Engine.IO's checks and `allowRequest`; calls back with the reply of a refusal. */
  #authorize(req, upgrade, done) {
    const { allowRequest } = this.#config;
    // Without the application's check, the native side's own is made when it takes the request.
    if (!allowRequest) return done();
    const checked = this.#native.check(req.method, req.url, upgrade);
    if (typeof checked === 'object') return done(checked);
    if (!checked) return done();
    const refuse = (message) => done({ status: 403, contentType: 'application/json', body: errorBody(FORBIDDEN, message) });
    try {
      allowRequest(req, (message, success) => (success ? done() : refuse(message || 'Forbidden')));
    } catch (error) {
      this.#config.logger.error('allowRequest threw', error);
      refuse('Forbidden');
    }
  }

  #read(req, res, headers) {
    if (req.method !== 'POST') return this.#respond(req, res, headers);
    // As Engine.IO: nothing is kept of a body that belongs to no session.
    const checked = this.#native.check(req.method, req.url, false);
    if (typeof checked === 'object') return answerWith(res, checked, headers);
    const limit = this.#config.maxHttpBufferSize;
    const chunks = [];
    let size = 0;
    const refuse = () => {
      for (const event of ['data', 'end', 'close']) req.removeAllListeners(event);
      req.resume();
      this.#native.refuseOversized(req.method, req.url);
      answer(res, 413, 'text/plain; charset=UTF-8', '', [...headers, 'Connection', 'close']);
    };
    if (Number(req.headers['content-length']) > limit) return refuse();
    if (req.headers.expect === '100-continue') res.writeContinue();
    req.on('data', (chunk) => {
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

  #respond(req, res, headers, body) {
    if (req.method === 'GET' && OF_SESSION.test(req.url)) return this.#poll(req.url, this.#expect(req, res, headers));
    const checked = this.#native.check(req.method, req.url, false);
    if (typeof checked === 'object') return answerWith(res, checked, headers);
    const head = checked ? headOf(req) : undefined;
    const id = this.#expect(req, res, headers);
    this.#native.respond(id, req.method, req.url, head, req.headers['content-type'], body);
  }

  /** Gives a response that the native side will answer its number. */
  #expect(req, res, headers) {
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
  #poll(url, id) {
    if (this.#polls.ids.length === 0) setImmediate(() => this.#handIn());
    this.#polls.ids.push(id);
    this.#polls.urls.push(url);
  }

  #handIn() {
    const { ids, urls } = this.#polls;
    if (ids.length === 0) return;
    this.#polls = { ids: [], urls: [] };
    this.#native.poll(ids, urls.join('\n'));
  }

  #attach(req, socket, received) {
    if (socket.destroyed) return;
    const handle = socket._handle;
    const handOver =
      process.platform !== 'win32' && !socket.encrypted && handle?.constructor.name === 'TCP' && handle.fd >= 0;
    try {
      const refusal = handOver ? this.#handOver(req, socket, handle, received) : this.#bridge(req, socket, received);
      if (refusal) abort(socket, messageOf(refusal));
    } catch (error) {
      this.#config.logger.warn('a connection could not be taken over', error);
      abort(socket, 'Bad request');
    }
  }

  /** Gives the connection to the native side; Node.js closes its own descriptor and forgets it. */
  #handOver(req, socket, handle, received) {
    handle.readStop();
    const { method, url, headers } = req;
    const address = socket.remoteAddress ?? '';
    const refusal = this.#native.takeOver(method, url, JSON.stringify(headers), address, handle.fd, drain(socket, received));
    if (!refusal) socket.destroy();
    return refusal;
  }

  /** Reads and writes the stream for the native side. */
  #bridge(req, socket, received) {
    const bridged = this.#native.bridge(req.method, req.url, headOf(req), drain(socket, received));
    if (typeof bridged === 'object') return bridged;
    this.#bridges.set(bridged, socket);
    socket.setTimeout?.(0);
    socket.setNoDelay?.(true);
    socket.on('data', (chunk) => {
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

/** What the handshake object needs of a request. */
function headOf({ headers, socket }) {
  return { headers: JSON.stringify(headers), address: socket.remoteAddress ?? '', secure: Boolean(socket.encrypted) };
}

/** What was read from a stream before it is taken over, if anything. */
function drain(socket, received) {
  for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) received.push(chunk);
  return received.some((chunk) => chunk.length > 0) ? Buffer.concat(received) : undefined;
}

/** Answers; `headers` are names and values that come first. */
function answer(res, status, contentType, body, headers = NO_HEADERS) {
  if (res.headersSent || res.destroyed) return;
  const own = ['Content-Type', contentType, 'Content-Length', Buffer.byteLength(body)];
  if (status === 200) own.push('Cache-Control', 'no-store');
  res.writeHead(status, [...headers, ...own]);
  res.end(body);
}

function answerWith(res, { status, contentType, body }, headers) {
  answer(res, status, contentType, body, headers);
}

function unavailable(res, headers = NO_HEADERS) {
  answer(res, 503, 'text/plain; charset=UTF-8', CLOSING, [...headers, 'Connection', 'close']);
}

/** What CORS middleware sets for every request, or undefined when it looks at the request's origin. */
function fixedHeaders(middleware, { origin }) {
  if (origin && typeof origin !== 'string') return undefined;
  const headers = new Map();
  const response = { getHeader: (name) => headers.get(name), setHeader: (name, value) => headers.set(name, value) };
  middleware({ method: 'GET', headers: {} }, response, () => {});
  return [...headers].flat();
}

function errorBody(code, message) {
  return JSON.stringify({ code, message });
}

function messageOf({ contentType, body }) {
  return contentType === 'application/json' ? JSON.parse(body).message : body;
}

/** Refuses an upgrade as Engine.IO does. */
function abort(socket, message) {
  if (socket.writable) {
    socket.write(
      'HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-type: text/html\r\n' +
        `Content-Length: ${Buffer.byteLength(message)}\r\n\r\n${message}`,
    );
  }
  socket.destroy();
}

module.exports = { Gateway };

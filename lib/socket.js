// The `AuthenticatedSocket` of a network client: its own events, acknowledgements and rooms.

'use strict';

const { EventEmitter } = require('node:events');
const {
  assertEventName,
  assertMilliseconds,
  invalidArgument,
  roomNames,
  WebSocketServiceError,
} = require('./errors.js');
const { encodeArgs, decodeArgs } = require('./payload.js');
const { handshakeOf } = require('./users.js');

/** Events of the socket itself, which no client sends. */
const LIFECYCLE = new Set(['disconnect', 'disconnecting', 'newListener', 'removeListener']);

/** What the service and its operators do with sockets, and applications do not: `ask`, `dispatch`, … */
let internals;

class NativeSocket {
  static {
    internals = {
      ask: (socket, ...args) => socket.#ask(...args),
      dispatch: (socket, ...args) => socket.#dispatch(...args),
      acknowledged: (socket, ...args) => socket.#acknowledged(...args),
      disconnected: (socket, ...args) => socket.#disconnected(...args),
    };
  }

  #native;
  #reads;
  #listeners = new EventEmitter().setMaxListeners(0);
  #anyListeners = [];
  #acks = new Map();
  #nextAck = 0;
  #handshakeText;
  #handshake;
  /** The rooms of a socket that is just leaving. */
  #lastRooms = [];

  constructor(native, reads, id, handshakeText) {
    this.#native = native;
    this.#reads = reads;
    this.#handshakeText = handshakeText;
    Object.defineProperty(this, 'id', { value: id, enumerable: true });
    this.userId = undefined;
    this.user = undefined;
    this.data = {};
  }

  get handshake() {
    this.#handshake ??= handshakeOf(this.#handshakeText);
    return this.#handshake;
  }

  get connected() {
    return this.#reads.isConnected(this.id);
  }

  get rooms() {
    const rooms = this.#reads.socketRooms(this.id);
    return new Set(rooms.length > 0 ? rooms : this.#lastRooms);
  }

  get volatile() {
    return { emit: (event, ...args) => this.#emit(event, args, { volatile: true }) };
  }

  emit(event, ...args) {
    return this.#emit(event, args, {});
  }

  emitWithAck(event, ...args) {
    return new Promise((resolve) => {
      this.emit(event, ...args, resolve);
    });
  }

  timeout(ms) {
    assertMilliseconds('ms', ms);
    const send = (event, ...args) => this.#emit(event, args, { timeout: ms });
    return {
      emit: send,
      emitWithAck: (event, ...args) =>
        new Promise((resolve, reject) => {
          send(event, ...args, (error, answer) => (error ? reject(error) : resolve(answer)));
        }),
    };
  }

  to(room) {
    const rooms = roomNames(room);
    return {
      emit: (event, ...args) => {
        assertEventName(event);
        const { text, attachments } = encodeArgs([event, ...args]);
        // As Socket.IO's adapter does: it leaves out an id, whether that socket is still there or not.
        this.#native.emitTo(rooms, [this.id], text, attachments, false, false);
        return true;
      },
    };
  }

  on(event, listener) {
    this.#listeners.on(event, listener);
    this.#hear(event, true);
    return this;
  }

  once(event, listener) {
    this.#listeners.once(event, listener);
    this.#hear(event, true);
    return this;
  }

  off(event, listener) {
    this.#listeners.off(event, listener);
    if (this.#listeners.listenerCount(event) === 0) this.#hear(event, false);
    return this;
  }

  onAny(listener) {
    if (typeof listener !== 'function') throw invalidArgument('listener', listener, 'a function');
    this.#anyListeners.push(listener);
    this.#native.hear(this.id, undefined, true);
    return this;
  }

  join(room) {
    for (const name of roomNames(room)) this.#native.socketJoin(this.id, name);
  }

  leave(room) {
    for (const name of roomNames(room)) this.#native.socketLeave(this.id, name);
  }

  disconnect(close = false) {
    this.#native.disconnect(this.id, 'server namespace disconnect', Boolean(close));
    return this;
  }

  #hear(event, wanted) {
    if (!LIFECYCLE.has(event)) this.#native.hear(this.id, String(event), wanted);
  }

  #emit(event, args, { timeout, volatile = false }) {
    assertEventName(event);
    const last = args.at(-1);
    const id = typeof last === 'function' ? this.#awaitAck(args.pop(), timeout) : undefined;
    const { text, attachments } = encodeArgs([event, ...args]);
    const sent = this.#native.emit(this.id, text, attachments, id, volatile);
    if (!sent && id !== undefined && this.connected) this.#acks.get(id)?.fail(new Error('too many acknowledgements are awaited'));
    return true;
  }

  /** Sends an encoded event that the client is to acknowledge. Returns how to wait no longer. Called by operators. */
  #ask({ text, attachments }, answered, volatile) {
    const id = this.#awaitAck(answered, undefined);
    this.#native.emit(this.id, text, attachments, id, volatile);
    return () => this.#acks.get(id)?.fail();
  }

  #awaitAck(listener, timeout) {
    const id = this.#nextAck++;
    let timer;
    const settle = (...args) => {
      clearTimeout(timer);
      this.#acks.delete(id);
      listener(...args);
    };
    const withError = timeout !== undefined;
    const fail = (error) => {
      this.#native.forgetAck(this.id, id);
      if (withError) settle(error);
      else this.#acks.delete(id);
    };
    this.#acks.set(id, { answer: (args) => (withError ? settle(null, ...args) : settle(...args)), fail, withError });
    if (withError) timer = setTimeout(() => fail(new WebSocketServiceError('ERR_TIMEOUT', 'operation has timed out')), timeout);
    return id;
  }

  /** Hands a client's event to the listeners. Called by the service. */
  #dispatch(text, attachments, ackId, report) {
    const args = decodeArgs(text, attachments);
    if (args === undefined) return false;
    if (ackId >= 0) args.push(this.#answer(ackId));
    for (const listener of [...this.#anyListeners]) attempt(report, () => listener(...args));
    const event = String(args[0]);
    for (const listener of this.#listeners.rawListeners(event)) {
      attempt(report, () => listener.apply(this, args.slice(1)));
    }
    return true;
  }

  /** Hands a client's acknowledgement to whoever waits for it. */
  #acknowledged(id, text, attachments, report) {
    const args = decodeArgs(text, attachments);
    const waiting = this.#acks.get(id);
    if (args !== undefined && waiting) attempt(report, () => waiting.answer(args));
  }

  /** The client is gone. Called once by the service. */
  #disconnected(reason, rooms, report) {
    this.#lastRooms = [this.id, ...rooms];
    for (const event of ['disconnecting', 'disconnect']) {
      for (const listener of this.#listeners.rawListeners(event)) {
        attempt(report, () => listener.call(this, reason));
      }
      this.#lastRooms = [];
    }
    // As with Socket.IO: those with a timeout fail when it is over, the others are never called.
    for (const [id, { withError }] of this.#acks) if (!withError) this.#acks.delete(id);
  }

  #answer(ackId) {
    let answered = false;
    return (...args) => {
      if (answered) return;
      answered = true;
      const { text, attachments } = encodeArgs(args);
      this.#native.acknowledge(this.id, ackId, text, attachments);
    };
  }
}

/** Runs a listener; an exception is reported and stops nothing. */
function attempt(report, run) {
  try {
    run();
  } catch (error) {
    report(error);
  }
}

module.exports = { NativeSocket, internals, attempt };

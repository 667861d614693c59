// The `AuthenticatedSocket` of a network client: its own events, acknowledgements and rooms.

'use strict';

const { EventEmitter } = require('node:events');
const {
  assertEventName,
  assertMilliseconds,
  invalidArgument,
  roomNames,
  WebSocketServiceError,
} = require('../errors.js');
const { canonicalName, decodeArgs } = require('./payload.js');
const { nextTick } = require('../timers.js');
const { handshakeOf } = require('../objects/users.js');

/** Events of the socket itself, which no client sends. */
const LIFECYCLE = new Set(['disconnect', 'disconnecting', 'newListener', 'removeListener']);

/** What the service and its operators do with sockets, and applications do not: `ask`, `dispatch`, … */
let internals;
/** Acknowledgements that are awaited from one client; beyond it the oldest ones expire. */
const MOST_AWAITED = 10_000;

class NativeSocket {
  static {
    internals = {
      ask: (socket, ...args) => socket.#ask(...args),
      dispatch: (socket, ...args) => socket.#dispatch(...args),
      acknowledged: (socket, ...args) => socket.#acknowledged(...args),
      ackRefused: (socket, ...args) => socket.#ackRefused(...args),
      disconnected: (socket, ...args) => socket.#disconnected(...args),
    };
  }

  #native;
  #reads;
  #encoding;
  #expired;
  #listeners = new EventEmitter().setMaxListeners(0);
  #anyListeners = [];
  #acks = new Map();
  #nextAck = 0;
  /** None before this one is awaited. */
  #oldestAck = 0;
  #handshakeText;
  #handshake;
  /** The rooms of a socket that is just leaving. */
  #lastRooms = [];

  /** `encoding`: how events are encoded; `expired` is called when an acknowledgement is awaited no longer. */
  constructor(native, reads, id, handshakeText, { encoding, expired }) {
    this.#native = native;
    this.#reads = reads;
    this.#encoding = encoding;
    this.#expired = expired;
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
    return new Promise((resolve, reject) => {
      this.#emit(event, [...args, resolve], { failed: reject });
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
        const { text, attachments } = this.#encoding.args([event, ...args]);
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
    if (!LIFECYCLE.has(event)) this.#native.hear(this.id, canonicalName(event), wanted);
  }

  #emit(event, args, { timeout, failed, volatile = false }) {
    assertEventName(event);
    const answered = typeof args.at(-1) === 'function' ? args.pop() : undefined;
    const { text, attachments } = this.#encoding.args([event, ...args]);
    // Awaited only now that nothing can be wrong with the event any more.
    const id = answered && this.#awaitAck(answered, timeout, failed);
    this.#native.emit(this.id, text, attachments, id, volatile);
    return true;
  }

  /** Sends an encoded event that the client is to acknowledge. Returns how to wait no longer. Called by operators. */
  #ask({ text, attachments }, answered, volatile) {
    const id = this.#awaitAck(answered);
    this.#native.emit(this.id, text, attachments, id, volatile);
    return () => this.#acks.get(id)?.fail();
  }

  /**
   * Calls `answered` with the client's answer; with a timeout, with an error before it. When there will be no answer,
   * `answered` gets the error if there is a timeout, or else `failed` does.
   */
  #awaitAck(answered, timeout, failed = () => {}) {
    this.#expireAcks();
    const id = this.#nextAck++;
    const withError = timeout !== undefined;
    let timer;
    const settle = () => {
      clearTimeout(timer);
      this.#acks.delete(id);
    };
    const answer = (args) => {
      settle();
      if (withError) answered(null, ...args);
      else answered(...args);
    };
    const fail = (error) => {
      settle();
      this.#native.forgetAck(this.id, id);
      nextTick(withError ? answered : failed, error);
    };
    this.#acks.set(id, { answer, fail, withError });
    if (withError) timer = setTimeout(() => fail(new WebSocketServiceError('ERR_TIMEOUT', 'operation has timed out')), timeout);
    return id;
  }

  /** Makes room for one more acknowledgement that is awaited. */
  #expireAcks() {
    while (this.#acks.size >= MOST_AWAITED) {
      const oldest = this.#acks.get(this.#oldestAck++);
      if (oldest === undefined) continue;
      oldest.fail(new WebSocketServiceError('ERR_TIMEOUT', `the acknowledgement has expired, ${MOST_AWAITED} others are awaited`));
      this.#expired();
    }
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

  /** A client's acknowledgement was refused. */
  #ackRefused(id, reason) {
    this.#acks.get(id)?.fail(new WebSocketServiceError('ERR_INVALID_ARGUMENT', `the acknowledgement is ${reason}`));
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
      const { text, attachments } = this.#encoding.args(args);
      // A `toJSON` of the arguments may have answered meanwhile.
      if (answered) return;
      answered = true;
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

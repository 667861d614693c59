// The `AuthenticatedSocket` of a network client: its own events, acknowledgements and rooms.

import { EventEmitter } from 'node:events';
import {
  assertEventName,
  assertExpiry,
  assertMilliseconds,
  invalidArgument,
  roomNames,
  WebSocketServiceError,
} from '../errors.js';
import type { AuthenticatedSocket, DisconnectReason, Handshake, SocketEmitter, SocketUser, TimedEmitter, WebSocketServiceErrorCode } from '../../index.js';
import type { NativeService } from '../../binding.js';
import { attempt, type Report } from '../attempt.js';
import { type Callback, takeCallback } from '../callback.js';
import type { Reads } from '../native/reads.js';
import { handshakeOf } from '../objects/users.js';
import { nextTick } from '../timers.js';
import type { Listener } from './listeners.js';
import { canonicalName, decodeArgs, type Encoded, type Encoding } from './payload.js';

/** Events of the socket itself, which no client sends. */
const LIFECYCLE = new Set(['disconnect', 'disconnecting', 'newListener', 'removeListener']);

/** What the service and its operators do with sockets, and applications do not. */
export let internals: {
  /** Sends an encoded event that the client is to acknowledge. Returns how to wait no longer. */
  ask(socket: NativeSocket, packet: Encoded, answered: Callback, volatile: boolean): () => void;
  /** Hands a client's event to the listeners. False when it is broken. */
  dispatch(socket: NativeSocket, text: string, attachments: Buffer[], ackId: number, report: Report): boolean;
  /** Hands a client's acknowledgement to whoever waits for it. */
  acknowledged(socket: NativeSocket, id: number, text: string, attachments: Buffer[], report: Report): void;
  /** A client's acknowledgement was refused. */
  ackRefused(socket: NativeSocket, id: number, code: WebSocketServiceErrorCode, reason: string): void;
  /** The client has lost its connection, and may come back. */
  away(socket: NativeSocket, reason: string, report: Report): void;
  /** It has come back. */
  recovered(socket: NativeSocket, handshakeText: string): void;
  /** The client is gone. Called once. */
  disconnected(socket: NativeSocket, reason: string, rooms: string[], report: Report): void;
};

/** An acknowledgement that is awaited. */
interface Awaited {
  answer(args: unknown[]): void;
  fail(error?: unknown): void;
  withError: boolean;
}

/** How an event is sent. */
interface Sending {
  timeout?: number;
  /** Called when there will be no answer, where there is no timeout. */
  failed?: (error?: unknown) => void;
  volatile?: boolean;
}

/**
 * How the socket's events are encoded; how many acknowledgements are awaited of it, beyond which the oldest ones expire, and
 * what is called when one does.
 */
interface Tools {
  encoding: Encoding;
  mostAcks: number;
  expired: () => void;
}

export class NativeSocket implements AuthenticatedSocket {
  static {
    internals = {
      ask: (socket, ...args) => socket.#ask(...args),
      dispatch: (socket, ...args) => socket.#dispatch(...args),
      acknowledged: (socket, ...args) => socket.#acknowledged(...args),
      ackRefused: (socket, ...args) => socket.#ackRefused(...args),
      away: (socket, ...args) => socket.#away(...args),
      recovered: (socket, ...args) => socket.#recover(...args),
      disconnected: (socket, ...args) => socket.#disconnected(...args),
    };
  }

  declare readonly id: string;
  declare userId?: string;
  /** As the application gives it; the service completes it. */
  declare user: SocketUser | undefined;
  // what the application keeps is its own
  declare data: unknown;
  readonly #native: NativeService;
  readonly #reads: Reads;
  readonly #encoding: Encoding;
  readonly #expired: () => void;
  readonly #mostAcks: number;
  #expiresAt: number | undefined;
  readonly #listeners = new EventEmitter().setMaxListeners(0);
  readonly #anyListeners: Listener[] = [];
  readonly #acks = new Map<number, Awaited>();
  #nextAck = 0;
  /** None before this one is awaited. */
  #oldestAck = 0;
  #handshakeText: string;
  #handshake: Handshake | undefined;
  /** The rooms of a socket that is just leaving. */
  #lastRooms: string[] = [];
  /** Its listeners have been told that the client has lost its connection. */
  #isAway = false;
  /** Seen to be so; it stays so when the socket has gone. */
  #recovered = false;

  constructor(native: NativeService, reads: Reads, id: string, handshakeText: string, { encoding, mostAcks, expired }: Tools) {
    this.#native = native;
    this.#reads = reads;
    this.#encoding = encoding;
    this.#expired = expired;
    this.#mostAcks = mostAcks;
    this.#handshakeText = handshakeText;
    Object.defineProperty(this, 'id', { value: id, enumerable: true });
    Object.assign(this, { userId: undefined, user: undefined });
    this.data = {};
  }

  get handshake(): Handshake {
    this.#handshake ??= handshakeOf(this.#handshakeText);
    return this.#handshake;
  }

  get expiresAt(): number | undefined {
    return this.#expiresAt;
  }

  set expiresAt(at: number | undefined) {
    assertExpiry(at);
    this.#expiresAt = at;
    this.#native.expireAt(this.id, at);
  }

  get connected(): boolean {
    return this.#reads.isConnected(this.id) && !this.#reads.isAway(this.id);
  }

  get recovered(): boolean {
    this.#recovered ||= this.#reads.hasReturned(this.id);
    return this.#recovered;
  }

  get rooms(): Set<string> {
    const rooms = this.#reads.socketRooms(this.id);
    return new Set(rooms.length > 0 ? rooms : this.#lastRooms);
  }

  get volatile(): SocketEmitter {
    return { emit: (event, ...args) => this.#emit(event, args, { volatile: true }) };
  }

  emit(event: string, ...args: unknown[]): boolean {
    return this.#emit(event, args, {});
  }

  emitWithAck(event: string, ...args: unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#emit(event, [...args, resolve], { failed: reject });
    });
  }

  timeout(ms: number): TimedEmitter {
    assertMilliseconds('ms', ms);
    const send = (event: string, ...args: unknown[]) => this.#emit(event, args, { timeout: ms });
    return {
      emit: send,
      emitWithAck: (event, ...args) =>
        new Promise((resolve, reject) => {
          send(event, ...args, (error: unknown, answer: unknown) => (error ? reject(error) : resolve(answer)));
        }),
    };
  }

  to(room: string | string[]): SocketEmitter {
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

  on(event: string, listener: Listener): this {
    this.#listeners.on(event, listener);
    this.#hear(event, true);
    return this;
  }

  once(event: string, listener: Listener): this {
    this.#listeners.once(event, listener);
    this.#hear(event, true);
    return this;
  }

  off(event: string, listener: Listener): this {
    this.#listeners.off(event, listener);
    if (this.#listeners.listenerCount(event) === 0) this.#hear(event, false);
    return this;
  }

  onAny(listener: Listener): this {
    if (typeof listener !== 'function') throw invalidArgument('listener', listener, 'a function');
    this.#anyListeners.push(listener);
    this.#native.hear(this.id, undefined, true);
    return this;
  }

  join(room: string | string[]): void {
    for (const name of roomNames(room)) this.#native.socketJoin(this.id, name);
  }

  leave(room: string | string[]): void {
    for (const name of roomNames(room)) this.#native.socketLeave(this.id, name);
  }

  disconnect(close = false): this {
    this.#native.disconnect(this.id, 'server namespace disconnect', Boolean(close));
    return this;
  }

  #hear(event: string, wanted: boolean): void {
    if (!LIFECYCLE.has(event)) this.#native.hear(this.id, canonicalName(event), wanted);
  }

  #emit(event: string, args: unknown[], { timeout, failed, volatile = false }: Sending): boolean {
    assertEventName(event);
    const answered = takeCallback(args);
    const { text, attachments } = this.#encoding.args([event, ...args]);
    // Awaited only now that nothing can be wrong with the event any more.
    const id = answered && this.#awaitAck(answered, timeout, failed);
    this.#native.emit(this.id, text, attachments, id, volatile);
    return true;
  }

  #ask({ text, attachments }: Encoded, answered: Callback, volatile: boolean): () => void {
    const id = this.#awaitAck(answered);
    this.#native.emit(this.id, text, attachments, id, volatile);
    return () => this.#acks.get(id)?.fail();
  }

  /**
   * Calls `answered` with the client's answer; with a timeout, with an error before it. When there will be no answer,
   * `answered` gets the error if there is a timeout, or else `failed` does.
   */
  #awaitAck(answered: Callback, timeout?: number, failed: (error?: unknown) => void = () => {}): number {
    this.#expireAcks();
    const id = this.#nextAck++;
    const withError = timeout !== undefined;
    let timer: NodeJS.Timeout | undefined;
    const settle = () => {
      clearTimeout(timer);
      this.#acks.delete(id);
    };
    const answer = (args: unknown[]) => {
      settle();
      if (withError) answered(null, ...args);
      else answered(...args);
    };
    const fail = (error?: unknown) => {
      settle();
      this.#native.forgetAck(this.id, id);
      nextTick(withError ? answered : failed, error);
    };
    this.#acks.set(id, { answer, fail, withError });
    if (withError) timer = setTimeout(() => fail(new WebSocketServiceError('ERR_TIMEOUT', 'operation has timed out')), timeout);
    return id;
  }

  /** Makes room for one more acknowledgement that is awaited. */
  #expireAcks(): void {
    while (this.#acks.size >= this.#mostAcks) {
      const oldest = this.#acks.get(this.#oldestAck++);
      if (oldest === undefined) continue;
      oldest.fail(new WebSocketServiceError('ERR_TIMEOUT', `the acknowledgement has expired, ${this.#mostAcks} others are awaited`));
      this.#expired();
    }
  }

  #dispatch(text: string, attachments: Buffer[], ackId: number, report: Report): boolean {
    const args = decodeArgs(text, attachments);
    if (args === undefined) return false;
    if (ackId >= 0) args.push(this.#answer(ackId));
    for (const listener of [...this.#anyListeners]) attempt(report, () => listener(...args));
    const event = String(args[0]);
    for (const listener of this.#listeners.rawListeners(event)) {
      attempt(report, () => void listener.apply(this, args.slice(1)));
    }
    return true;
  }

  #acknowledged(id: number, text: string, attachments: Buffer[], report: Report): void {
    const args = decodeArgs(text, attachments);
    const waiting = this.#acks.get(id);
    if (args !== undefined && waiting) attempt(report, () => waiting.answer(args));
  }

  #ackRefused(id: number, code: WebSocketServiceErrorCode, reason: string): void {
    this.#acks.get(id)?.fail(new WebSocketServiceError(code, `the acknowledgement is ${reason}`));
  }

  #away(reason: DisconnectReason, report: Report): void {
    this.#isAway = true;
    for (const event of ['disconnecting', 'disconnect']) this.#tell(event, reason, report);
  }

  #recover(handshakeText: string): void {
    this.#isAway = false;
    this.#handshakeText = handshakeText;
    this.#handshake = undefined;
  }

  #tell(event: string, reason: DisconnectReason, report: Report): void {
    for (const listener of this.#listeners.rawListeners(event)) attempt(report, () => void listener.call(this, reason));
  }

  #disconnected(reason: DisconnectReason, rooms: string[], report: Report): void {
    if (!this.#isAway) {
      this.#lastRooms = [this.id, ...rooms];
      this.#tell('disconnecting', reason, report);
      this.#lastRooms = [];
      this.#tell('disconnect', reason, report);
    }
    // As with Socket.IO: those with a timeout fail when it is over, the others are never called.
    for (const [id, { withError }] of this.#acks) if (!withError) this.#acks.delete(id);
  }

  #answer(ackId: number): Callback {
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

// The socket objects that JavaScript holds: those of clients, made on first touch, and those given by hand.

import type { AuthenticatedSocket, Logger, SocketLike, WebSocketServiceErrorCode } from '../../index.js';
import type { NativeService } from '../../binding.js';
import type { Report } from '../attempt.js';
import type { Operations } from '../native/operations.js';
import type { Reads } from '../native/reads.js';
import type { Encoding } from '../socketio/payload.js';
import { internals, NativeSocket } from '../socketio/socket.js';
import * as localSocket from './local-socket.js';
import type { Users } from './users.js';

/** What sockets work with. */
export interface SocketTools {
  native: NativeService;
  reads: Reads;
  encoding: Encoding;
  /** Acknowledgements that are awaited of one client. */
  mostAcks: number;
  /** Clients may come from other instances, with what these keep of them. */
  inherits: boolean;
  users: Users;
  operations: Operations;
  logger: Logger;
  report: Report;
}

export class Sockets {
  readonly #tools: SocketTools;
  /** Socket id → socket, for those that JavaScript has asked for. */
  readonly #known = new Map<string, NativeSocket | SocketLike>();
  /** Those of them that were given by hand. */
  readonly #local = new Map<string, SocketLike>();
  /** Acknowledgements that expired because too many were awaited. */
  #expiredAcks = 0;
  /** Sockets of which some did; each is told of once. */
  readonly #overAsked = new WeakSet<NativeSocket>();

  constructor(tools: SocketTools) {
    this.#tools = tools;
  }

  get expiredAcks(): number {
    return this.#expiredAcks;
  }

  /** Sockets that were given by hand, by their ids. */
  get local(): ReadonlyMap<string, SocketLike> {
    return this.#local;
  }

  /** The object of a socket that is connected here, or just being admitted. */
  get(socketId: string): AuthenticatedSocket | undefined {
    const known = this.#known.get(socketId);
    // What was given by hand was checked, as far as the service relies on it.
    if (known !== undefined) return known as AuthenticatedSocket;
    const { users } = this.#tools;
    const record = users.record(socketId);
    if (record === undefined) return undefined;
    const socket = this.add(socketId, record.handshake);
    socket.user = users.of(socketId);
    if (record.userId !== socketId) socket.userId = record.userId;
    return socket;
  }

  /** What the application keeps in `socket.data`. Without an object of the socket, what another instance gave along with it. */
  data(socketId: string): unknown {
    const known = this.#known.get(socketId);
    const { native, inherits } = this.#tools;
    if (known !== undefined || !inherits) return known?.data;
    const { data } = native.inherited(socketId);
    return data === undefined ? undefined : JSON.parse(data);
  }

  /** Makes the object of a client's socket. */
  add(socketId: string, handshake: string): NativeSocket {
    const { native, reads, encoding, mostAcks, inherits } = this.#tools;
    const socket: NativeSocket = new NativeSocket(native, reads, socketId, handshake, {
      encoding,
      mostAcks,
      expired: () => this.#ackExpired(socket),
    });
    this.#known.set(socketId, socket);
    if (inherits) {
      const { data, expiresAt } = native.inherited(socketId);
      if (data !== undefined) socket.data = JSON.parse(data);
      if (expiresAt !== undefined) socket.expiresAt = expiresAt;
    }
    return socket;
  }

  #ackExpired(socket: NativeSocket): void {
    this.#expiredAcks += 1;
    if (this.#overAsked.has(socket)) return;
    this.#overAsked.add(socket);
    this.#tools.logger.warn(`Socket ${socket.id} leaves too many events unacknowledged: the oldest are awaited no longer`);
  }

  /** Takes in a socket that was given by hand, and passes its client events, `events`, on to the native side. */
  adopt(socket: SocketLike, events: string[]): void {
    const { native, encoding, operations } = this.#tools;
    this.#local.set(socket.id, socket);
    this.#known.set(socket.id, socket);
    native.hear(socket.id, undefined, false);
    localSocket.listen(socket, events, native, encoding, (answer) => operations.expect(answer));
  }

  forget(socketId: string): void {
    this.#known.delete(socketId);
    this.#local.delete(socketId);
  }

  /** Another instance has deleted a room. */
  roomForgotten(roomId: string): void {
    for (const socket of this.#local.values()) if (socket.rooms?.has?.(roomId)) socket.leave?.(roomId);
  }

  // --- what the native side tells of them ---------------------------------------------------------------------------

  away(socketId: string, reason: string): void {
    const socket = this.#ofClient(socketId);
    if (socket) internals.away(socket, reason, this.#tools.report);
  }

  recovered(socketId: string, handshake: string): void {
    const socket = this.#ofClient(socketId);
    if (socket) internals.recovered(socket, handshake);
  }

  disconnected(socketId: string, reason: string, rooms: string[]): void {
    const socket = this.#ofClient(socketId);
    if (socket) internals.disconnected(socket, reason, rooms, this.#tools.report);
  }

  clientEvent(socketId: string, text: string, ackId: number, attachments: Buffer[]): void {
    const socket = this.#ofClient(socketId);
    if (socket && !internals.dispatch(socket, text, attachments, ackId, this.#tools.report)) {
      this.#tools.native.close(socketId, 'parse error');
    }
  }

  acknowledged(socketId: string, id: number, text: string, attachments: Buffer[]): void {
    const socket = this.#ofClient(socketId);
    if (socket) internals.acknowledged(socket, id, text, attachments, this.#tools.report);
  }

  ackRefused(socketId: string, id: number, code: WebSocketServiceErrorCode, reason: string): void {
    const socket = this.#ofClient(socketId);
    if (socket) internals.ackRefused(socket, id, code, reason);
  }

  /** A packet for a socket that was given by hand. */
  deliver(socketId: string, args: unknown[]): void {
    localSocket.deliver(this.#local.get(socketId), args);
  }

  #ofClient(socketId: string): NativeSocket | undefined {
    const socket = this.#known.get(socketId);
    return socket instanceof NativeSocket ? socket : undefined;
  }
}

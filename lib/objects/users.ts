// The user objects that JavaScript holds: made on first touch, the same object for as long as the user is connected.

import { parse, type ParsedUrlQuery } from 'node:querystring';
import type { Handshake, SocketUser, SocketUserDetails } from '../../index.js';
import type { Field, NativeService } from '../../binding.js';
import { jsonOf } from '../json.js';
import { Fields, profileOf } from '../native/fields.js';
import type { Reads } from '../native/reads.js';
import { SIGNS } from '../native/signs.js';
import type { UserRecord } from './record.js';

export class Users {
  readonly #native: NativeService;
  readonly #reads: Reads;
  /** Socket id → user object. */
  readonly #users = new Map<string, SocketUser>();
  /** Socket id → what a user is made of, for connections that JavaScript has been told of. */
  readonly #records = new Map<string, UserRecord>();
  /** Socket id → user object of a connected socket whose end will be told. */
  readonly #present = new Map<string, SocketUser>();
  /** User id → socket id of such a socket. */
  readonly #online = new Map<string, string>();
  /** What the native side shows without being asked. */
  readonly #signs: Buffer;

  /** Whether clients may lose their connection and come back. */
  readonly #recovers: boolean;

  constructor(native: NativeService, reads: Reads, signs: Buffer, recovers: boolean) {
    this.#recovers = recovers;
    this.#native = native;
    this.#reads = reads;
    this.#signs = signs;
  }

  /** Learns what a user is made of; `profile` may give more fields. */
  remember(record: UserRecord): void {
    if (!this.#records.has(record.socketId)) this.#records.set(record.socketId, record);
  }

  /** What is known of a connection, if anything. */
  record(socketId: string): UserRecord | undefined {
    return this.#records.get(socketId) ?? this.#keep(this.#native.user(socketId));
  }

  /** The user of a registered socket. The native side is asked only until it has been found there. */
  get(socketId: string): SocketUser | undefined {
    const user = this.#present.get(socketId);
    if (user !== undefined && Atomics.load(this.#signs, SIGNS.departure) === 0) return user;
    return this.#look(socketId);
  }

  #look(socketId: string): SocketUser | undefined {
    const isRegistered = this.#records.has(socketId) ? this.#reads.watch(socketId) : this.#keep(this.#reads.user(socketId));
    const user = isRegistered ? this.of(socketId) : undefined;
    if (user === undefined) return undefined;
    this.#present.set(socketId, user);
    return user;
  }

  /** Whether a user has a registered socket. The native side is asked only until one is found that JavaScript knows. */
  isOnline(userId: string): boolean {
    if (this.#online.has(userId) && Atomics.load(this.#signs, SIGNS.departure) === 0) return true;
    const socketId = this.#reads.onlineSocket(userId);
    if (socketId === null) return false;
    if (this.#records.get(socketId)?.userId === userId) this.#online.set(userId, socketId);
    return true;
  }

  /** The user of a socket that was registered when an event was made, even if it has gone since. */
  of(socketId: string): SocketUser | undefined {
    let user = this.#users.get(socketId);
    if (user === undefined) {
      const record = this.record(socketId);
      if (record === undefined) return undefined;
      user = this.#make(record);
      this.#users.set(socketId, user);
    }
    return user;
  }

  /** The user that would be made of a record. */
  draft(record: UserRecord): SocketUser {
    return this.#make(record);
  }

  /** The same, where the native side has told of it before. */
  told(socketId: string): SocketUser {
    const user = this.of(socketId);
    if (user === undefined) throw new Error('the native side tells of a user that it has not described');
    return user;
  }

  /** The end of a connection was taken from the native side, and will be told. */
  left(socketId: string): void {
    this.#present.delete(socketId);
    const userId = this.#records.get(socketId)?.userId;
    if (userId !== undefined && this.#online.get(userId) === socketId) this.#online.delete(userId);
  }

  forget(socketId: string): void {
    this.#users.delete(socketId);
    this.#records.delete(socketId);
  }

  /** Keeps what the native side knows of a connection; undefined when that is nothing. */
  #keep(told: Field[]): UserRecord | undefined {
    const fields = new Fields(told);
    if (fields.done) return undefined;
    const [socketId, userId, username] = [fields.text(), fields.text(), fields.optionalText() ?? undefined];
    const [handshake, connectedAt, profile] = [fields.text(), fields.number(), profileOf(fields.optionalText())];
    const record = { socketId, userId, handshake, connectedAt, username, profile };
    this.#records.set(socketId, record);
    return record;
  }

  #make({ socketId, userId, username, handshake, connectedAt, profile }: UserRecord): SocketUser {
    const email = profile?.email ?? queryOf(handshake).email;
    const user = {
      ...(profile ?? {}),
      id: userId,
      socketId,
      ...(username !== undefined && { username }),
      ...(typeof email === 'string' && { email }),
      connectedAt: new Date(connectedAt),
    };
    return this.#withActivity(this.#recovers ? this.#withPresence(user) : user);
  }

  /** `isAway` is read from the connection each time. */
  #withPresence<T extends { socketId: string }>(user: T): T {
    const reads = this.#reads;
    const get = () => reads.isAway(user.socketId);
    return Object.defineProperty(user, 'isAway', { enumerable: true, configurable: true, get });
  }

  /** `lastActivity` is read from the connection each time, until a caller sets it. */
  #withActivity(user: Omit<SocketUser, 'lastActivity'>): SocketUser {
    const reads = this.#reads;
    let last = user.connectedAt;
    Object.defineProperty(user, 'lastActivity', {
      enumerable: true,
      configurable: true,
      get() {
        const time = reads.lastActivity(user.socketId);
        if (time >= 0 && time !== last.getTime()) last = new Date(time);
        return last;
      },
      set(value: Date) {
        Object.defineProperty(user, 'lastActivity', { value, writable: true, enumerable: true, configurable: true });
      },
    });
    return user as SocketUser; // now it has a `lastActivity`
  }
}

/** The query of a handshake as Socket.IO gives it. */
export function queryOf(handshakeText: string): ParsedUrlQuery {
  const { url = '' } = JSON.parse(handshakeText) as { url?: string };
  const at = url.indexOf('?');
  return at < 0 ? {} : { ...parse(url.slice(at + 1)) };
}

/** The handshake object of a socket, as Socket.IO makes it. */
export function handshakeOf(handshakeText: string): Handshake {
  // The native side has written it (`src/hub/handshake.rs`).
  const { auth, headers, url, address, secure, issued } = JSON.parse(handshakeText) as Omit<Handshake, 'query' | 'time' | 'xdomain'>;
  return {
    headers,
    time: `${new Date(issued)}`,
    address,
    xdomain: Boolean(headers.origin),
    secure,
    issued,
    url,
    query: queryOf(handshakeText),
    auth,
  };
}

/** What an instance says of its users by other means. */
const TOLD_ANYWAY = new Set(['id', 'socketId', 'connectedAt', 'lastActivity']);

/**
 * What other instances are told of a user, as JSON: all of `socket.user` that JSON can hold, and the email of the
 * handshake's query. Nothing else of the handshake, which may hold tokens. Undefined when there is nothing to tell.
 */
export function profileText(user: SocketUserDetails | undefined, query: { email?: unknown } | undefined): string | undefined {
  const profile: SocketUserDetails = { ...user };
  if (profile.email === undefined && typeof query?.email === 'string') profile.email = query.email;
  const members = Object.entries(profile)
    .filter(([name]) => !TOLD_ANYWAY.has(name))
    .map(([name, value]) => [JSON.stringify(name), jsonOf(value)])
    .filter(([, json]) => json !== undefined);
  return members.length === 0 ? undefined : `{${members.map((member) => member.join(':')).join(',')}}`;
}

// The user objects that JavaScript holds: made on first touch, the same object for as long as the user is connected.

'use strict';

const { parse } = require('node:querystring');
const { SIGNS } = require('../native/events.js');
const { profileOf } = require('../native/fields.js');

class Users {
  #native;
  #reads;
  /** Socket id → user object. */
  #users = new Map();
  /** Socket id → what a user is made of, for connections that JavaScript has been told of. */
  #records = new Map();
  /** Socket id → user object of a connected socket whose end will be told. */
  #present = new Map();
  /** User id → socket id of such a socket. */
  #online = new Map();
  /** What the native side shows without being asked. */
  #signs;

  constructor(native, reads, signs) {
    this.#native = native;
    this.#reads = reads;
    this.#signs = signs;
  }

  /** Learns what a user is made of; `profile` may give more fields. */
  remember(record) {
    if (!this.#records.has(record.socketId)) this.#records.set(record.socketId, record);
  }

  /** What is known of a connection, if anything. */
  record(socketId) {
    return this.#records.get(socketId) ?? this.#keep(this.#native.user(socketId));
  }

  /** The user of a registered socket. The native side is asked only until it has been found there. */
  get(socketId) {
    const user = this.#present.get(socketId);
    if (user !== undefined && Atomics.load(this.#signs, SIGNS.departure) === 0) return user;
    return this.#look(socketId);
  }

  #look(socketId) {
    const isRegistered = this.#records.has(socketId) ? this.#reads.watch(socketId) : this.#keep(this.#reads.user(socketId));
    if (!isRegistered) return undefined;
    const user = this.of(socketId);
    this.#present.set(socketId, user);
    return user;
  }

  /** Whether a user has a registered socket. The native side is asked only until one is found that JavaScript knows. */
  isOnline(userId) {
    if (this.#online.has(userId) && Atomics.load(this.#signs, SIGNS.departure) === 0) return true;
    const socketId = this.#reads.onlineSocket(userId);
    if (socketId === null) return false;
    if (this.#records.get(socketId)?.userId === userId) this.#online.set(userId, socketId);
    return true;
  }

  /** The user of a socket that was registered when an event was made, even if it has gone since. */
  of(socketId) {
    let user = this.#users.get(socketId);
    if (user === undefined) {
      const record = this.record(socketId);
      if (record === undefined) return undefined;
      user = this.#make(record);
      this.#users.set(socketId, user);
    }
    return user;
  }

  /** The end of a connection was taken from the native side, and will be told. */
  left(socketId) {
    this.#present.delete(socketId);
    const userId = this.#records.get(socketId)?.userId;
    if (this.#online.get(userId) === socketId) this.#online.delete(userId);
  }

  forget(socketId) {
    this.#users.delete(socketId);
    this.#records.delete(socketId);
  }

  /** Keeps what the native side knows of a connection; undefined when that is nothing. */
  #keep([socketId, userId, username, handshake, connectedAt, profile]) {
    if (socketId === undefined) return undefined;
    const given = { username: username ?? undefined, profile: profileOf(profile) };
    const record = { socketId, userId, handshake, connectedAt, ...given };
    this.#records.set(socketId, record);
    return record;
  }

  #make({ socketId, userId, username, handshake, connectedAt, profile }) {
    const email = profile?.email ?? queryOf(handshake).email;
    const user = {
      ...(profile ?? {}),
      id: userId,
      socketId,
      ...(username !== undefined && { username }),
      ...(typeof email === 'string' && { email }),
      connectedAt: new Date(connectedAt),
    };
    return this.#withActivity(user);
  }

  /** `lastActivity` is read from the connection each time, until a caller sets it. */
  #withActivity(user) {
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
      set(value) {
        Object.defineProperty(user, 'lastActivity', { value, writable: true, enumerable: true, configurable: true });
      },
    });
    return user;
  }
}

/** The query of a handshake as Socket.IO gives it. */
function queryOf(handshakeText) {
  const { url = '' } = JSON.parse(handshakeText);
  const at = url.indexOf('?');
  return at < 0 ? {} : { ...parse(url.slice(at + 1)) };
}

/** The handshake object of a socket, as Socket.IO makes it. */
function handshakeOf(handshakeText) {
  const { auth, headers, url, address, secure, issued } = JSON.parse(handshakeText);
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
function profileText(user, query) {
  const profile = { ...user };
  if (profile.email === undefined && typeof query?.email === 'string') profile.email = query.email;
  const members = Object.entries(profile)
    .filter(([name]) => !TOLD_ANYWAY.has(name))
    .map(([name, value]) => [JSON.stringify(name), jsonOf(value)])
    .filter(([, json]) => json !== undefined);
  return members.length === 0 ? undefined : `{${members.map((member) => member.join(':')).join(',')}}`;
}

/** JSON of a value; undefined for what has none. */
function jsonOf(value) {
  try {
    return JSON.stringify(value);
  } catch {
    return undefined;
  }
}

module.exports = { Users, handshakeOf, profileText, queryOf };

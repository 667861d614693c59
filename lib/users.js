// The user objects that JavaScript holds: made on first touch, the same object for as long as the user is connected.

'use strict';

const { parse } = require('node:querystring');

class Users {
  #native;
  /** Socket id → user object. */
  #users = new Map();
  /** Socket id → what a user is made of, for connections that JavaScript has been told of. */
  #records = new Map();

  constructor(native) {
    this.#native = native;
  }

  /** Learns what a user is made of; `profile` may give more fields. */
  remember(record) {
    if (!this.#records.has(record.socketId)) this.#records.set(record.socketId, record);
  }

  /** What is known of a connection, if anything. */
  record(socketId) {
    return this.#records.get(socketId) ?? this.#fetch(socketId);
  }

  /** The user of a registered socket. */
  get(socketId) {
    if (this.#users.has(socketId)) return this.#native.isConnected(socketId) ? this.#users.get(socketId) : undefined;
    if (!this.#native.isConnected(socketId)) return undefined;
    return this.of(socketId);
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

  forget(socketId) {
    this.#users.delete(socketId);
    this.#records.delete(socketId);
  }

  #fetch(socketId) {
    const [id, userId, username, handshake, connectedAt] = this.#native.user(socketId);
    if (id === undefined) return undefined;
    const record = { socketId, userId, username: username ?? undefined, handshake, connectedAt };
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
    const native = this.#native;
    let last = user.connectedAt;
    Object.defineProperty(user, 'lastActivity', {
      enumerable: true,
      configurable: true,
      get() {
        const time = native.lastActivity(user.socketId);
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

module.exports = { Users, handshakeOf, queryOf };

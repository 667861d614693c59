// Reads the flat arrays in which the native side tells things; `src/node/field.rs` writes them.

'use strict';

/** A cursor over a flat array. */
class Fields {
  #fields;
  #at = 0;

  constructor(fields) {
    this.#fields = fields;
  }

  get done() {
    return this.#at >= this.#fields.length;
  }

  next() {
    return this.#fields[this.#at++];
  }

  flag() {
    return this.next() === 1;
  }

  /** How many buffers, then each. */
  attachments() {
    const count = this.next();
    const buffers = this.#fields.slice(this.#at, this.#at + count);
    this.#at += count;
    return buffers;
  }

  /** A socket id and, the first time it is told, the record of its user, which `users` remembers. */
  socketId(users) {
    const socketId = this.next();
    const userId = this.next();
    if (userId !== null) {
      const username = this.next() ?? undefined;
      const [handshake, connectedAt, profile] = [this.next(), this.next(), profileOf(this.next())];
      users.remember({ socketId, userId, username, handshake, connectedAt, profile });
    }
    return socketId;
  }
}

/** What the native side knows of a user besides; undefined for users of this instance. */
function profileOf(text) {
  return text === null ? undefined : JSON.parse(text);
}

module.exports = { Fields, profileOf };

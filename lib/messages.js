// The message objects: made on first touch, the same object for as long as the message is kept.

'use strict';

const { decodeArgs } = require('./payload.js');

class Messages {
  /** Room id → position in the room's history → message. */
  #rooms = new Map();

  /** The message at a position; made from what `reader` gives next when it was not touched before. */
  read(roomId, reader, first) {
    const seq = reader.next();
    const json = reader.next();
    const attachments = reader.attachments();
    const kept = this.#keep(roomId, first);
    let message = kept.get(seq);
    if (message === undefined) {
      [message] = decodeArgs(`[${json}]`, attachments);
      message.timestamp = new Date(message.timestamp);
      if (first === undefined || seq >= first) kept.set(seq, message);
    }
    return message;
  }

  forget(roomId) {
    this.#rooms.delete(roomId);
  }

  /** The touched messages of a room, without those that history has dropped. */
  #keep(roomId, first) {
    let kept = this.#rooms.get(roomId);
    if (kept === undefined) {
      kept = new Map();
      this.#rooms.set(roomId, kept);
    }
    if (first !== undefined && kept.first !== first) {
      for (const seq of kept.keys()) if (seq < first) kept.delete(seq);
      kept.first = first;
    }
    return kept;
  }
}

module.exports = { Messages };

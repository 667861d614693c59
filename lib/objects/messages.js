// The message objects: made on first touch, the same object for as long as the message is kept.

'use strict';

const { Fields } = require('../native/fields.js');
const { decodeArgs } = require('../socketio/payload.js');

class Messages {
  #native;
  #reads;
  /** Room id → the messages of the room that were touched. */
  #rooms = new Map();

  constructor(native, reads) {
    this.#native = native;
    this.#reads = reads;
  }

  /** The message at a position; made from what `reader` gives next when it was not touched before. */
  read(roomId, reader, first) {
    const seq = reader.next();
    const json = reader.next();
    const attachments = reader.attachments();
    let touched = this.#rooms.get(roomId);
    touched?.drop(first);
    let message = touched?.get(seq);
    if (message === undefined) {
      [message] = decodeArgs(`[${json}]`, attachments);
      message.timestamp = new Date(message.timestamp);
      if (seq >= first) {
        if (touched === undefined) this.#rooms.set(roomId, (touched = new Touched(first)));
        touched.set(seq, message);
      }
    }
    return message;
  }

  /** Newest first, after the `offset` newest. Only messages that were not touched before cross from the native side. */
  page(roomId, limit, offset) {
    const [first, next] = this.#reads.keptMessages(roomId);
    if (first === undefined) return [];
    const newest = next - 1 - offset;
    let oldest = Math.max(first, newest - limit + 1);
    const messages = [];
    let touched = this.#rooms.get(roomId);
    touched?.drop(first);
    for (let seq = newest; seq >= oldest; ) {
      if (touched !== undefined) seq = touched.collect(seq, oldest, messages);
      if (seq < oldest) break;
      const until = touched?.newest(seq, oldest) ?? oldest - 1;
      const reader = new Fields(this.#native.messages(roomId, until + 1, seq));
      const keptSince = reader.next();
      while (!reader.done) messages.push(this.read(roomId, reader, keptSince));
      touched = this.#rooms.get(roomId);
      seq = until;
      oldest = Math.max(oldest, keptSince);
    }
    // Some may have become too old since the page was begun.
    return messages.slice(0, Math.max(0, newest - oldest + 1));
  }

  forget(roomId) {
    this.#rooms.delete(roomId);
  }
}

/** Positions in a block. */
const BLOCK = 64;

/** Messages of a room by position: in blocks, because positions are close to each other and are dropped in order. */
class Touched {
  #blocks = new Map();
  #first;

  constructor(first) {
    this.#first = first;
  }

  get(seq) {
    return this.#blocks.get(Math.floor(seq / BLOCK))?.[seq % BLOCK];
  }

  set(seq, message) {
    const number = Math.floor(seq / BLOCK);
    let block = this.#blocks.get(number);
    if (block === undefined) this.#blocks.set(number, (block = []));
    block[seq % BLOCK] = message;
  }

  /** Appends the messages from `seq` back to `oldest`, up to one that is not here: its position, or `oldest - 1`. */
  collect(seq, oldest, messages) {
    let block;
    for (; seq >= oldest; seq -= 1) {
      const index = seq % BLOCK;
      if (block === undefined || index === BLOCK - 1) block = this.#blocks.get(Math.floor(seq / BLOCK));
      const message = block?.[index];
      if (message === undefined) break;
      messages.push(message);
    }
    return seq;
  }

  /** Position of the newest message from `seq` back to `oldest` that is here, or `oldest - 1`. */
  newest(seq, oldest) {
    while (seq >= oldest && this.get(seq) === undefined) seq -= 1;
    return seq;
  }

  /** Forgets what history has dropped: everything before `first`. */
  drop(first) {
    if (first === this.#first) return;
    const number = Math.floor(first / BLOCK);
    const before = Math.floor(this.#first / BLOCK);
    if (number - before < this.#blocks.size) {
      for (let dropped = before; dropped < number; dropped += 1) this.#blocks.delete(dropped);
    } else {
      for (const other of this.#blocks.keys()) if (other < number) this.#blocks.delete(other);
    }
    const block = this.#blocks.get(number);
    if (block) for (let seq = Math.max(this.#first, number * BLOCK); seq < first; seq += 1) block[seq % BLOCK] = undefined;
    this.#first = first;
  }
}

module.exports = { Messages };

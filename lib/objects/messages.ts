// The message objects: made on first touch, the same object for as long as the message is kept.

import type { Message } from '../../index.js';
import type { NativeService } from '../../binding.js';
import { Fields } from '../native/fields.js';
import type { Reads } from '../native/reads.js';
import { decodeArgs } from '../socketio/payload.js';

export class Messages {
  readonly #native: NativeService;
  readonly #reads: Reads;
  /** Room id → the messages of the room that were touched. */
  readonly #rooms = new Map<string, Touched>();

  constructor(native: NativeService, reads: Reads) {
    this.#native = native;
    this.#reads = reads;
  }

  /** The message at a position; made from what `reader` gives next when it was not touched before. */
  read(roomId: string, reader: Fields, first: number): Message {
    const seq = reader.number();
    const json = reader.text();
    const attachments = reader.attachments();
    let touched = this.#rooms.get(roomId);
    touched?.drop(first);
    let message = touched?.get(seq);
    if (message === undefined) {
      message = made(json, attachments);
      if (seq >= first) {
        if (touched === undefined) this.#rooms.set(roomId, (touched = new Touched(first)));
        touched.set(seq, message);
      }
    }
    return message;
  }

  /** Newest first, after the `offset` newest. Only messages that were not touched before cross from the native side. */
  page(roomId: string, limit: number, offset: number): Message[] {
    const kept = this.#reads.keptMessages(roomId);
    if (kept === undefined) return [];
    const [first, next] = kept;
    const newest = next - 1 - offset;
    let oldest = Math.max(first, newest - limit + 1);
    const messages: Message[] = [];
    let touched = this.#rooms.get(roomId);
    touched?.drop(first);
    for (let seq = newest; seq >= oldest; ) {
      if (touched !== undefined) seq = touched.collect(seq, oldest, messages);
      if (seq < oldest) break;
      const until = touched?.newest(seq, oldest) ?? oldest - 1;
      const reader = new Fields(this.#native.messages(roomId, until + 1, seq));
      const keptSince = reader.number();
      while (!reader.done) messages.push(this.read(roomId, reader, keptSince));
      touched = this.#rooms.get(roomId);
      seq = until;
      oldest = Math.max(oldest, keptSince);
    }
    // Some may have become too old since the page was begun.
    return messages.slice(0, Math.max(0, newest - oldest + 1));
  }

  forget(roomId: string): void {
    this.#rooms.delete(roomId);
  }
}

/** The object of a message, from JSON and the bytes that its placeholders stand for. */
function made(json: string, attachments: Buffer[]): Message {
  // The native side has written it (`StoredMessage` in src/hub/history.rs), the time as a number.
  const [message] = decodeArgs(`[${json}]`, attachments) as [Message];
  message.timestamp = new Date(message.timestamp);
  return message;
}

/** Positions in a block. */
const BLOCK = 64;

/** Messages of a room by position: in blocks, because positions are close to each other and are dropped in order. */
class Touched {
  readonly #blocks = new Map<number, (Message | undefined)[]>();
  #first: number;

  constructor(first: number) {
    this.#first = first;
  }

  get(seq: number): Message | undefined {
    return this.#blocks.get(Math.floor(seq / BLOCK))?.[seq % BLOCK];
  }

  set(seq: number, message: Message): void {
    const number = Math.floor(seq / BLOCK);
    let block = this.#blocks.get(number);
    if (block === undefined) this.#blocks.set(number, (block = []));
    block[seq % BLOCK] = message;
  }

  /** Appends the messages from `seq` back to `oldest`, up to one that is not here: its position, or `oldest - 1`. */
  collect(seq: number, oldest: number, messages: Message[]): number {
    let block: (Message | undefined)[] | undefined;
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
  newest(seq: number, oldest: number): number {
    while (seq >= oldest && this.get(seq) === undefined) seq -= 1;
    return seq;
  }

  /** Forgets what history has dropped: everything before `first`. */
  drop(first: number): void {
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

// Values to wire text and back, with Socket.IO's own parser, so that both are the same to the byte.

import { Decoder, Encoder, type Packet, PacketType } from 'socket.io-parser';
import type { BroadcastOptions } from '../../index.js';
import { assertString, assertStrings, converted, invalidArgument } from '../errors.js';
import { MAX_ATTACHMENTS, MOST_PUBLISHED } from '../native/addon.js';
import { depthOfText, isNestedDeeper } from './nesting.js';

const encoder = new Encoder();

/** Levels that the recursive parsers of Node.js servers and of clients stand: default and most of `limits.maxDepth`. */
export const MAX_DEPTH = 1000;

/** A packet's arguments: the text of a JSON array, and the bytes that its placeholders stand for. */
export interface Encoded {
  text: string;
  attachments: Buffer[];
}

/** What Socket.IO's parser takes for bytes. */
type Binary = ArrayBuffer | ArrayBufferView;

/** What the encoder gives, whose own types do not say so: the text with the structure, and what its placeholders stand for. */
type Parts = [head: string, ...attachments: (Binary | Blob)[]];

/** Turns values into their wire form, refusing what could not go everywhere. */
export class Encoding {
  readonly #maxDepth: number;
  readonly #maxBytes: number;

  /** `maxDepth`: arrays and objects within each other in one value; `isShared`: there are other servers. */
  constructor(maxDepth: number, isShared: boolean) {
    this.#maxDepth = maxDepth;
    this.#maxBytes = isShared ? MOST_PUBLISHED : Infinity;
  }

  /** Arguments as the text of a JSON array, and their binary attachments. */
  args(args: unknown[], name = 'data'): Encoded {
    const [head, ...attachments] = this.#bounded(
      name,
      args,
      () => encoder.encode({ type: PacketType.EVENT, nsp: '/', data: args }) as Parts,
    );
    if (!areBytes(attachments)) {
      // Its bytes come by a promise only; with Socket.IO itself they would never come.
      throw invalidArgument(name, attachments.find(isBlob), 'a value without Blobs (send await blob.arrayBuffer())');
    }
    if (attachments.length > MAX_ATTACHMENTS) {
      throw invalidArgument(name, `${attachments.length} buffers`, `a value with at most ${MAX_ATTACHMENTS} buffers`);
    }
    // What precedes the array, "2" or "5<count>-", the native side writes itself.
    const text = head.slice(head.indexOf('['));
    if (attachments.length > 0) assertPlaceholders(name, text, attachments);
    return { text, attachments: attachments.map(toBuffer) };
  }

  /** Arguments as the text of a JSON array, where there are no attachments. */
  json(args: unknown[], name: string): string {
    return this.#bounded(name, args, () => [JSON.stringify(args)])[0];
  }

  /** Refuses a value that is nested too deep to be sent. */
  assertDepth(name: string, value: unknown): void {
    if (isNestedDeeper(value, this.#maxDepth)) throw this.#tooDeep(name, value);
  }

  /** Encodes arguments to texts, the first of which has their structure. */
  #bounded(name: string, args: unknown[], encode: () => Parts): Parts {
    const most = this.#maxDepth + 1; // The arguments are in an array.
    let parts: Parts;
    try {
      parts = converted(encode);
    } catch (error) {
      // Too deep for the stack of whoever encodes them; or a value that contains itself.
      if (error instanceof RangeError && isNestedDeeper(args, most)) throw this.#tooDeep(name, args);
      throw error;
    }
    const [head, ...attachments] = parts;
    // A level takes two characters, so most texts need not be looked at.
    if (head.length > 2 * most && depthOfText(head, attachments.length > 0) > most) throw this.#tooDeep(name, args);
    if (this.#isTooLarge(parts)) throw invalidArgument(name, args, `at most ${this.#maxBytes} bytes, as it goes to other servers`);
    return parts;
  }

  #isTooLarge([head, ...attachments]: Parts): boolean {
    let bytes = attachments.reduce((sum, attachment) => sum + lengthOf(attachment), head.length);
    // A character takes three bytes at most.
    if (bytes + 2 * head.length > this.#maxBytes) bytes += Buffer.byteLength(head) - head.length;
    return bytes > this.#maxBytes;
  }

  #tooDeep(name: string, value: unknown): TypeError {
    return invalidArgument(name, value, `nested at most ${this.#maxDepth} levels deep (limits.maxDepth)`);
  }
}

/** Refuses objects of the caller's that clients would take for the placeholder of bytes that are not there. */
function assertPlaceholders(name: string, text: string, attachments: Binary[]): void {
  if (text.split('"_placeholder":true').length - 1 === attachments.length) return;
  try {
    decodeArgs(text, attachments);
  } catch {
    throw invalidArgument(name, '_placeholder: true', 'a value without placeholders of its own beside its buffers');
  }
}

/** The name of an event as the native side compares it: JSON without the quotes, which also tells lone surrogates. */
export function canonicalName(event: unknown): string {
  return JSON.stringify(String(event)).slice(1, -1);
}

/** The values of a JSON array; `undefined` when its placeholders are broken. */
export function decodeArgs(text: string, attachments: Binary[]): unknown[] | undefined {
  if (attachments.length === 0) return JSON.parse(text);
  let args: unknown[] | undefined;
  // Answers of many clients come together.
  const decoder = new Decoder({ maxAttachments: Infinity });
  decoder.on('decoded', ({ data }: Packet) => {
    args = data;
  });
  decoder.add(`${PacketType.BINARY_ACK}${attachments.length}-0${text}`);
  for (const attachment of attachments) decoder.add(attachment);
  return args;
}

const areBytes = (values: (Binary | Blob)[]): values is Binary[] => !values.some(isBlob);
const isBlob = (value: unknown): value is Blob => value instanceof Blob;

/** Bytes of an attachment. */
function lengthOf(value: Binary | Blob): number {
  return isBlob(value) ? value.size : value.byteLength;
}

function toBuffer(value: Binary): Buffer {
  if (Buffer.isBuffer(value)) return value;
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return Buffer.from(value);
}

/** `BroadcastOptions` as the native side reads them; undefined when nobody is left out. */
export function filterOf(options: BroadcastOptions | null | undefined): string | undefined {
  if (options === undefined || options === null) return undefined;
  if (typeof options !== 'object') throw invalidArgument('options', options, 'an object');
  const { except, users, room, namespace } = options;
  if (except !== undefined) assertStrings('options.except', except);
  if (users !== undefined) assertStrings('options.users', users);
  if (room !== undefined) assertString('options.room', room);
  if (namespace !== undefined) assertString('options.namespace', namespace);
  // Ids and names cross as they do everywhere: those that are no text of whole characters name nobody.
  const whole = (text: string) => text.toWellFormed();
  return JSON.stringify({
    except: except?.map(whole),
    users: users?.map(whole),
    room: room && whole(room),
    namespace: namespace && whole(namespace),
  });
}

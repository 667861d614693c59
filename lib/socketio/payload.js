// Values to wire text and back, with Socket.IO's own parser, so that both are the same to the byte.

'use strict';

const { Decoder, Encoder, PacketType } = require('socket.io-parser');
const { assertString, assertStrings, converted, invalidArgument } = require('../errors.js');
const { depthOfText, isNestedDeeper } = require('./nesting.js');

/** Clients close a connection that brings more in one packet. */
const MAX_ATTACHMENTS = 10;

const encoder = new Encoder();

/** Levels that the recursive parsers of Node.js servers and of clients stand: default and most of `limits.maxDepth`. */
const MAX_DEPTH = 1000;

/** Bytes of a packet that reaches other servers (`MOST_PUBLISHED` in `src/packet.rs`): Redis takes little more. */
const MOST_PUBLISHED = 500_000_000;

/** Turns values into their wire form, refusing what could not go everywhere. */
class Encoding {
  #maxDepth;
  #maxBytes;

  /** `maxDepth`: arrays and objects within each other in one value; `isShared`: there are other servers. */
  constructor(maxDepth, isShared) {
    this.#maxDepth = maxDepth;
    this.#maxBytes = isShared ? MOST_PUBLISHED : Infinity;
  }

  /** Arguments as the text of a JSON array, and their binary attachments. */
  args(args, name = 'data') {
    const [head, ...attachments] = this.#bounded(name, args, () =>
      encoder.encode({ type: PacketType.EVENT, nsp: '/', data: args }),
    );
    if (attachments.some(isBlob)) {
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
  json(args, name) {
    return this.#bounded(name, args, () => [JSON.stringify(args)])[0];
  }

  /** Refuses a value that is nested too deep to be sent. */
  assertDepth(name, value) {
    if (isNestedDeeper(value, this.#maxDepth)) throw this.#tooDeep(name, value);
  }

  /** Encodes arguments to texts, the first of which has their structure. */
  #bounded(name, args, encode) {
    const most = this.#maxDepth + 1; // The arguments are in an array.
    let parts;
    try {
      parts = converted(encode);
    } catch (error) {
      // Too deep for the stack of whoever encodes them; or a value that contains itself.
      if (error instanceof RangeError && isNestedDeeper(args, most)) throw this.#tooDeep(name, args);
      throw error;
    }
    const [text, ...attachments] = parts;
    // A level takes two characters, so most texts need not be looked at.
    if (text.length > 2 * most && depthOfText(text, attachments.length > 0) > most) throw this.#tooDeep(name, args);
    if (this.#isTooLarge(parts)) throw invalidArgument(name, args, `at most ${this.#maxBytes} bytes, as it goes to other servers`);
    return parts;
  }

  #isTooLarge([text, ...attachments]) {
    let bytes = attachments.reduce((sum, attachment) => sum + attachment.byteLength, text.length);
    // A character takes three bytes at most.
    if (bytes + 2 * text.length > this.#maxBytes) bytes += Buffer.byteLength(text) - text.length;
    return bytes > this.#maxBytes;
  }

  #tooDeep(name, value) {
    return invalidArgument(name, value, `nested at most ${this.#maxDepth} levels deep (limits.maxDepth)`);
  }
}

/** Refuses objects of the caller's that clients would take for the placeholder of bytes that are not there. */
function assertPlaceholders(name, text, attachments) {
  if (text.split('"_placeholder":true').length - 1 === attachments.length) return;
  try {
    decodeArgs(text, attachments);
  } catch {
    throw invalidArgument(name, '_placeholder: true', 'a value without placeholders of its own beside its buffers');
  }
}

/** The name of an event as the native side compares it: JSON without the quotes, which also tells lone surrogates. */
function canonicalName(event) {
  return JSON.stringify(String(event)).slice(1, -1);
}

/** The values of a JSON array; `undefined` when its placeholders are broken. */
function decodeArgs(text, attachments) {
  if (attachments.length === 0) return JSON.parse(text);
  let args;
  // Answers of many clients come together.
  const decoder = new Decoder({ maxAttachments: Infinity });
  decoder.on('decoded', (packet) => {
    args = packet.data;
  });
  decoder.add(`${PacketType.BINARY_ACK}${attachments.length}-0${text}`);
  for (const attachment of attachments) decoder.add(attachment);
  return args;
}

const isBlob = (value) => value instanceof Blob;

function toBuffer(value) {
  if (Buffer.isBuffer(value)) return value;
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return Buffer.from(value);
}

/** `BroadcastOptions` as the native side reads them; undefined when nobody is left out. */
function filterOf(options) {
  if (options === undefined || options === null) return undefined;
  if (typeof options !== 'object') throw invalidArgument('options', options, 'an object');
  const { except, users, room, namespace } = options;
  if (except !== undefined) assertStrings('options.except', except);
  if (users !== undefined) assertStrings('options.users', users);
  if (room !== undefined) assertString('options.room', room);
  if (namespace !== undefined) assertString('options.namespace', namespace);
  // Ids and names cross as they do everywhere: those that are no text of whole characters name nobody.
  const whole = (text) => text?.toWellFormed();
  return JSON.stringify({
    except: except?.map(whole),
    users: users?.map(whole),
    room: whole(room),
    namespace: whole(namespace),
  });
}

module.exports = { MAX_DEPTH, Encoding, canonicalName, decodeArgs, filterOf };

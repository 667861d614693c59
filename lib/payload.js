// Values to wire text and back, with Socket.IO's own parser, so that both are the same to the byte.

'use strict';

const { Decoder, Encoder, PacketType } = require('socket.io-parser');
const { assertString, assertStrings, converted, invalidArgument } = require('./errors.js');

/** Clients close a connection that brings more in one packet. */
const MAX_ATTACHMENTS = 10;

const encoder = new Encoder();

/** Arguments as the text of a JSON array, and their binary attachments. */
function encodeArgs(args) {
  const [head, ...attachments] = converted(() => encoder.encode({ type: PacketType.EVENT, nsp: '/', data: args }));
  if (attachments.length > MAX_ATTACHMENTS) {
    throw invalidArgument('data', `${attachments.length} buffers`, `a value with at most ${MAX_ATTACHMENTS} buffers`);
  }
  // What precedes the array, "2" or "5<count>-", the native side writes itself.
  return { text: head.slice(head.indexOf('[')), attachments: attachments.map(toBuffer) };
}

/** The values of a JSON array; `undefined` when its placeholders are broken. */
function decodeArgs(text, attachments) {
  if (attachments.length === 0) return JSON.parse(text);
  let args;
  const decoder = new Decoder();
  decoder.on('decoded', (packet) => {
    args = packet.data;
  });
  decoder.add(`${PacketType.BINARY_ACK}${attachments.length}-0${text}`);
  for (const attachment of attachments) decoder.add(attachment);
  return args;
}

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
  return JSON.stringify({ except, users, room, namespace });
}

module.exports = { encodeArgs, decodeArgs, filterOf };

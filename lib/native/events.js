// Reads the events of the native side. `src/node/field.rs` and `src/node/queue.rs` write them under these numbers.

'use strict';

const { decodeArgs } = require('../socketio/payload.js');

/**
 * Memory that the native side writes, `bytes` long. At `event` and `departure`, a byte each: not 0 while something, or
 * the end of a connection, waits to be taken. At `pushed`, 32 bits: how much there has been to take so far.
 */
const SIGNS = { event: 0, departure: 1, pushed: 4, bytes: 8 };

/**
 * A function that takes one event off a `Fields` and returns how to tell it: a call of one of `handlers`. Everything
 * is read, and the objects of the event are made, at once; telling may wait for earlier events.
 */
function eventReader(handlers, users, rooms, messages) {
  const roomEvent = (fields) => [users.of(fields.socketId(users)), rooms.of(fields.next())];

  const readers = {
    1: ['connection', (fields) => [fields.socketId(users)]],
    2: [
      'disconnect',
      (fields) => {
        const [socketId, reason] = [fields.socketId(users), fields.next()];
        users.left(socketId);
        return [socketId, reason, Array.from({ length: fields.next() }, () => fields.next())];
      },
    ],
    3: [
      'message',
      (fields) => {
        const [roomId, first] = [fields.next(), fields.next()];
        return [messages.read(roomId, fields, first)];
      },
    ],
    4: ['roomJoin', roomEvent],
    5: ['roomLeave', roomEvent],
    6: ['typing', (fields) => [...roomEvent(fields), fields.flag()]],
    7: ['client', (fields) => [fields.socketId(users), fields.next(), fields.next(), fields.attachments()]],
    8: ['ack', (fields) => [fields.next(), fields.next(), fields.next(), fields.attachments()]],
    9: [
      'admission',
      (fields) => {
        const [key, socketId, handshake, connectedAt] = take(fields, 4);
        return [key, { socketId, userId: socketId, handshake, connectedAt }];
      },
    ],
    11: ['fault', (fields) => take(fields, 2)],
    12: ['reply', (fields) => [fields.next(), fields.next(), fields.next(), fields.next(), fields.next()]],
    13: ['bridgeWrite', (fields) => take(fields, 2)],
    14: ['bridgeEnd', (fields) => [fields.next(), fields.flag()]],
    15: ['done', (fields) => [fields.next()]],
    16: [
      'abandoned',
      (fields) => {
        const socketId = fields.next();
        users.left(socketId);
        return [socketId];
      },
    ],
    17: ['warning', (fields) => [fields.next()]],
    18: ['roomForgotten', (fields) => [fields.next()]],
    19: ['cluster', (fields) => [fields.next()]],
    20: ['serverSide', (fields) => take(fields, 2)],
    21: ['dataWanted', (fields) => [fields.next(), take(fields, fields.next())]],
    22: ['answered', (fields) => [...take(fields, 2), decodeArgs(fields.next(), fields.attachments())]],
    23: [
      'room',
      (fields) => {
        rooms.remember(...take(fields, 6));
        return [];
      },
    ],
    24: ['failed', (fields) => take(fields, 3)],
    25: ['ackRefused', (fields) => take(fields, 3)],
  };

  /** A packet for a socket object in JavaScript: an event, or the acknowledgement of one of its own. */
  const readDelivery = (fields) => {
    const [socketId, ackId, text] = take(fields, 3);
    const args = decodeArgs(text, fields.attachments());
    return ackId < 0 ? () => handlers.deliver(socketId, args) : () => handlers.done(ackId, args);
  };

  return (fields) => {
    const kind = fields.next();
    if (kind === 10) return readDelivery(fields);
    const [name, read] = readers[kind];
    const args = read(fields);
    return () => handlers[name](...args);
  };
}

function take(fields, count) {
  return Array.from({ length: count }, () => fields.next());
}

module.exports = { eventReader, SIGNS };

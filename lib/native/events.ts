// Reads the events of the native side. `src/node/field.rs` and `src/node/queue.rs` write them under these numbers.

import type { ClusterStatus, Message, Room, SocketUser, WebSocketServiceErrorCode } from '../../index.js';
import type { RoomRecord, UserRecord } from '../objects/record.js';
import { decodeArgs } from '../socketio/payload.js';
import type { Fields } from './fields.js';

/** What each kind of event leads to. Ids and names are texts, numbers of questions what JavaScript has given them. */
export interface EventHandlers {
  connection(socketId: string): void;
  disconnect(socketId: string, reason: string, rooms: string[]): void;
  abandoned(socketId: string): void;
  /** A connection, known under `key`, waits to be let in. */
  admission(key: number, record: UserRecord): void;
  message(message: Message): void;
  roomJoin(user: SocketUser, room: Room): void;
  roomLeave(user: SocketUser, room: Room): void;
  typing(user: SocketUser, room: Room, isTyping: boolean): void;
  /** A client's own event, a JSON array; `ackId` is negative when none is awaited. */
  client(socketId: string, text: string, ackId: number, attachments: Buffer[]): void;
  ack(socketId: string, ackId: number, text: string, attachments: Buffer[]): void;
  ackRefused(socketId: string, ackId: number, message: string): void;
  /** A packet for a socket object that was given by hand. */
  deliver(socketId: string, args: unknown[]): void;
  room(): void;
  roomForgotten(roomId: string): void;
  cluster(status: ClusterStatus): void;
  /** `ackNumber` is negative when no acknowledgement is awaited. */
  serverSide(text: string, ackNumber: number): void;
  dataWanted(number: number, socketIds: string[]): void;
  answered(id: number, error: string | null, values: unknown[]): void;
  failed(id: number, code: WebSocketServiceErrorCode, message: string): void;
  done(id: number, args?: unknown[]): void;
  reply(id: number, status: number, contentType: string, body: string | Buffer, sid: string | null): void;
  bridgeWrite(id: number, bytes: Buffer): void;
  bridgeEnd(id: number, atOnce: boolean): void;
  warning(text: string): void;
  fault(code: WebSocketServiceErrorCode, message: string): void;
}

/** The objects that events are about. */
export interface Objects {
  users: {
    /** The user of a socket that was registered when the event was made. */
    told(socketId: string): SocketUser;
    remember(record: UserRecord): void;
    left(socketId: string): void;
  };
  rooms: { told(roomId: string): Room; remember(record: RoomRecord): void };
  messages: { read(roomId: string, fields: Fields, first: number): Message };
}

/** Reads an event and returns how to tell it. */
type Reader = (fields: Fields) => () => void;

/**
 * A function that takes one event off a `Fields` and returns how to tell it: a call of one of `handlers`. Everything
 * is read, and the objects of the event are made, at once; telling may wait for earlier events.
 */
export function eventReader(handlers: EventHandlers, { users, rooms, messages }: Objects): Reader {
  const user = (fields: Fields): SocketUser => users.told(fields.socketId(users));
  const room = (fields: Fields): Room => rooms.told(fields.text());

  const readers: Readonly<Record<number, Reader>> = {
    1: (fields) => {
      const socketId = fields.socketId(users);
      return () => handlers.connection(socketId);
    },
    2: (fields) => {
      const [socketId, reason] = [fields.socketId(users), fields.text()];
      users.left(socketId);
      const left = fields.texts();
      return () => handlers.disconnect(socketId, reason, left);
    },
    3: (fields) => {
      const [roomId, first] = [fields.text(), fields.number()];
      const message = messages.read(roomId, fields, first);
      return () => handlers.message(message);
    },
    4: (fields) => {
      const [who, where] = [user(fields), room(fields)];
      return () => handlers.roomJoin(who, where);
    },
    5: (fields) => {
      const [who, where] = [user(fields), room(fields)];
      return () => handlers.roomLeave(who, where);
    },
    6: (fields) => {
      const [who, where, isTyping] = [user(fields), room(fields), fields.flag()];
      return () => handlers.typing(who, where, isTyping);
    },
    7: (fields) => {
      const [socketId, text, ackId] = [fields.socketId(users), fields.text(), fields.number()];
      const attachments = fields.attachments();
      return () => handlers.client(socketId, text, ackId, attachments);
    },
    8: (fields) => {
      const [socketId, ackId, text] = [fields.text(), fields.number(), fields.text()];
      const attachments = fields.attachments();
      return () => handlers.ack(socketId, ackId, text, attachments);
    },
    9: (fields) => {
      const [key, socketId, handshake, connectedAt] = [fields.number(), fields.text(), fields.text(), fields.number()];
      return () => handlers.admission(key, { socketId, userId: socketId, handshake, connectedAt });
    },
    // A packet for a socket object in JavaScript: an event, or the acknowledgement of one of its own.
    10: (fields) => {
      const [socketId, ackId, text] = [fields.text(), fields.number(), fields.text()];
      const args = decodeArgs(text, fields.attachments()) ?? [];
      return ackId < 0 ? () => handlers.deliver(socketId, args) : () => handlers.done(ackId, args);
    },
    11: (fields) => {
      const [code, message] = [errorCode(fields), fields.text()];
      return () => handlers.fault(code, message);
    },
    12: (fields) => {
      const [id, status, contentType] = [fields.number(), fields.number(), fields.text()];
      const [body, sid] = [fields.textOrBytes(), fields.optionalText()];
      return () => handlers.reply(id, status, contentType, body, sid);
    },
    13: (fields) => {
      const [id, bytes] = [fields.number(), fields.bytes()];
      return () => handlers.bridgeWrite(id, bytes);
    },
    14: (fields) => {
      const [id, atOnce] = [fields.number(), fields.flag()];
      return () => handlers.bridgeEnd(id, atOnce);
    },
    15: (fields) => {
      const id = fields.number();
      return () => handlers.done(id);
    },
    16: (fields) => {
      const socketId = fields.text();
      users.left(socketId);
      return () => handlers.abandoned(socketId);
    },
    17: (fields) => {
      const text = fields.text();
      return () => handlers.warning(text);
    },
    18: (fields) => {
      const roomId = fields.text();
      return () => handlers.roomForgotten(roomId);
    },
    19: (fields) => {
      const status = fields.text() as ClusterStatus; // one of `Status` in src/cluster
      return () => handlers.cluster(status);
    },
    20: (fields) => {
      const [text, ackNumber] = [fields.text(), fields.number()];
      return () => handlers.serverSide(text, ackNumber);
    },
    21: (fields) => {
      const [number, ids] = [fields.number(), fields.texts()];
      return () => handlers.dataWanted(number, ids);
    },
    22: (fields) => {
      const [id, error, text] = [fields.number(), fields.optionalText(), fields.text()];
      const values = decodeArgs(text, fields.attachments()) ?? [];
      return () => handlers.answered(id, error, values);
    },
    23: (fields) => {
      const [id, name, namespace, createdAt] = [fields.text(), fields.text(), fields.text(), fields.number()];
      const [createdBy, metadata] = [fields.optionalText(), fields.optionalText()];
      rooms.remember({ id, name, namespace, createdAt, createdBy, metadata });
      return () => handlers.room();
    },
    24: (fields) => {
      const [id, code, message] = [fields.number(), errorCode(fields), fields.text()];
      return () => handlers.failed(id, code, message);
    },
    25: (fields) => {
      const [socketId, ackId, message] = [fields.text(), fields.number(), fields.text()];
      return () => handlers.ackRefused(socketId, ackId, message);
    },
  };

  return (fields) => {
    const kind = fields.number();
    const read = readers[kind];
    if (read === undefined) throw new Error(`the native side tells of an unknown kind of event, ${kind}`);
    return read(fields);
  };
}

/** The code of an error; `src/error.rs` has them all. */
function errorCode(fields: Fields): WebSocketServiceErrorCode {
  return fields.text() as WebSocketServiceErrorCode;
}

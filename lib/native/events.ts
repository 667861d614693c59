// Reads what the native side tells. `src/node/protocol.rs` has the tags, `src/node/field.rs` and `src/node/queue.rs` write what is
// behind them.

import type { ClusterStatus, Logger, Message, Room, SocketUser, WebSocketServiceErrorCode } from '../../index.js';
import { WebSocketServiceError } from '../errors.js';
import type { RoomRecord, UserRecord } from '../objects/record.js';
import { decodeArgs } from '../socketio/payload.js';
import { Tag } from './addon.js';
import type { Fields } from './fields.js';

/** A connection of a door that is Node.js's. */
export interface Adopted {
  /** The number of the door. */
  door: number;
  fd: number;
  /** What was read of it. */
  bytes: Buffer;
  /** Its client's; undefined over a Unix socket. */
  address: string | undefined;
  port: number;
  /** Whether its bytes come and go over TLS. */
  secure: boolean;
}

/** What each kind of event leads to. Ids and names are texts, numbers of questions what JavaScript has given them. */
export interface EventHandlers {
  connection(socketId: string): void;
  disconnect(socketId: string, reason: string, rooms: string[]): void;
  abandoned(socketId: string): void;
  /** A connection, known under `key`, waits to be let in. */
  admission(key: number, record: UserRecord): void;
  /** A handshake went beyond a bound. */
  connectionError(limit: string, address: string, status: number, message: string): void;
  tokenExpiring(user: SocketUser, expiresAt: number): void;
  away(socketId: string, user: SocketUser, reason: string): void;
  /** The client is on another connection. */
  recovered(socketId: string, user: SocketUser, handshake: string): void;
  /** A client waits to be allowed something; `text` is its event, a JSON array. */
  authorize(question: { user: SocketUser; room: Room; number: number; verb: string; text: string; attachments: Buffer[] }): void;
  message(message: Message): void;
  roomJoin(user: SocketUser, room: Room): void;
  roomLeave(user: SocketUser, room: Room): void;
  typing(user: SocketUser, room: Room, isTyping: boolean): void;
  /** A client's own event, a JSON array; `ackId` is negative when none is awaited. */
  client(socketId: string, text: string, ackId: number, attachments: Buffer[]): void;
  ack(socketId: string, ackId: number, text: string, attachments: Buffer[]): void;
  ackRefused(socketId: string, ackId: number, code: WebSocketServiceErrorCode, message: string): void;
  /** A packet for a socket object that was given by hand. */
  deliver(socketId: string, args: unknown[]): void;
  room(): void;
  roomForgotten(roomId: string): void;
  cluster(status: ClusterStatus): void;
  /** `ackNumber` is negative when no acknowledgement is awaited. */
  serverSide(text: string, ackNumber: number): void;
  dataWanted(number: number, socketIds: string[]): void;
  answered(id: number, error: WebSocketServiceError | undefined, values: unknown[]): void;
  failed(id: number, code: WebSocketServiceErrorCode, message: string): void;
  done(id: number, args?: unknown[]): void;
  reply(id: number, status: number, contentType: string, body: string | Buffer, sid: string | null): void;
  bridgeWrite(id: number, bytes: Buffer): void;
  bridgeEnd(id: number, atOnce: boolean): void;
  /** A connection of a door is Node.js's; `bytes` were read of it. */
  adopt(connection: Adopted): void;
  log(level: keyof Logger, text: string): void;
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

  const readers: Readonly<Record<Tag, Reader>> = {
    [Tag.Connection]: (fields) => {
      const socketId = fields.socketId(users);
      return () => handlers.connection(socketId);
    },
    [Tag.Disconnect]: (fields) => {
      const [socketId, reason] = [fields.socketId(users), fields.text()];
      users.left(socketId);
      const left = fields.texts();
      return () => handlers.disconnect(socketId, reason, left);
    },
    [Tag.Message]: (fields) => {
      const [roomId, first] = [fields.text(), fields.number()];
      const message = messages.read(roomId, fields, first);
      return () => handlers.message(message);
    },
    [Tag.RoomJoin]: (fields) => {
      const [who, where] = [user(fields), room(fields)];
      return () => handlers.roomJoin(who, where);
    },
    [Tag.RoomLeave]: (fields) => {
      const [who, where] = [user(fields), room(fields)];
      return () => handlers.roomLeave(who, where);
    },
    [Tag.Typing]: (fields) => {
      const [who, where, isTyping] = [user(fields), room(fields), fields.flag()];
      return () => handlers.typing(who, where, isTyping);
    },
    [Tag.Client]: (fields) => {
      const [socketId, text, ackId] = [fields.socketId(users), fields.text(), fields.number()];
      const attachments = fields.attachments();
      return () => handlers.client(socketId, text, ackId, attachments);
    },
    [Tag.Ack]: (fields) => {
      const [socketId, ackId, text] = [fields.text(), fields.number(), fields.text()];
      const attachments = fields.attachments();
      return () => handlers.ack(socketId, ackId, text, attachments);
    },
    [Tag.Admission]: (fields) => {
      const [key, socketId, handshake, connectedAt] = [fields.number(), fields.text(), fields.text(), fields.number()];
      return () => handlers.admission(key, { socketId, userId: socketId, handshake, connectedAt });
    },
    [Tag.ConnectionError]: (fields) => {
      const [limit, address, status, message] = [fields.text(), fields.text(), fields.number(), fields.text()];
      return () => handlers.connectionError(limit, address, status, message);
    },
    [Tag.TokenExpiring]: (fields) => {
      const [who, expiresAt] = [user(fields), fields.number()];
      return () => handlers.tokenExpiring(who, expiresAt);
    },
    [Tag.Away]: (fields) => {
      const [socketId, reason] = [fields.socketId(users), fields.text()];
      const who = users.told(socketId);
      return () => handlers.away(socketId, who, reason);
    },
    [Tag.Recovered]: (fields) => {
      const [socketId, handshake] = [fields.socketId(users), fields.text()];
      const who = users.told(socketId);
      return () => handlers.recovered(socketId, who, handshake);
    },
    [Tag.Authorize]: (fields) => {
      const [who, where, number] = [user(fields), room(fields), fields.number()];
      const [verb, text, attachments] = [fields.text(), fields.text(), fields.attachments()];
      return () => handlers.authorize({ user: who, room: where, number, verb, text, attachments });
    },
    // A packet for a socket object in JavaScript: an event, or the acknowledgement of one of its own.
    [Tag.Deliver]: (fields) => {
      const [socketId, ackId, text] = [fields.text(), fields.number(), fields.text()];
      const args = decodeArgs(text, fields.attachments()) ?? [];
      return ackId < 0 ? () => handlers.deliver(socketId, args) : () => handlers.done(ackId, args);
    },
    [Tag.Fault]: (fields) => {
      const [code, message] = [errorCode(fields), fields.text()];
      return () => handlers.fault(code, message);
    },
    [Tag.Reply]: (fields) => {
      const [id, status, contentType] = [fields.number(), fields.number(), fields.text()];
      const [body, sid] = [fields.textOrBytes(), fields.optionalText()];
      return () => handlers.reply(id, status, contentType, body, sid);
    },
    [Tag.BridgeWrite]: (fields) => {
      const [id, bytes] = [fields.number(), fields.bytes()];
      return () => handlers.bridgeWrite(id, bytes);
    },
    [Tag.BridgeEnd]: (fields) => {
      const [id, atOnce] = [fields.number(), fields.flag()];
      return () => handlers.bridgeEnd(id, atOnce);
    },
    [Tag.Adopt]: (fields) => {
      const [door, fd, bytes] = [fields.number(), fields.number(), fields.bytes()];
      const [address, port, secure] = [fields.optionalText() ?? undefined, fields.number(), fields.flag()];
      return () => handlers.adopt({ door, fd, bytes, address, port, secure });
    },
    [Tag.Done]: (fields) => {
      const id = fields.number();
      return () => handlers.done(id);
    },
    [Tag.Abandoned]: (fields) => {
      const socketId = fields.text();
      users.left(socketId);
      return () => handlers.abandoned(socketId);
    },
    [Tag.Log]: (fields) => {
      const [level, text] = [fields.text() as keyof Logger, fields.text()]; // `src/node/log.rs` has the levels
      return () => handlers.log(level, text);
    },
    [Tag.RoomForgotten]: (fields) => {
      const roomId = fields.text();
      return () => handlers.roomForgotten(roomId);
    },
    [Tag.Cluster]: (fields) => {
      const status = fields.text() as ClusterStatus; // one of `Status` in src/cluster
      return () => handlers.cluster(status);
    },
    [Tag.ServerSide]: (fields) => {
      const [text, ackNumber] = [fields.text(), fields.number()];
      return () => handlers.serverSide(text, ackNumber);
    },
    [Tag.DataWanted]: (fields) => {
      const [number, ids] = [fields.number(), fields.texts()];
      return () => handlers.dataWanted(number, ids);
    },
    [Tag.Answered]: (fields) => {
      const [id, code, message] = [fields.number(), fields.optionalText(), fields.optionalText()];
      const error = code === null ? undefined : new WebSocketServiceError(code as WebSocketServiceErrorCode, message ?? '');
      const text = fields.text();
      const values = decodeArgs(text, fields.attachments()) ?? [];
      return () => handlers.answered(id, error, values);
    },
    [Tag.Room]: (fields) => {
      const [id, name, namespace, createdAt] = [fields.text(), fields.text(), fields.text(), fields.number()];
      const [createdBy, metadata] = [fields.optionalText(), fields.optionalText()];
      rooms.remember({ id, name, namespace, createdAt, createdBy, metadata });
      return () => handlers.room();
    },
    [Tag.Failed]: (fields) => {
      const [id, code, message] = [fields.number(), errorCode(fields), fields.text()];
      return () => handlers.failed(id, code, message);
    },
    [Tag.AckRefused]: (fields) => {
      const [socketId, ackId, code, message] = [fields.text(), fields.number(), errorCode(fields), fields.text()];
      return () => handlers.ackRefused(socketId, ackId, code, message);
    },
  };

  return (fields) => {
    const tag: Tag = fields.number();
    return readers[tag](fields);
  };
}

/** The code of an error; `src/error.rs` has them all. */
function errorCode(fields: Fields): WebSocketServiceErrorCode {
  return fields.text() as WebSocketServiceErrorCode;
}

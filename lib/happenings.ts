// What each kind of event of the native side leads to: objects change, and whoever waits or listens is told.

import type { AuthorizeConfig, Logger } from '../index.js';
import type { NativeService } from '../binding.js';
import type { Admission } from './admission.js';
import type { Attachment } from './attachment.js';
import type { Report } from './attempt.js';
import type { Authorization } from './authorization.js';
import type { Departures } from './departures.js';
import { WebSocketServiceError } from './errors.js';
import type { Gateway } from './http/gateway.js';
import type { EventHandlers } from './native/events.js';
import type { Operations } from './native/operations.js';
import type { Messages } from './objects/messages.js';
import type { Rooms } from './objects/rooms.js';
import type { Sockets } from './objects/sockets.js';
import type { Users } from './objects/users.js';
import type { Cluster } from './socketio/cluster.js';
import { decodeArgs } from './socketio/payload.js';

/** What changes, and who is told. */
export interface Concerned {
  native: NativeService;
  users: Users;
  sockets: Sockets;
  rooms: Rooms;
  messages: Messages;
  admission: Admission;
  authorization: Authorization;
  departures: Departures;
  gateway: Gateway;
  attachment: Attachment;
  cluster: Cluster;
  operations: Operations;
  logger: Logger;
  report: Report;
  /** Tells the listeners of the service. */
  announce(event: string, ...args: unknown[]): void;
  /** Something failed that no call can report. */
  fail(error: WebSocketServiceError): void;
  /** Has what a decision caused be heard. */
  hear(): void;
  /** The application's own `handleDisconnection`, if it has one. */
  override(): ((socketId: string, reason: string) => Promise<void>) | undefined;
}

export function happenings(concerned: Concerned): EventHandlers {
  const { native, users, sockets, rooms, messages, admission, authorization, departures } = concerned;
  const { gateway, attachment, cluster, operations, logger, report, announce, fail, hear, override } = concerned;

  const forget = (socketId: string) => {
    sockets.forget(socketId);
    users.forget(socketId);
  };

  return {
    connection: (socketId) => {
      native.publish(socketId);
      announce('connection', users.of(socketId));
      native.settle(socketId);
    },
    disconnect: (socketId, reason, left) => {
      const user = users.of(socketId);
      sockets.disconnected(socketId, reason, left);
      forget(socketId);
      const handle = override();
      const own = handle && (() => handle(socketId, reason));
      if (user === undefined || !departures.handle(socketId, user, own, report)) announce('disconnect', user, reason);
    },
    abandoned: forget,
    admission: (key, record) => void admission.admit(key, record),
    // A client wants to do something that the application is to allow.
    authorize: ({ user, room, number, verb, text, attachments }) => {
      const [, data] = decodeArgs(text, attachments) ?? [];
      const question = { verb: verb as keyof AuthorizeConfig, user, room, data }; // `src/service/client/authorize.rs` has them
      authorization.ask(question, (refusal) => {
        native.decide(user.socketId, number, refusal);
        hear();
      });
    },
    connectionError: (limit, address, status, message) => announce('connection_error', { code: 4, message, context: { limit, address, status } }),
    tokenExpiring: (user, expiresAt) => announce('token:expiring', { user, expiresAt }),
    away: (socketId, user, reason) => {
      sockets.away(socketId, reason);
      announce('away', user, reason);
    },
    recovered: (socketId, user, handshake) => {
      sockets.recovered(socketId, handshake);
      announce('recovered', user);
    },
    message: (message) => announce('message', message),
    roomJoin: (user, room) => announce('room:join', { user, room }),
    roomLeave: (user, room) => announce('room:leave', { user, room }),
    typing: (user, room, isTyping) => announce('typing', { user, room, isTyping }),
    client: (...event) => sockets.clientEvent(...event),
    ack: (...answer) => sockets.acknowledged(...answer),
    ackRefused: (...refusal) => sockets.ackRefused(...refusal),
    deliver: (socketId, args) => sockets.deliver(socketId, args),
    room: () => {},
    // Another instance has deleted it.
    roomForgotten: (roomId) => {
      rooms.forget(roomId);
      messages.forget(roomId);
      sockets.roomForgotten(roomId);
    },
    cluster: (status) => announce('cluster', status),
    serverSide: (text, ackNumber) => {
      const event = cluster.incoming(text, ackNumber, logger);
      if (event !== undefined) announce(event[0], ...event[1]);
    },
    dataWanted: (number, ids) => cluster.giveData(number, ids.map((id) => sockets.data(id))),
    answered: (...answer) => cluster.answered(...answer),
    failed: (...failure) => cluster.failed(...failure),
    done: (id, args) => operations.finish(id, args),
    reply: (...reply) => gateway.reply(...reply),
    bridgeWrite: (id, bytes) => gateway.write(id, bytes),
    bridgeEnd: (id, atOnce) => gateway.end(id, atOnce),
    adopt: (connection) => attachment.adopt(connection),
    log: (level, text) => logger[level](text),
    fault: (code, message) => fail(new WebSocketServiceError(code, message)),
  };
}

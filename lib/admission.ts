// Asks middleware, and an overridden `handleConnection`, about connections, and tells the native side what they say.

import type { AuthenticatedSocket, SocketMiddleware } from '../index.js';
import type { NativeService } from '../binding.js';
import type { Authorization } from './authorization.js';
import type { UserRecord } from './objects/record.js';
import type { Users } from './objects/users.js';
import type { Sockets } from './objects/sockets.js';
import { refusalOf, runMiddleware } from './socketio/middleware.js';

/** What admission works with. */
export interface AdmissionTools {
  native: NativeService;
  users: Users;
  sockets: Sockets;
  /** The service's `handleConnection`, when it is overridden. */
  handler: () => ((socket: AuthenticatedSocket) => Promise<void>) | undefined;
  /** What other instances are told of a socket's user. */
  profileOf: (socket: AuthenticatedSocket) => string | undefined;
  authorization: Authorization;
}

export class Admission {
  readonly #tools: AdmissionTools;
  readonly #middleware: SocketMiddleware[] = [];

  constructor(tools: AdmissionTools) {
    this.#tools = tools;
  }

  use(middleware: SocketMiddleware): void {
    this.#middleware.push(middleware);
    this.refresh();
  }

  /** Says to the native side whether it is to ask. */
  refresh(): void {
    this.#tools.native.setAdmits(this.#middleware.length > 0 || this.#tools.handler() !== undefined || this.#tools.authorization.asks('connect'));
  }

  /** Decides about a connection, which the native side knows under this key. */
  async admit(key: number, record: UserRecord): Promise<void> {
    const { native, users, sockets } = this.#tools;
    const { socketId } = record;
    users.remember(record);
    const socket = sockets.add(socketId, record.handshake);
    let profile: string | undefined;
    try {
      await runMiddleware(this.#middleware, socket);
      await this.#authorize(socket, record);
      await this.#tools.handler()?.(socket);
      if (!native.isConnected(socketId)) {
        describe(record, socket);
        profile = this.#tools.profileOf(socket);
        socket.user = users.of(socketId);
      }
      native.accept(key, socketId, record.userId, record.username, profile);
    } catch (error) {
      const { message, data } = refusalOf(error);
      native.refuse(key, socketId, message, data);
    }
  }

  /** Asks whether the client may connect that middleware has let in. */
  #authorize(socket: AuthenticatedSocket, record: UserRecord): Promise<void> | undefined {
    const { authorization, users } = this.#tools;
    if (!authorization.asks('connect')) return undefined;
    const user = users.draft(describe({ ...record }, socket));
    return new Promise((resolve, reject) => {
      authorization.ask({ verb: 'connect', user, room: undefined, data: socket.handshake }, (refusal) => {
        if (refusal === undefined) resolve();
        else reject(Object.assign(new Error(refusal), { data: { code: 'ERR_FORBIDDEN' } }));
      });
    });
  }
}

/** Fills a record in with what middleware has said of a socket. */
function describe(record: UserRecord, socket: AuthenticatedSocket): UserRecord {
  const username = socket.user?.username ?? socket.handshake.query.username;
  return Object.assign(record, {
    userId: String(socket.userId ?? record.socketId),
    username: typeof username === 'string' ? username : undefined,
    profile: socket.user,
  });
}

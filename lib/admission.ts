// Asks middleware, and an overridden `handleConnection`, about connections, and tells the native side what they say.

import type { AuthenticatedSocket, SocketMiddleware } from '../index.js';
import type { NativeService } from '../binding.js';
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
    this.#tools.native.setAdmits(this.#middleware.length > 0 || this.#tools.handler() !== undefined);
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
      await this.#tools.handler()?.(socket);
      if (!native.isConnected(socketId)) {
        const username = socket.user?.username ?? socket.handshake.query.username;
        record.userId = String(socket.userId ?? socketId);
        record.username = typeof username === 'string' ? username : undefined;
        record.profile = socket.user;
        profile = this.#tools.profileOf(socket);
        socket.user = users.of(socketId);
      }
      native.accept(key, socketId, record.userId, record.username, profile);
    } catch (error) {
      const { message, data } = refusalOf(error);
      native.refuse(key, socketId, message, data);
    }
  }
}

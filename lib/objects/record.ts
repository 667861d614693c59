// What user and room objects are made of.

import type { SocketUserDetails } from '../../index.js';

/** What a user is made of: one for each connection that JavaScript has been told of. */
export interface UserRecord {
  socketId: string;
  userId: string;
  username?: string | undefined;
  /** JSON, see `handshakeOf`. */
  handshake: string;
  /** Milliseconds since the epoch. */
  connectedAt: number;
  /** What `socket.user` holds besides. */
  profile?: SocketUserDetails | undefined;
}

/** What a room is made of, as the native side tells it. */
export interface RoomRecord {
  id: string;
  name: string;
  namespace: string;
  /** Milliseconds since the epoch. */
  createdAt: number;
  createdBy: string | null;
  /** JSON. */
  metadata: string | null;
}

/// <reference types="node" />

import { EventEmitter } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage, Server as HTTPServer } from 'node:http';
import type { Server as HTTPSServer } from 'node:https';
import type { ParsedUrlQuery } from 'node:querystring';

// ---------------------------------------------------------------------------------------------------------------------
// Shapes
// ---------------------------------------------------------------------------------------------------------------------

/**
 * A connected user: one object for each connection, not for each person.
 *
 * For as long as the connection lives, every read returns the same object, and what a caller sets on it stays.
 */
export interface SocketUser {
  /** The user id: `socket.userId` when a middleware or an override set it, else the socket id. */
  id: string;
  /** The Socket.IO id of the connection, 20 characters. */
  socketId: string;
  /** From `socket.user`, else from the handshake query. */
  username?: string;
  /** From `socket.user`, else from the handshake query. */
  email?: string;
  /** From `socket.user`. */
  roles?: string[];
  /** From `socket.user`; free for the application. */
  metadata?: Record<string, any>;
  /** When the connection was registered. */
  connectedAt: Date;
  /** When the client last sent an event. Heartbeats do not count. */
  lastActivity: Date;
  /**
   * With `connectionStateRecovery`: whether the client has lost its connection, and may come back. Always `false` for a socket
   * on another instance.
   */
  readonly isAway?: boolean;
}

/**
 * What the application says of the user of a connection, as it sets {@link AuthenticatedSocket.user}. Further fields are
 * kept as well; `id`, `socketId`, `connectedAt` and `lastActivity` are the service's own.
 */
export interface SocketUserDetails {
  username?: string | undefined;
  email?: string | undefined;
  roles?: string[] | undefined;
  metadata?: Record<string, any> | undefined;
  [field: string]: any;
}

/** A room of the registry. The same object is returned on every read until the room is deleted. */
export interface Room {
  /** UUID v4. */
  id: string;
  name: string;
  /** A label to filter by, `'default'` unless given. It is not a Socket.IO namespace. */
  namespace: string;
  /** Socket ids of the members. Live: a held reference shows later joins and leaves. */
  members: Set<string>;
  /** As given to {@link WebSocketService.createRoom}. */
  metadata?: Record<string, any>;
  createdAt: Date;
  /** As given to {@link WebSocketService.createRoom}. */
  createdBy?: string;
}

/** What a message holds; anything else is refused. */
export type MessageType = 'text' | 'image' | 'file' | 'system';

/** A message of a room. The same object is returned on every read for as long as the history keeps it. */
export interface Message {
  /** UUID v4. */
  id: string;
  roomId: string;
  /** The user id of the sender. */
  userId: string;
  /** The name of the sender, when the sender was connected and has one. */
  username?: string;
  content: string;
  type: MessageType;
  metadata?: Record<string, any>;
  /** When the server stored it. On the wire: ISO 8601 with milliseconds. */
  timestamp: Date;
  /** Set by the application. */
  edited?: boolean;
  /** Set by the application. */
  editedAt?: Date;
}

/** Narrows who receives a broadcast. Options given together all hold. */
export interface BroadcastOptions {
  /** Socket ids that receive nothing. */
  except?: string[] | undefined;
  /** Only sockets of these user ids. */
  users?: string[] | undefined;
  /** Only members of the room with this id. */
  room?: string | undefined;
  /** Only members of rooms with this label. */
  namespace?: string | undefined;
  /** Accepted for compatibility; not used. */
  metadata?: Record<string, any> | undefined;
}

/** See {@link WebSocketService.getStats}. */
export interface ConnectionStats {
  /** Connections since the service was made. */
  totalConnections: number;
  /** Connections at this moment. */
  activeConnections: number;
  /** Rooms at this moment. */
  totalRooms: number;
  /** Chat messages stored in the last 60 s. */
  messagesPerMinute: number;
  /** Payload bytes of the last 60 s, both directions. */
  bytesPerMinute: number;
  /** Mean round-trip time of the live connections in milliseconds; 0 with no connection. */
  avgLatency: number;
  /**
   * Acknowledgements that were waited for no longer because their client owed more than `limits.pendingAcks`; only once there
   * is one.
   */
  expiredAcks?: number;
  /** How often clients went beyond a bound, by its name; only once one did. */
  exceeded?: { [limit in LimitName]?: number };
  /** How it stands with the cluster; only with `redis`. */
  cluster?: ClusterState;
}

/**
 * - `connecting`: the cluster has not been joined yet; the service works on its own until then
 * - `ready`: everything that the others know is known here
 * - `degraded`: Redis is away; local clients notice nothing, what is for other servers waits
 */
export type ClusterStatus = 'connecting' | 'ready' | 'degraded';

/** See {@link ConnectionStats.cluster}. Counts are since the service was made. */
export interface ClusterState {
  status: ClusterStatus;
  /** The name of this instance among the servers. */
  uid: string;
  /** Living instances of this package, this one included. Node.js servers are not counted. */
  instances: number;
  /** Publications that wait for Redis at this moment. */
  queued: number;
  /** Publications that were dropped because too many waited, the oldest first. */
  dropped: number;
  /** Publications of other instances that never arrived; what they said of sockets and rooms was asked for again. */
  lost: number;
  /** Messages on the channels of the cluster that could not be read. */
  ignored: number;
  /** Publications that Redis has taken. */
  published: number;
  /** Messages that came from other servers. */
  received: number;
}

/**
 * See {@link WebSocketService.getClusterStats}. Each figure is the sum over the instances, except `totalRooms`, which
 * is the same on all, and `avgLatency`, the mean over all connections.
 */
export interface ClusterStats extends Omit<ConnectionStats, 'cluster' | 'expiredAcks' | 'exceeded'> {
  /** Living instances, this one included; 1 without `redis`. */
  instances: number;
}

/** See {@link WebSocketService.getRoomStats}. */
export interface RoomStats {
  roomId: string;
  memberCount: number;
  /** Messages that the history keeps. */
  messageCount: number;
  createdAt: Date;
  /** Time of the newest message, else of the creation of the room. */
  lastActivity: Date;
}

// ---------------------------------------------------------------------------------------------------------------------
// Sockets
// ---------------------------------------------------------------------------------------------------------------------

/** The request that opened the connection, as Socket.IO describes it. */
export interface Handshake {
  /** What the client passed as `auth`; `{}` if nothing. */
  auth: { [key: string]: any };
  /** Headers of the first request, names in lower case. */
  headers: IncomingHttpHeaders;
  /** Query of the first request, `EIO` and `transport` included. */
  query: ParsedUrlQuery;
  /** Address of the peer. */
  address: string;
  /** Date of the handshake as text. */
  time: string;
  /** Date of the handshake in milliseconds since the epoch. */
  issued: number;
  /** Whether the connection is over TLS. */
  secure: boolean;
  /** Whether the request carried an `Origin` header. */
  xdomain: boolean;
  /** Path and query of the first request. */
  url: string;
}

/** The reasons of Socket.IO. A disconnect made by a call on the service carries the reason given to that call instead. */
export type DisconnectReason =
  | 'transport close'
  | 'transport error'
  | 'ping timeout'
  | 'parse error'
  | 'client namespace disconnect'
  | 'server namespace disconnect'
  | (string & {});

/** The part of a socket, or of a set of sockets, that sends. */
export interface SocketEmitter {
  /**
   * Sends an event.
   *
   * @param event - not empty and not reserved by Socket.IO (`connect`, `disconnect`, ...)
   * @param args - anything that Socket.IO sends; a function in the last place is the acknowledgement callback
   */
  emit(event: string, ...args: any[]): boolean;
}

/** What sends to one socket and waits for its answer so long. */
export interface TimedEmitter extends SocketEmitter {
  /**
   * Sends an event; resolves with what the client answers.
   *
   * @throws {@link WebSocketServiceError} `ERR_TIMEOUT` (`operation has timed out`), when it has not answered in time
   */
  emitWithAck(event: string, ...args: any[]): Promise<any>;
}

/** The client events that every service answers by itself. Those of `relayEvents` are answered as well. */
export type BuiltInEvent = 'room:join' | 'room:leave' | 'room:history' | 'message' | 'typing' | 'document:edit';

/** A listener of {@link AuthenticatedSocket.on}. */
export type SocketListener<E> = E extends 'disconnect' | 'disconnecting'
  ? (reason: DisconnectReason, description?: any) => void
  : E extends BuiltInEvent
    ? (data: any) => void
    : (...args: any[]) => void;

/** One connection, with the members of a Socket.IO server socket. */
export interface AuthenticatedSocket {
  /** 20 characters, unguessable; not the session id of the transport. */
  readonly id: string;
  /** Set it in a middleware, or before `super.handleConnection(socket)`, to give the connection its identity. */
  userId?: string;
  /**
   * Set it in a middleware, or before `super.handleConnection(socket)`: what is set describes the user. From the
   * registration on it is the object that {@link WebSocketService.getUser} returns.
   */
  get user(): SocketUser | undefined;
  set user(details: SocketUserDetails | undefined);
  /**
   * When what let the client in ends, in milliseconds since the epoch: the socket is disconnected then (`token expired`), and
   * the client does not come back by itself. {@link LimitsConfig.expiryNoticeMs} before, the client and the service get
   * `token:expiring` `{ expiresAt }`; a later time keeps the socket. `undefined` for never. May be set by middleware, or at
   * any time later.
   * @throws TypeError `ERR_INVALID_ARGUMENT`
   */
  expiresAt: number | undefined;
  /** The socket's own id, ids of rooms of the registry and plain Socket.IO rooms. */
  readonly rooms: Set<string>;
  /** Free for the application. */
  data: any;
  readonly handshake: Handshake;
  /** `false` in a middleware, while the client is away, and after the disconnect. */
  readonly connected: boolean;
  /**
   * With `connectionStateRecovery`: whether the client has lost its connection and come back. `disconnect` is emitted when it
   * loses it; the socket, its listeners, rooms and `data` stay.
   */
  readonly recovered: boolean;

  /**
   * Sends an event to this client.
   *
   * @param event - not empty and not reserved by Socket.IO
   * @param args - anything that Socket.IO sends; a function in the last place is called with the client's answer,
   * and with an error first after {@link AuthenticatedSocket.timeout}. Of more than `limits.pendingAcks` answers that the client
   * owes, the oldest are waited for no longer: with a timeout the error has `code: 'ERR_TIMEOUT'`, without one the function is
   * never called. An answer that is nested too deep counts as an error with `code: 'ERR_INVALID_ARGUMENT'`.
   * @throws TypeError `ERR_INVALID_ARGUMENT`, also for a value that is nested deeper than {@link LimitsConfig.maxDepth};
   * then nothing was sent and no answer is waited for
   */
  emit(event: string, ...args: any[]): boolean;

  /**
   * Sends an event; resolves with the first argument of the client's answer. Without an answer it stays pending, see
   * {@link AuthenticatedSocket.timeout}.
   */
  emitWithAck(event: string, ...args: any[]): Promise<any>;

  /**
   * Listens to a client's event. The last argument is a function when the client asked for an acknowledgement, except
   * for the events that the service answers itself: {@link BuiltInEvent} and those of `relayEvents`, of which the
   * listener gets the data alone, whether or not the service could do what they ask.
   *
   * `disconnecting` comes while the socket goes and its rooms are still there, `disconnect` after it.
   */
  on<E extends string>(event: E, listener: SocketListener<E>): this;
  once<E extends string>(event: E, listener: SocketListener<E>): this;
  off<E extends string>(event: E, listener: SocketListener<E>): this;

  /** Every client event that reaches JavaScript, before its own listeners. */
  onAny(listener: (event: string, ...args: any[]) => void): this;

  /** Joins a room of the registry (by id) or a plain Socket.IO room (any other name). */
  join(room: string | string[]): Promise<void> | void;
  leave(room: string | string[]): Promise<void> | void;

  /** The members of a room, without this socket. A member of several of the rooms is addressed once. */
  to(room: string | string[]): SocketEmitter;

  /**
   * The acknowledgement callback of the next `emit` is called with an error, `ERR_TIMEOUT`, when the client has not
   * answered in time.
   *
   * @param ms - milliseconds
   */
  timeout(ms: number): TimedEmitter;

  /** The next `emit` may be lost if the client is not ready to receive. */
  readonly volatile: SocketEmitter;

  /**
   * @param close - `true`: close the transport; otherwise only the Socket.IO connection is ended
   */
  disconnect(close?: boolean): this;
}

/**
 * What {@link WebSocketService.handleConnection} takes: a socket of `socket.io`, an `EventEmitter` that stands for one in
 * a test, or less. Only what is there is used.
 */
export interface SocketLike {
  /** Not empty, and of no other connection. */
  readonly id: string;
  /** Its text is the user id; that of the socket when it is missing. */
  userId?: any;
  /** After the registration, the user itself is set here. */
  user?: any;
  /** As of an {@link AuthenticatedSocket}; read when the socket is registered. */
  expiresAt?: any;
  /** `query` may hold `username` and `email`. Must be JSON. */
  readonly handshake?:
    | {
        readonly auth?: any;
        readonly headers?: any;
        readonly query?: any;
        readonly address?: any;
        readonly secure?: any;
        readonly issued?: any;
      }
    | undefined;
  readonly rooms?: any;
  data?: any;
  /** Is handed what is sent to the socket. */
  emit?(event: string, ...args: any[]): unknown;
  /** Events that the object emits itself are taken for those of its client; `disconnect` ends the connection. */
  on?(event: string, listener: (...args: any[]) => void): unknown;
  /** Called when the socket joins a room of the registry by a call of the service. */
  join?(room: string): unknown;
  leave?(room: string): unknown;
}

/**
 * What {@link BroadcastOperator.fetchSockets} finds. A socket of this instance is its {@link AuthenticatedSocket}; of
 * one on another server this is how it was when it was asked for, and what is done to it is done there.
 */
export interface RemoteSocket {
  readonly id: string;
  readonly handshake: Handshake;
  readonly rooms: Set<string>;
  /** What the application keeps there, as JSON brings it here. */
  data: any;

  /**
   * Sends an event to this client.
   *
   * @param event - not empty and not reserved by Socket.IO
   * @param args - anything that Socket.IO sends; for an acknowledgement, see {@link RemoteSocket.timeout}
   */
  emit(event: string, ...args: any[]): boolean;

  /**
   * The next `emit` may end with a callback `(err, response)`; `emitWithAck` gives the response, or rejects.
   *
   * @param ms - milliseconds to wait for the client, 0 to 2147483647
   */
  timeout(ms: number): TimedEmitter;

  /** Joins a room of the registry (by id) or a plain Socket.IO room. */
  join(room: string | string[]): Promise<void> | void;
  leave(room: string | string[]): Promise<void> | void;

  /**
   * @param close - `true`: close the transport; otherwise only the Socket.IO connection is ended
   */
  disconnect(close?: boolean): this;
}

/**
 * A selection of sockets of all servers, and how they are to be reached. Each step gives a new one, so that one may be
 * kept and used again. Rooms are those of Socket.IO: rooms of the registry (by id), plain rooms, and the room of its
 * own id that every socket is in. Without a room, or with an empty array, everyone is meant.
 *
 * Without `redis` there are no other servers. All methods throw, or reject, with {@link WebSocketServiceError}
 * `ERR_CLOSED` after the shutdown.
 *
 * @example
 * ```ts
 * wsService.to('room1').except(socketId).emit('news', { read: false });
 * const answers = await wsService.in('room1').timeout(1000).emitWithAck('question');
 * ```
 */
export interface BroadcastOperator {
  /** Members of these rooms as well. A member of several is addressed once. */
  to(room: string | string[]): BroadcastOperator;
  /** The same as {@link BroadcastOperator.to}. */
  in(room: string | string[]): BroadcastOperator;
  /** No members of these rooms. */
  except(room: string | string[]): BroadcastOperator;

  /** What is emitted may be lost where a client is not ready to receive. */
  readonly volatile: BroadcastOperator;
  /** Only sockets of this instance. */
  readonly local: BroadcastOperator;

  /**
   * How long clients may take to acknowledge. Without it no acknowledgement can be asked for.
   *
   * @param ms - milliseconds, 0 to 2147483647
   */
  timeout(ms: number): BroadcastOperator;

  /**
   * Sends an event.
   *
   * @param event - not empty and not reserved by Socket.IO
   * @param args - anything that Socket.IO sends. After {@link BroadcastOperator.timeout} a function in the last place
   * is called once, with `(null, responses)` when every client has answered, or with `(err, responses)` when some have
   * not in time; `responses` are the first arguments of the acknowledgements that came, in the order in which they did
   * @returns true
   * @throws TypeError `ERR_INVALID_ARGUMENT`, also for a callback without a timeout
   */
  emit(event: string, ...args: any[]): boolean;

  /**
   * As `emit` with a callback.
   *
   * @throws {@link WebSocketServiceError} `ERR_TIMEOUT` (`operation has timed out`), when some clients have not
   * answered in time; `err.responses` are the answers that came
   */
  emitWithAck(event: string, ...args: any[]): Promise<any[]>;

  /**
   * The sockets that are meant, those of this instance first.
   *
   * @throws {@link WebSocketServiceError} `ERR_TIMEOUT`, when a server has not answered within `redis.requestsTimeout`
   */
  fetchSockets(): Promise<RemoteSocket[]>;

  /** Makes the sockets join rooms: of the registry (by id), as `joinRoom` does, or plain ones. */
  socketsJoin(room: string | string[]): void;
  /** Makes the sockets leave rooms. */
  socketsLeave(room: string | string[]): void;

  /**
   * Disconnects the sockets, with the reason `server namespace disconnect`.
   *
   * @param close - `true`: close the transports; otherwise only the Socket.IO connections are ended
   */
  disconnectSockets(close?: boolean): void;
}

/**
 * A handshake middleware.
 *
 * `next()` lets the connection in. `next(err)`, a throw or a rejection refuses it: the client gets `connect_error` with
 * `err.message` and `err.data`. One that never calls `next` is refused after `connectTimeout`.
 */
export type SocketMiddleware = (
  socket: AuthenticatedSocket,
  next: (err?: Error & { data?: any }) => void,
) => void | Promise<void>;

// ---------------------------------------------------------------------------------------------------------------------
// Configuration
// ---------------------------------------------------------------------------------------------------------------------

/**
 * An origin as the npm package `cors` takes it: `'*'` or `true` lets every page in, `false` no page but the server's
 * own, and a string, a RegExp or a list those that match. The flags `g` and `y` of a RegExp do no harm.
 */
export type CorsStaticOrigin = boolean | string | RegExp | Array<boolean | string | RegExp>;

/**
 * Decides for each request, and for each upgrade of a strange page; the result is taken like a
 * {@link CorsStaticOrigin}. An error, a throw, a rejection, or no answer within `connectTimeout` refuses and is logged.
 */
export type CorsCustomOrigin = (
  requestOrigin: string | undefined,
  callback: (err: Error | null, origin?: CorsStaticOrigin) => void,
) => void;

/** As the npm package `cors` defines. */
export interface CorsConfig {
  /**
   * Which pages may use the service. A request of another page loses its headers, so that the browser keeps the answer
   * from the page; a WebSocket upgrade of another page is refused with 400 `Forbidden`, since browsers ask nobody about
   * those. An upgrade without an `Origin` header, or of a page of the very host in the `Host` header, is always let in.
   * @defaultValue `'*'`
   */
  origin?: CorsStaticOrigin | CorsCustomOrigin | undefined;
  /** @defaultValue `true` when `cors` is absent, else `false` */
  credentials?: boolean | undefined;
  /** @defaultValue `'GET,HEAD,PUT,PATCH,POST,DELETE'` */
  methods?: string | string[] | undefined;
  /** Default: what the request asks for. */
  allowedHeaders?: string | string[] | undefined;
  /** Default: none. */
  exposedHeaders?: string | string[] | undefined;
  /** Seconds that a preflight answer may be cached. Default: no header. */
  maxAge?: number | undefined;
  /**
   * Whether a preflight request is treated like other requests after its headers are set, as with Socket.IO.
   * @defaultValue `false`
   */
  preflightContinue?: boolean | undefined;
  /**
   * Status of the answer to a preflight request.
   * @defaultValue `204`
   */
  optionsSuccessStatus?: number | undefined;
}

/** An address of a Redis server, a node of a Redis Cluster, or a sentinel. */
export interface RedisNode {
  /** Host name or IP address. */
  host: string;
  /** TCP port, 1 to 65535. */
  port: number;
}

/** TLS towards Redis. Certificates and keys are PEM, as a string or a `Buffer`. */
export interface RedisTlsOptions {
  /** Certificates of the authorities to trust. Default: those of the system. */
  ca?: string | Buffer | undefined;
  /** Certificate chain of this client, for servers that ask for one; together with `key`. */
  cert?: string | Buffer | undefined;
  /** Private key of this client, without a passphrase; together with `cert`. */
  key?: string | Buffer | undefined;
  /** Name that the certificate must have, and that is sent as SNI, instead of the host. */
  servername?: string | undefined;
  /**
   * `false` accepts any certificate, which lets anyone in between read and change everything.
   * @defaultValue `true`
   */
  rejectUnauthorized?: boolean | undefined;
}

/** Sentinels that know which server is the master. `tls` of {@link RedisConfig} holds for them as well. */
export interface RedisSentinelOptions {
  /** Name of the master among the sentinels. */
  name: string;
  /** At least one. All are asked at once, whenever a connection is made. */
  nodes: RedisNode[];
  /** ACL user of the sentinels themselves. */
  username?: string | undefined;
  /** Password of the sentinels themselves. Default: none, also when `password` is given. */
  password?: string | undefined;
}

/**
 * Redis, over which several instances and Node.js servers with `@socket.io/redis-adapter` form one cluster. Redis 6.2
 * or newer. One of `host` and `port`, `url`, `cluster` and `sentinel` says where it is; the environment completes what
 * is missing, but never switches Redis on by itself.
 *
 * A field that is unknown, of a wrong type, or in conflict with another throws a `TypeError` with the code
 * `ERR_INVALID_ARGUMENT` that names it and never shows a password. That Redis cannot be reached is no error of the
 * constructor: local clients are served, and the connection is made when Redis comes.
 *
 * A user of an ACL needs the commands PING, PUBLISH, SUBSCRIBE, PSUBSCRIBE, PUBSUB, those of hashes and streams, ROLE
 * with sentinels and CLUSTER on a cluster; the keys and channels that start with `keyPrefix`; and, since Redis compares
 * patterns letter by letter, the channel pattern `<keyPrefix>#/#*` exactly so.
 */
export interface RedisConfig {
  /** Environment `REDIS_HOST`, then `localhost`. Not together with `url`, `cluster` or `sentinel`. */
  host?: string | undefined;
  /** Environment `REDIS_PORT`, then 6379. Not together with `url`, `cluster` or `sentinel`. */
  port?: number | undefined;
  /** ACL user. Default: the default user. */
  username?: string | undefined;
  /** Environment `REDIS_PASSWORD`, then none. An empty string is none. */
  password?: string | undefined;
  /**
   * Number of the database that holds the keys, 0 to 255; only 0 on a Redis Cluster. Channels have none: instances
   * with different databases hear each other.
   * @defaultValue `0`
   */
  db?: number | undefined;
  /**
   * TLS, with the certificates of the system or as given.
   * @defaultValue `false`; `true` with a `rediss://` URL
   */
  tls?: boolean | RedisTlsOptions | undefined;
  /**
   * `redis://user:password@host:port/db`, or `rediss://` for TLS. Special characters in user and password are
   * percent-encoded. Not together with `host`, `port`, `username`, `password`, `db`, `cluster` or `sentinel`.
   */
  url?: string | undefined;
  /**
   * Start of every channel and key; the same as `key` of `@socket.io/redis-adapter`.
   * @defaultValue `'socket.io'`
   */
  keyPrefix?: string | undefined;
  /** Nodes of a Redis Cluster; the others are learnt from them. Not together with `sentinel`. */
  cluster?: RedisNode[] | undefined;
  /** Sentinels instead of an address. Not together with `cluster`. */
  sentinel?: RedisSentinelOptions | undefined;
  /**
   * Milliseconds between two signs of life of an instance, at least 100. One that is silent for three of them is gone,
   * and its users leave.
   * @defaultValue `2000`
   */
  heartbeatInterval?: number | undefined;
  /**
   * Milliseconds that Redis may take to be found, accept a connection and answer for the first time, all together, and
   * later to answer. Then the connection is made anew.
   * @defaultValue `5000`
   */
  responseTimeout?: number | undefined;
  /**
   * Milliseconds that a question to the other servers may stay unanswered.
   * @defaultValue `5000`
   */
  requestsTimeout?: number | undefined;
  /**
   * Publications that may wait while Redis is away. Beyond it the oldest are dropped and counted.
   * @defaultValue `100000`
   */
  maxQueuedMessages?: number | undefined;
  /**
   * Bytes that may wait while Redis is away. Beyond it the oldest are dropped and counted.
   * @defaultValue `67108864` (64 MiB)
   */
  maxQueuedBytes?: number | undefined;
}

/** How much of each room's history is kept. Every limit is unlimited by default. */
export interface HistoryConfig {
  /**
   * Messages for each room; the oldest go first. `0` keeps none.
   * @defaultValue `Infinity`
   */
  maxMessagesPerRoom?: number | undefined;
  /**
   * Milliseconds.
   * @defaultValue `Infinity`
   */
  maxAgeMs?: number | undefined;
  /**
   * Keep the messages of each room in Redis as well, so that they survive the restart of all instances. Needs the
   * option `redis`; a `TypeError` without it.
   * @defaultValue `false`
   */
  persist?: boolean | undefined;
}

/** Presence of users. */
export interface PresenceConfig {
  /**
   * `true`: `user:status` `{ userId, status }` goes to everyone when a user's first socket comes (`online`) or its
   * last one goes (`offline`).
   * @defaultValue `false`
   */
  broadcast?: boolean | undefined;
}

/** A bound as it is counted: the name of an option of {@link LimitsConfig}, or of one of the two others. */
export type LimitName =
  | Exclude<
      keyof LimitsConfig,
      | 'trustProxy'
      | 'preset'
      | 'eventsBurst'
      | 'eventsBurstPerUser'
      | 'pendingAcks'
      | 'stallMs'
      | 'headersTimeoutMs'
      | 'maxHeaderBytes'
      | 'expiryNoticeMs'
    >
  | 'maxHttpBufferSize'
  | 'connectTimeout';

/**
 * Bounds on what clients may use; docs/security.md has them in one table. How often clients went beyond each is counted in
 * {@link ConnectionStats.exceeded}.
 *
 * A refused handshake is answered with 429, when it is one address that goes beyond a bound, or 503, and `Retry-After`; the
 * service emits `connection_error`. An event beyond a bound is not looked at: the first of a second is answered with `error`
 * and a failed acknowledgement (`ERR_LIMIT_EXCEEDED`), the others of that second are ignored, and a client that goes on for
 * more than ten seconds in a row is closed (`forced server close`). Other clients that go beyond a bound are closed
 * (`transport error`).
 */
export interface LimitsConfig {
  /**
   * `'strict'`: other defaults, for services that anybody can reach; docs/security.md has them. The same as `limits: 'strict'`,
   * where others are given, too.
   */
  preset?: 'strict' | undefined;
  /**
   * Sessions at a time.
   * @defaultValue `Infinity`
   */
  maxConnections?: number | undefined;
  /**
   * Sessions at a time from one address; of IPv6, from the same 64 bits. Over a Unix socket there is none.
   * @defaultValue `Infinity`
   */
  connectionsPerAddress?: number | undefined;
  /**
   * Handshakes a second; as many may come at once.
   * @defaultValue `Infinity`
   */
  handshakesPerSecond?: number | undefined;
  /**
   * Handshakes a second from one address; as many may come at once.
   * @defaultValue `Infinity`
   */
  handshakesPerSecondPerAddress?: number | undefined;
  /**
   * Whose `X-Forwarded-For` says which address a client has, as in Express: the number of proxies in front of the service, or
   * their addresses and networks (`'loopback'`, `'linklocal'`, `'uniquelocal'`, `'10.0.0.0/8'`), as an array or separated by
   * commas; `true` for everybody's, which any client can write. It counts for these limits alone: `handshake.address` is
   * always that of the connection.
   * @defaultValue `false`
   */
  trustProxy?: boolean | number | string | string[] | undefined;
  /**
   * Events a second of one socket.
   * @defaultValue `Infinity`
   */
  eventsPerSecond?: number | undefined;
  /** Events that a socket may send at once. Default: those of a second. */
  eventsBurst?: number | undefined;
  /**
   * Events a second of all sockets of one user on this instance.
   * @defaultValue `Infinity`
   */
  eventsPerSecondPerUser?: number | undefined;
  /** Events that they may send at once. Default: those of a second. */
  eventsBurstPerUser?: number | undefined;
  /**
   * Rooms that a socket may be in when its client asks to join one more: `ERR_LIMIT_EXCEEDED`. The server may have it join
   * any number.
   * @defaultValue `1000`
   */
  roomsPerSocket?: number | undefined;
  /**
   * Acknowledgements that are awaited from one client; beyond it the oldest expire.
   * @defaultValue `10000`
   */
  pendingAcks?: number | undefined;
  /**
   * Bytes that may wait for one client. With more, the connection is closed when the client reads nothing for
   * `stallMs`; with four times as much, at once. An awaited send waits while half of it or more waits for one of
   * those it was sent to.
   * @defaultValue `16777216` (16 MiB)
   */
  maxQueuedBytes?: number | undefined;
  /**
   * How long a client for which more than `maxQueuedBytes` wait may read nothing, and how long an awaited send waits
   * for slow clients at the most, in milliseconds.
   * @defaultValue `5000`
   */
  stallMs?: number | undefined;
  /**
   * Bytes that a client may send before its CONNECT is answered.
   * @defaultValue `1000000`
   */
  maxEarlyBytes?: number | undefined;
  /**
   * Bytes of all clients together: what they have sent and is not dealt with, and what waits for them, of which a broadcast
   * counts once for all who have yet to read it. The clients are weighed four times a second; above it the heaviest are
   * closed, until an eighth of it is free. `Infinity` for no bound.
   *
   * Default: half of the memory that the process may have.
   */
  maxTotalBytes?: number | undefined;
  /**
   * How long a message, or a packet with its attachments, may take from its first byte to its last, in milliseconds.
   * @defaultValue `300000`
   */
  messageTimeoutMs?: number | undefined;
  /**
   * With {@link WebSocketService.listen}: how long the head of a request may take, in milliseconds. Of an HTTP server of
   * Node.js it is `server.headersTimeout`.
   * @defaultValue `60000`
   */
  headersTimeoutMs?: number | undefined;
  /**
   * With {@link WebSocketService.listen}: how long the body of a request may take, in milliseconds; 408 after it. Of an HTTP
   * server of Node.js it is `server.requestTimeout`.
   * @defaultValue `300000`
   */
  bodyTimeoutMs?: number | undefined;
  /**
   * With {@link WebSocketService.listen}: bytes of the head of a request, 8,192 to 1,048,576; 431 with more. Of an HTTP server
   * of Node.js it is `maxHeaderSize`.
   * @defaultValue `32768`
   */
  maxHeaderBytes?: number | undefined;
  /**
   * How long before {@link AuthenticatedSocket.expiresAt} `token:expiring` is sent, in milliseconds.
   * @defaultValue `60000`
   */
  expiryNoticeMs?: number | undefined;
  /**
   * Arrays and objects within each other in one value, 1 to 1,000. A client's event or acknowledgement with more is
   * refused: the client gets `error` and a failed acknowledgement. A call with more throws or rejects with
   * `ERR_INVALID_ARGUMENT` and changes nothing. No bound at all would let one client's payload overflow the stack of
   * whoever sends it on.
   * @defaultValue `1000`
   */
  maxDepth?: number | undefined;
}

/**
 * Says whether a client may do something: `true`, or `false`, or why not. What is no `true` refuses, and so does a function
 * that throws, or does not answer within `connectTimeout`.
 *
 * @param user - the client's user; with `roles` and whatever else the application has set on it
 * @param room - where; `undefined` for `connect`
 * @param data - what the client sent, unchecked; for `connect` the handshake
 */
export type Authorizer = (user: SocketUser, room: Room | undefined, data: any) => boolean | string | Promise<boolean | string>;

/**
 * Who may do what. Each function is asked before anything is stored or sent, and after what needs no asking: that the room
 * exists, that the client is a member. What the client sends meanwhile waits for its turn. A refusal is answered with `error`
 * and a failed acknowledgement, both with `code: 'ERR_FORBIDDEN'` and the function's text as the message; of `connect`, with
 * `connect_error`. What the server does itself is not asked about. What is left out is allowed and costs nothing.
 */
export interface AuthorizeConfig {
  /** May connect; asked after the middleware. */
  connect?: Authorizer | undefined;
  /** May join a room: `room:join`. */
  join?: Authorizer | undefined;
  /** May send a chat message: `message`. */
  message?: Authorizer | undefined;
  /** May tell that it types: `typing`. */
  typing?: Authorizer | undefined;
  /** May send an event of `relayEvents`. */
  relay?: Authorizer | undefined;
  /** May read the messages of the room: `room:history`. */
  history?: Authorizer | undefined;
}

/** The cookie with the Engine.IO session id, for sticky load balancers. */
export interface CookieConfig {
  name: string;
  domain?: string | undefined;
  /** @defaultValue `encodeURIComponent` */
  encode?: ((value: string) => string) | undefined;
  expires?: Date | undefined;
  /** @defaultValue `true` */
  httpOnly?: boolean | undefined;
  /** Seconds. */
  maxAge?: number | undefined;
  partitioned?: boolean | undefined;
  /** @defaultValue `'/'` */
  path?: string | undefined;
  priority?: 'low' | 'medium' | 'high' | undefined;
  /** @defaultValue `'lax'` */
  sameSite?: boolean | 'lax' | 'strict' | 'none' | undefined;
  secure?: boolean | undefined;
}

/** Where the service logs to. `console` and pino both fit. */
export interface Logger {
  debug(...args: any[]): void;
  info(...args: any[]): void;
  warn(...args: any[]): void;
  error(...args: any[]): void;
}

/** A transport of Engine.IO. */
export type TransportName = 'polling' | 'websocket';

/** Clients that lose their connection and come back, as with Socket.IO. */
export interface ConnectionStateRecoveryConfig {
  /**
   * How long a client may be away, in milliseconds. Then its socket ends: it leaves its rooms, and `disconnect` is emitted.
   * @defaultValue `120_000`
   */
  maxDisconnectionDuration?: number | undefined;
  /**
   * Whether middleware, and `authorize.connect`, are not asked again. With `false` they are, with a new socket: the client
   * comes back to its own if that has the same `userId`.
   * @defaultValue `true`
   */
  skipMiddlewares?: boolean | undefined;
  /**
   * Bytes of packets that are kept for all clients together, each packet once; the oldest are given up first. Each client
   * that is away counts for 2 KiB of as many bytes again.
   * @defaultValue 64 MiB
   */
  maxBufferedBytes?: number | undefined;
}

/**
 * Options of {@link WebSocketService}. An unknown option, a wrong type or a value out of range throws a `TypeError`
 * that names the option, the value and what is allowed.
 */
export interface WebSocketConfig {
  /**
   * Path of the requests that belong to the service. Environment `WEBSOCKET_PATH` when absent.
   * @defaultValue `'/socket.io'`
   */
  path?: string | undefined;
  /** @defaultValue `{ origin: '*', credentials: true }` */
  cors?: CorsConfig | undefined;
  /** Several instances on one Redis. Default: none, a single instance. See {@link RedisConfig}. */
  redis?: RedisConfig | undefined;
  /**
   * Milliseconds to wait for the answer to a heartbeat. Environment `WEBSOCKET_PING_TIMEOUT` when absent.
   * @defaultValue `60000`
   */
  pingTimeout?: number | undefined;
  /**
   * Milliseconds between heartbeats. Environment `WEBSOCKET_PING_INTERVAL` when absent.
   * @defaultValue `25000`
   */
  pingInterval?: number | undefined;
  /**
   * Bytes of one message, as Socket.IO counts them: the text of an event is one, and so is each of its attachments; on
   * polling, a whole request. A larger one closes the connection; on polling the answer is 413.
   * @defaultValue `1000000`
   */
  maxHttpBufferSize?: number | undefined;
  /**
   * Transports that are offered; at least one.
   * @defaultValue `['polling', 'websocket']`
   */
  transports?: TransportName[] | undefined;
  /**
   * Whether a polling connection may upgrade.
   * @defaultValue `true`
   */
  allowUpgrades?: boolean | undefined;
  /**
   * Milliseconds before an unfinished upgrade is given up.
   * @defaultValue `10000`
   */
  upgradeTimeout?: number | undefined;
  /**
   * Milliseconds before a client that joined no namespace, or whose middleware does not answer, is closed.
   * @defaultValue `45000`
   */
  connectTimeout?: number | undefined;
  /**
   * Whether the client bundles are served under `path`.
   * @defaultValue `true`
   */
  serveClient?: boolean | undefined;
  /**
   * Whether Socket.IO v2 clients (Engine.IO protocol 3) are let in.
   * @defaultValue `false`
   */
  allowEIO3?: boolean | undefined;
  /** Decides on each handshake and upgrade before any state is made. A refusal is answered with 403. Default: all. */
  allowRequest?:
    | ((req: IncomingMessage, callback: (err: string | null | undefined, success: boolean) => void) => void)
    | undefined;
  /**
   * Cookie with the session id; `true` names it `io`.
   * @defaultValue `false`
   */
  cookie?: boolean | CookieConfig | undefined;
  /** @defaultValue `{ maxMessagesPerRoom: Infinity, maxAgeMs: Infinity }` */
  history?: HistoryConfig | undefined;
  /**
   * Whether a client may send `message` and `typing` only to rooms it is in.
   * @defaultValue `true`
   */
  requireMembership?: boolean | undefined;
  /**
   * Whether {@link WebSocketService.sendMessage} delivers the message to the members of its room. `false`: it stores the
   * message and emits `message` on the service, and no client of any server is sent anything; for applications that
   * broadcast their messages themselves. In a cluster the instance that is called decides. A message that a client sends
   * is delivered in any case.
   * @defaultValue `true`
   */
  deliverMessages?: boolean | undefined;
  /**
   * Client events that are passed on to the other members of the room in `data.roomId`; none of those that the service
   * handles itself, or that Socket.IO reserves.
   * @defaultValue `['document:edit']`
   */
  relayEvents?: string[] | undefined;
  /** @defaultValue `{ broadcast: false }` */
  presence?: PresenceConfig | undefined;
  /**
   * What the members of a room are told of those who come and go, where `createRoom` does not say.
   * @defaultValue `'each'`
   */
  membershipEvents?: MembershipEvents | undefined;
  /** Who may do what. Default: everybody everything. */
  authorize?: AuthorizeConfig | undefined;
  /**
   * Whether clients may send messages of the type `'system'`: `ERR_FORBIDDEN` otherwise.
   * @defaultValue `false`
   */
  allowSystemMessages?: boolean | undefined;
  /**
   * Lets clients come back that have lost their connection: they get what they missed, in order and once, and nobody else
   * notices. `true` for the defaults. See `docs/delivery.md`.
   * @defaultValue `false`
   */
  connectionStateRecovery?: boolean | ConnectionStateRecoveryConfig | undefined;
  /** Bounds on what clients may use; `'strict'` for services that anybody can reach. */
  limits?: LimitsConfig | 'strict' | undefined;
  /** Native threads, at least 1. Default: the number of cores. */
  workerThreads?: number | undefined;
  /** Default: the console, `warn` and above. */
  logger?: Logger | undefined;

  // --- Options of Socket.IO that are no choice here: what the service does anyway may be said ---

  /** WebSocket compression is not supported. */
  perMessageDeflate?: false | undefined;
  /** HTTP compression of long-polling is not supported. */
  httpCompression?: false | undefined;
  /** There is only the default namespace. */
  cleanupEmptyChildNamespaces?: false | undefined;
  /** Requests of `path` have a slash behind it. */
  addTrailingSlash?: true | undefined;
  /** An upgrade of another path is ended when nobody listens for upgrades, and otherwise left to who listens. */
  destroyUpgrade?: true | undefined;
  /** Milliseconds after which an upgrade for which nobody listens is ended. */
  destroyUpgradeTimeout?: 1000 | undefined;
  /** Several instances are connected by `redis`. */
  adapter?: undefined;
  /** Only the default parser is supported. */
  parser?: undefined;
  /** The WebSocket engine is native. */
  wsEngine?: undefined;
  /** The open packet carries nothing else. */
  initialPacket?: undefined;
}

// ---------------------------------------------------------------------------------------------------------------------
// Client protocol
// ---------------------------------------------------------------------------------------------------------------------

/**
 * What is wrong with a client's event.
 *
 * - `ERR_NOT_FOUND`: the room does not exist
 * - `ERR_NOT_A_MEMBER`: the client has not joined the room
 * - `ERR_INVALID_ARGUMENT`: the payload has the wrong shape
 * - `ERR_FORBIDDEN`: the application does not allow it, see {@link AuthorizeConfig}; or the room is private
 * - `ERR_LIMIT_EXCEEDED`: it goes beyond one of {@link LimitsConfig}
 * - `ERR_CLOSED`: the service has been shut down
 */
export type ClientErrorCode =
  | 'ERR_NOT_FOUND'
  | 'ERR_NOT_A_MEMBER'
  | 'ERR_INVALID_ARGUMENT'
  | 'ERR_FORBIDDEN'
  | 'ERR_LIMIT_EXCEEDED'
  | 'ERR_CLOSED';

/** What a client gets through the acknowledgement callback of `room:join`, `room:leave`, `message`, `typing`, ... */
export type ClientAcknowledgement =
  | { ok: true; [key: string]: any }
  | { ok: false; error: { code: ClientErrorCode; message: string } };

/** What a client gets as the event `error` when one of its events failed. */
export interface ClientError {
  message: string;
  code: ClientErrorCode;
  /** The event that failed. */
  event: string;
  /** The room that it named, if any. */
  roomId?: string;
}

// ---------------------------------------------------------------------------------------------------------------------
// Errors
// ---------------------------------------------------------------------------------------------------------------------

/**
 * - `ERR_NOT_FOUND`: the user or room does not exist
 * - `ERR_ALREADY_INITIALIZED`: `initialize` was called before
 * - `ERR_TIMEOUT`: not all clients or servers that were asked have answered in time; `responses` holds what came
 * - `ERR_CLOSED`: the service has been shut down
 * - `ERR_NATIVE`: the constructor; the system refuses what the native side needs, such as threads
 *
 * Only of the event `error`, with `redis`; none of them ends anything (docs/cluster.md):
 *
 * - `ERR_REDIS_UNREACHABLE`: Redis does not answer; told once per outage
 * - `ERR_REDIS_AUTH`: Redis refuses the password, or the user may not do something that is needed
 * - `ERR_REDIS_KEY`: a key of the cluster holds another type
 * - `ERR_REDIS`: Redis answers with another error, something else answers, or a certificate or key cannot be used
 * - `ERR_CLUSTER_MESSAGE`: something on the channels of the cluster cannot be read; told at most once a minute
 * - `ERR_CLUSTER_VERSION`: an instance of an incompatible version uses the same prefix
 */
export type WebSocketServiceErrorCode =
  | 'ERR_NOT_FOUND'
  | 'ERR_INVALID_ARGUMENT'
  | 'ERR_ALREADY_INITIALIZED'
  | 'ERR_TIMEOUT'
  | 'ERR_CLOSED'
  | 'ERR_NATIVE'
  | 'ERR_REDIS_UNREACHABLE'
  | 'ERR_REDIS_AUTH'
  | 'ERR_REDIS_KEY'
  | 'ERR_REDIS'
  | 'ERR_CLUSTER_MESSAGE'
  | 'ERR_CLUSTER_VERSION';

/**
 * Codes of the errors that loading the package throws:
 *
 * - `ERR_UNSUPPORTED_PLATFORM`: there is no addon for this platform
 * - `ERR_ADDON_NOT_LOADED`: there is one, but it was not installed, not built, or does not load
 */
export type LoadErrorCode = 'ERR_UNSUPPORTED_PLATFORM' | 'ERR_ADDON_NOT_LOADED';

/**
 * What the methods of {@link WebSocketService} reject with. Match `code`, never the text.
 *
 * A bad argument (an empty event name, a room id that is no string, an unknown message type) is a `TypeError` with
 * `code: 'ERR_INVALID_ARGUMENT'` instead.
 */
export class WebSocketServiceError extends Error {
  constructor(code: WebSocketServiceErrorCode, message: string);
  readonly code: WebSocketServiceErrorCode;
  /** With `ERR_TIMEOUT`: the answers that came. */
  responses?: any;
}

// ---------------------------------------------------------------------------------------------------------------------
// Service
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Events of {@link WebSocketService} with the arguments of their listeners. Those of one socket come in order.
 *
 * What a synchronous read shows (`getConnectedUsers`, `room.members`, `getStats`, ...) has been told by the time the
 * caller's next `await` continues. Only when listeners have been kept busy for a second, because more happens than they
 * can hear, timers and sockets come first until they have caught up.
 *
 * In a cluster each is emitted once, on the instance where it happened; for the sockets of an instance that is lost, on
 * one of the others. Under any other name, what {@link WebSocketService.serverSideEmit} of another server sends.
 */
export interface WebSocketServiceEvents {
  /** A client is connected and registered. */
  connection: [user: SocketUser];
  /** Exactly one for each `connection`, after it and after the `room:leave` of each of its rooms. */
  disconnect: [user: SocketUser, reason: DisconnectReason];
  /** A message was stored, and handed to the members of its room unless `deliverMessages` is `false`. */
  message: [message: Message];
  'room:join': [event: { user: SocketUser; room: Room }];
  'room:leave': [event: { user: SocketUser; room: Room }];
  typing: [event: { user: SocketUser; room: Room; isTyping: boolean }];
  'room:create': [room: Room];
  'room:delete': [room: Room];
  /** With `redis`: how it stands with the cluster has changed. */
  cluster: [status: ClusterStatus];
  /** A handshake was refused because of one of {@link LimitsConfig}. At most a hundred a second are told. */
  connection_error: [error: { code: 4; message: string; context: { limit: LimitName; address: string; status: 429 | 503 } }];
  /** With `connectionStateRecovery`: a client has lost its connection, and may come back. `disconnect` comes if it does not. */
  away: [user: SocketUser, reason: DisconnectReason];
  /** A client that was away, or whose connection had ended unnoticed, has come back to its socket. */
  recovered: [user: SocketUser];
  /** `expiresAt` of a socket of the user comes in {@link LimitsConfig.expiryNoticeMs}. Setting a later one keeps the socket. */
  'token:expiring': [event: { user: SocketUser; expiresAt: number }];
  /** Something failed that no call can report. Without a listener it is logged; it never throws. */
  error: [error: Error];
}

/** The name of an event: one of {@link WebSocketServiceEvents}, or one that the application itself emits. */
export type WebSocketServiceEventName = keyof WebSocketServiceEvents | (string & {}) | symbol;

/**
 * What the members of a room are told of those who come and go:
 *
 * - `'each'`: `user:joined` and `user:left`, of each. A room that `n` clients join costs `n²/2` events
 * - `'gathered'`: the same while there are at most 50 members; with more, once a second, when there was anything,
 *   `users:changed` `{ roomId, joined, left, count, timestamp }`: how many came and went, and how many there are
 * - `'none'`: nothing
 *
 * The service's own `room:join` and `room:leave` are emitted in any case.
 */
export type MembershipEvents = 'each' | 'gathered' | 'none';

/** What the service does with a room. */
export interface RoomOptions {
  /** Default: that of the service. */
  membershipEvents?: MembershipEvents | undefined;
  /**
   * Whether clients may come in only where `authorize.join` says so, or the server has them join: `ERR_FORBIDDEN` otherwise.
   * @defaultValue `false`
   */
  private?: boolean | undefined;
}

/** How {@link WebSocketService.shutdown} ends. */
export interface ShutdownOptions {
  /**
   * Milliseconds over which the ends of the clients are spread, so that they do not all come to the other instances at once.
   * They are served until then; new ones get 503. Added to the time that a shutdown takes.
   * @defaultValue `0`
   */
  drainMs?: number | undefined;
  /**
   * With `redis` and `connectionStateRecovery`: the clients' sockets do not end; other instances take them over as their
   * clients come there, and nothing is lost or told. This instance waits for up to 10 s more until the last one has gone; sockets
   * whose clients have not come back by then end. Without other instances it is as with `false`.
   * @defaultValue `false`
   */
  recover?: boolean | undefined;
}

/** Where {@link WebSocketService.listen} listens: `port`, or `path`. As of `net.Server.listen`. */
export interface ListenOptions {
  /** 0 lets the system choose one. */
  port?: number | undefined;
  /** A name or an address. Default: every address of the machine. */
  host?: string | undefined;
  /** A Unix socket instead of a port. */
  path?: string | undefined;
  /** TLS. Without it connections are plain. */
  tls?: TlsOptions | undefined;
  /**
   * Takes the requests for other paths than the service's. It need not listen itself. With `tls`, its requests have been
   * over TLS: `req.socket.encrypted` is true, and an `https.Server` is taken as well, of which the certificate is not used.
   */
  server?: HTTPServer | HTTPSServer | undefined;
  /** Connections that may wait to be accepted. Default 511. */
  backlog?: number | undefined;
  /** Whether other processes may listen on the same port, among which the system divides connections. Default false. */
  reusePort?: boolean | undefined;
}

/** A private key with its own passphrase. */
export interface TlsKey {
  /** PEM. */
  pem: string | Buffer;
  /** Default: that of {@link TlsOptions}. */
  passphrase?: string | undefined;
}

/**
 * TLS of a service that listens by itself. Certificates and keys are PEM, as Node.js takes it; each is given itself or as
 * the path of its file. RSA of 2048 bits and more, ECDSA with P-256 and P-384, and Ed25519.
 */
export interface TlsOptions {
  /**
   * The certificate, with those that lead to a known one behind it. Of several certificates, a client gets the first that it
   * can check: an array holds them in the order of preference.
   */
  cert?: string | Buffer | Array<string | Buffer> | undefined;
  /** The private key of each certificate, in any order. */
  key?: string | Buffer | Array<string | Buffer | TlsKey> | undefined;
  /**
   * Authorities: those who may vouch for clients (`requestCert`), and those between the certificate and a known one,
   * where `cert` does not hold them. Of those who vouch for clients, only such as vouch for themselves count.
   */
  ca?: string | Buffer | Array<string | Buffer> | undefined;
  /** A file in the place of `cert`. */
  certFile?: string | undefined;
  /** A file in the place of `key`. */
  keyFile?: string | undefined;
  /** A file in the place of `ca`. */
  caFile?: string | undefined;
  /** For keys that are encrypted. */
  passphrase?: string | undefined;
  /** Whether clients are asked for a certificate; needs `ca`. Default false. */
  requestCert?: boolean | undefined;
  /** With `requestCert`: `false` lets clients in that have none. One that does not hold is refused all the same. Default true. */
  rejectUnauthorized?: boolean | undefined;
  /** Protocols to agree on (ALPN), in the order of preference. Default `['http/1.1']`. */
  alpn?: string[] | undefined;
  /** Default `'TLSv1.2'`. */
  minVersion?: 'TLSv1.2' | 'TLSv1.3' | undefined;
  /**
   * Whether files are looked after: what they hold when they change is used for connections from then on. What cannot be used
   * is logged as an error, and the earlier certificate stays. Default false.
   */
  watch?: boolean | undefined;
}

/** Where a service listens: a port, or the Unix socket that was asked for. */
export type ListenAddress<O extends ListenOptions = ListenOptions> = O extends { path: string }
  ? { path: string }
  : { address: string; family: 'IPv4' | 'IPv6'; port: number };

/** The listener of an event. */
export type WebSocketServiceListener<E> = E extends keyof WebSocketServiceEvents
  ? (...args: WebSocketServiceEvents[E]) => void
  : (...args: any[]) => void;

/** The arguments of an event. */
export type WebSocketServiceEventArguments<E> = E extends keyof WebSocketServiceEvents
  ? WebSocketServiceEvents[E]
  : any[];

/**
 * Connections, rooms, messages and broadcasts for any Socket.IO v4 client.
 *
 * With `redis`, the instances of a cluster are like one big one: users, rooms and their members are those of all of
 * them, except where a method says otherwise.
 *
 * Every method that returns a promise rejects with {@link WebSocketServiceError}, and with a `TypeError` that has
 * `code: 'ERR_INVALID_ARGUMENT'` for a bad argument; a rejected call changes nothing.
 *
 * @example
 * ```ts
 * const httpServer = createServer();
 * const wsService = new WebSocketService({ path: '/socket.io' });
 * wsService.initialize(httpServer);
 * httpServer.listen(3000);
 * ```
 */
export class WebSocketService extends EventEmitter {
  /**
   * @throws TypeError `ERR_INVALID_ARGUMENT` naming the option, for an unknown option, a wrong type or a value out of
   * range
   */
  constructor(config?: WebSocketConfig);

  /**
   * Attaches to an HTTP or HTTPS server, before or after `listen`. Requests and upgrades of other paths are left alone.
   *
   * Without a server the service runs in mock mode: it warns once, everything works on memory, and broadcasts are
   * logged at `debug`.
   *
   * @throws {@link WebSocketServiceError} `ERR_ALREADY_INITIALIZED`, on a second call
   * @throws TypeError `ERR_INVALID_ARGUMENT`, for anything that is not an HTTP/1.1 server, and for a path that another
   * service serves on that server
   */
  initialize(httpServer?: HTTPServer | HTTPSServer): void;

  /**
   * Listens on a port of its own, beside {@link initialize} or without it: requests and WebSockets of the service's path
   * are served on native threads from the first byte on, so that new clients come in while JavaScript is busy. What needs
   * JavaScript waits for it: middleware, `handleConnection`, listeners of `connection`, `allowRequest`, an origin that is
   * a function or a RegExp, the client's bundle. Requests for other paths go to `server`; without it they get 404.
   *
   * May be called more than once. `shutdown()` closes the doors. Keeps the process alive until then.
   *
   * @returns where it listens
   * @throws TypeError `ERR_INVALID_ARGUMENT` naming the field
   * @throws Error as of `net.Server` (`EADDRINUSE`, `EACCES`, `ENOTFOUND`, …)
   * @throws {@link WebSocketServiceError} `ERR_CLOSED`, from the call of `shutdown()` on
   */
  listen<O extends ListenOptions>(options: O): Promise<ListenAddress<O>>;

  /**
   * Gives what listens with `tls` another certificate, as `tls.Server.setSecureContext` does: for connections from now on,
   * those that are there go on. All options are as given here; `watch` takes the place of an earlier one.
   *
   * @throws TypeError `ERR_INVALID_ARGUMENT` naming the field, and when nothing listens with `tls`; the earlier certificate
   * stays
   * @throws {@link WebSocketServiceError} `ERR_CLOSED`, after `shutdown()`
   */
  setSecureContext(options: TlsOptions): void;

  /**
   * Resolves when the cluster has been joined: everything that the other instances know is known here. Without `redis`
   * at once. The service works before that, too, on its own. Waits for as long as Redis is away.
   *
   * @throws {@link WebSocketServiceError} `ERR_CLOSED`, when the service is shut down before
   */
  ready(): Promise<void>;

  /**
   * Adds a handshake middleware; they run in the order in which they were added.
   *
   * @see {@link SocketMiddleware}
   */
  use(middleware: SocketMiddleware): this;

  /**
   * Registers a connection; happens for every client. An override in a subclass is called for every client, and its
   * rejection refuses the client. May be called by hand with any object of the shape; calling it twice with one does
   * nothing.
   *
   * @throws TypeError `ERR_INVALID_ARGUMENT`, for what is no socket, and for an id that another connection has
   */
  handleConnection(socket: SocketLike): Promise<void>;

  /**
   * Takes the user out of every room and out of the registry, emits `disconnect` once and disconnects the client, its
   * transport included, if it is still there. An unknown id: nothing happens.
   */
  handleDisconnection(socketId: string, reason?: string): Promise<void>;

  /** The user of a connection. What another instance tells of its users is what JSON keeps of `socket.user`. */
  getUser(socketId: string): SocketUser | undefined;

  /** One entry for each connection. */
  getConnectedUsers(): SocketUser[];

  /** Whether the user has at least one connection. */
  isUserOnline(userId: string): boolean;

  /** Socket ids of a user; `[]` if there is none. */
  getUserSockets(userId: string): string[];

  /** A connection of this instance itself, for custom client events with acknowledgements. */
  getSocket(socketId: string): AuthenticatedSocket | undefined;

  /**
   * Creates a room and emits `room:create`. In a cluster it resolves when the other instances have been told, or at
   * once when Redis is away.
   *
   * @param namespace - a label, `'default'` unless given
   * @param metadata - with `redis`, what JSON can hold; other instances see what it keeps
   * @param options - what the service does with the room; no part of the {@link Room}
   */
  createRoom(name: string, namespace?: string, createdBy?: string, metadata?: object, options?: RoomOptions): Promise<Room>;

  /** A room by its id. */
  getRoom(roomId: string): Room | undefined;

  /** All rooms, or those with a label, in the order of their creation. */
  listRooms(namespace?: string): Room[];

  /**
   * Adds a connection to a room: emits `room:join`, the other members get `user:joined`. Joining twice is once.
   *
   * @throws {@link WebSocketServiceError} `ERR_NOT_FOUND` (`User or room not found`)
   */
  joinRoom(socketId: string, roomId: string): Promise<void>;

  /**
   * Takes a connection out of a room: emits `room:leave`, the others get `user:left`. An unknown user or room: nothing
   * happens.
   */
  leaveRoom(socketId: string, roomId: string): Promise<void>;

  /** Deletes a room with its members and history and emits `room:delete`. An unknown room: nothing happens. */
  deleteRoom(roomId: string): Promise<void>;

  /** The users in a room; an unknown room: `[]`. */
  getRoomMembers(roomId: string): SocketUser[];

  /**
   * Stores a message, delivers `message` to every member of the room (unless `deliverMessages` is `false`) and emits
   * `message`.
   *
   * @param type - `'text'` unless given
   * @throws {@link WebSocketServiceError} `ERR_NOT_FOUND` (`Room not found`)
   */
  sendMessage(
    roomId: string,
    userId: string,
    content: string,
    type?: MessageType,
    metadata?: object,
  ): Promise<Message>;

  /**
   * Messages of a room, newest first; an unknown room: `[]`.
   *
   * @param limit - at most so many, 50 unless given
   * @param offset - skips so many of the newest, 0 unless given
   */
  getRoomMessages(roomId: string, limit?: number, offset?: number): Message[];

  /**
   * Sends an event to the members of a room.
   *
   * @throws {@link WebSocketServiceError} `ERR_NOT_FOUND` (`Room not found`)
   */
  broadcastToRoom(roomId: string, event: string, data: unknown, options?: BroadcastOptions): Promise<void>;

  /** Sends an event to every socket of each user, once even if ids repeat. */
  broadcastToUsers(userIds: string[], event: string, data: unknown): Promise<void>;

  /** Sends an event to everyone whom the options leave. */
  broadcastToAll(event: string, data: unknown, options?: BroadcastOptions): Promise<void>;

  /** Sends an event to one socket. An unknown id: nothing happens. */
  emitToSocket(socketId: string, event: string, data: unknown): Promise<void>;

  // --- Socket.IO's operators ---

  /** The members of these rooms on all servers. */
  in(room: string | string[]): BroadcastOperator;
  /** The same as {@link WebSocketService.in}. */
  to(room: string | string[]): BroadcastOperator;
  /** Everyone but the members of these rooms. */
  except(room: string | string[]): BroadcastOperator;
  /** Everyone who is ready to receive, see {@link BroadcastOperator.volatile}. */
  readonly volatile: BroadcastOperator;
  /** Everyone on this instance. */
  readonly local: BroadcastOperator;
  /** Everyone, see {@link BroadcastOperator.timeout}. */
  timeout(ms: number): BroadcastOperator;

  /** All sockets, see {@link BroadcastOperator.fetchSockets}. */
  fetchSockets(): Promise<RemoteSocket[]>;
  /** Makes all sockets join rooms, see {@link BroadcastOperator.socketsJoin}. */
  socketsJoin(room: string | string[]): void;
  /** Makes all sockets leave rooms, see {@link BroadcastOperator.socketsLeave}. */
  socketsLeave(room: string | string[]): void;
  /** Disconnects all sockets, see {@link BroadcastOperator.disconnectSockets}. */
  disconnectSockets(close?: boolean): void;

  /**
   * Names of the Socket.IO rooms that have members: rooms of the registry, plain rooms, and each socket's own id.
   *
   * @throws {@link WebSocketServiceError} `ERR_TIMEOUT`, when a server has not answered within `redis.requestsTimeout`
   */
  allRooms(): Promise<Set<string>>;

  /**
   * Emits an event on the services of the other servers, not on this one.
   *
   * @param event - not empty, and none of the service's own: those of {@link WebSocketServiceEvents}, any that begins
   * with `room:`, `newListener`, `removeListener`, and what Socket.IO reserves. A service ignores these and warns
   * @param args - what JSON can hold. A function in the last place is called once, with `(null, responses)` when every
   * other server has answered, or with `(err, responses)` when some have not within `redis.requestsTimeout`
   * @returns true
   */
  serverSideEmit(event: string, ...args: any[]): boolean;

  /**
   * As `serverSideEmit` with a callback; the listeners of the other servers get a function as their last argument. `[]`
   * without other servers.
   *
   * @throws {@link WebSocketServiceError} `ERR_TIMEOUT`, when some servers have not answered within
   * `redis.requestsTimeout`; `err.responses` are the answers that came
   */
  serverSideEmitWithAck(event: string, ...args: any[]): Promise<any[]>;

  /** Figures of this instance. */
  getStats(): ConnectionStats;

  /** Figures of all instances, those of others as they told them with their last heartbeat. */
  getClusterStats(): ClusterStats;

  /** Figures of a room; an unknown room: `null`. */
  getRoomStats(roomId: string): RoomStats | null;

  /**
   * Disconnects every socket of a user, transport included, and emits `disconnect` with the reason for each. The clients
   * are told and do not come back by themselves. Packets queued
   * before the call still reach the client.
   */
  disconnectUser(userId: string, reason?: string): Promise<void>;

  /**
   * Closes connections of this instance that have sent no event for so long (heartbeats do not count), with the reason
   * `inactive`. The clients are not told that they are disconnected: one that only listens comes back by itself.
   *
   * @param inactiveMinutes - minutes, 30 unless given
   * @returns how many were closed
   */
  cleanup(inactiveMinutes?: number): Promise<number>;

  /**
   * Shuts this instance down: stops accepting, emits `disconnect` (`server_shutdown`) for each user, delivers what is
   * queued and closes the transports and the HTTP server, within 10 s even if a client is stuck. The clients see
   * `transport close` or `transport error` and come back by themselves, here or to another instance. Until the promise
   * resolves, every call works or, where there is nothing left to do it with, does nothing; later ones fail with
   * `ERR_CLOSED`.
   *
   * Requests of others on the HTTP server are waited for up to 2 s. What is still open then, and what was upgraded by
   * others, is left to them and named in a warning. Afterwards nothing of the service keeps the process alive. May be
   * called again.
   */
  shutdown(options?: ShutdownOptions): Promise<void>;

  on<E extends WebSocketServiceEventName>(event: E, listener: WebSocketServiceListener<E>): this;
  once<E extends WebSocketServiceEventName>(event: E, listener: WebSocketServiceListener<E>): this;
  off<E extends WebSocketServiceEventName>(event: E, listener: WebSocketServiceListener<E>): this;
  addListener<E extends WebSocketServiceEventName>(event: E, listener: WebSocketServiceListener<E>): this;
  removeListener<E extends WebSocketServiceEventName>(event: E, listener: WebSocketServiceListener<E>): this;
  prependListener<E extends WebSocketServiceEventName>(event: E, listener: WebSocketServiceListener<E>): this;
  prependOnceListener<E extends WebSocketServiceEventName>(event: E, listener: WebSocketServiceListener<E>): this;
  emit<E extends WebSocketServiceEventName>(event: E, ...args: WebSocketServiceEventArguments<E>): boolean;
}

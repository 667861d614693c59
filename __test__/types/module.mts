// Types as seen from an ES module. Compiled, never run.

import { EventEmitter, once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer as createNetServer } from 'node:net';
import { WebSocketService, WebSocketServiceError } from 'native-websocket-service';
import type {
  AuthenticatedSocket,
  BroadcastOptions,
  ClientAcknowledgement,
  ConnectionStats,
  DisconnectReason,
  Handshake,
  Logger,
  Message,
  MessageType,
  Room,
  RoomOptions,
  RoomStats,
  ShutdownOptions,
  SocketLike,
  SocketMiddleware,
  SocketUser,
  TlsOptions,
  WebSocketConfig,
  WebSocketServiceErrorCode,
} from 'native-websocket-service';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(_equal: Equal<A, B>): void {}

// Signatures, as documented.
same<WebSocketService['handleConnection'], (socket: SocketLike) => Promise<void>>(true);
same<WebSocketService['handleDisconnection'], (socketId: string, reason?: string) => Promise<void>>(true);
same<WebSocketService['getUser'], (socketId: string) => SocketUser | undefined>(true);
same<WebSocketService['getConnectedUsers'], () => SocketUser[]>(true);
same<WebSocketService['isUserOnline'], (userId: string) => boolean>(true);
same<WebSocketService['getUserSockets'], (userId: string) => string[]>(true);
same<
  WebSocketService['createRoom'],
  (name: string, namespace?: string, createdBy?: string, metadata?: object, options?: RoomOptions) => Promise<Room>
>(true);
same<WebSocketService['setSecureContext'], (options: TlsOptions) => void>(true);
same<WebSocketService['getRoom'], (roomId: string) => Room | undefined>(true);
same<WebSocketService['listRooms'], (namespace?: string) => Room[]>(true);
same<WebSocketService['joinRoom'], (socketId: string, roomId: string) => Promise<void>>(true);
same<WebSocketService['leaveRoom'], (socketId: string, roomId: string) => Promise<void>>(true);
same<WebSocketService['deleteRoom'], (roomId: string) => Promise<void>>(true);
same<WebSocketService['getRoomMembers'], (roomId: string) => SocketUser[]>(true);
same<
  WebSocketService['sendMessage'],
  (roomId: string, userId: string, content: string, type?: MessageType, metadata?: object) => Promise<Message>
>(true);
same<WebSocketService['getRoomMessages'], (roomId: string, limit?: number, offset?: number) => Message[]>(true);
same<
  WebSocketService['broadcastToRoom'],
  (roomId: string, event: string, data: unknown, options?: BroadcastOptions) => Promise<void>
>(true);
same<WebSocketService['broadcastToUsers'], (userIds: string[], event: string, data: unknown) => Promise<void>>(true);
same<
  WebSocketService['broadcastToAll'],
  (event: string, data: unknown, options?: BroadcastOptions) => Promise<void>
>(true);
same<WebSocketService['emitToSocket'], (socketId: string, event: string, data: unknown) => Promise<void>>(true);
same<WebSocketService['getStats'], () => ConnectionStats>(true);
same<WebSocketService['getRoomStats'], (roomId: string) => RoomStats | null>(true);
same<WebSocketService['disconnectUser'], (userId: string, reason?: string) => Promise<void>>(true);
same<WebSocketService['cleanup'], (inactiveMinutes?: number) => Promise<number>>(true);
same<WebSocketService['shutdown'], (options?: ShutdownOptions) => Promise<void>>(true);
same<WebSocketService['getSocket'], (socketId: string) => AuthenticatedSocket | undefined>(true);

// Shapes.
same<MessageType, 'text' | 'image' | 'file' | 'system'>(true);
same<Room['members'], Set<string>>(true);
same<SocketUser['connectedAt'], Date>(true);
same<SocketUser['username'], string | undefined>(true);
same<Message['timestamp'], Date>(true);
same<Message['editedAt'], Date | undefined>(true);
same<RoomStats['lastActivity'], Date>(true);
same<AuthenticatedSocket['handshake'], Handshake>(true);

// Configuration.
const logger: Logger = console;
const config: WebSocketConfig = {
  path: '/socket.io',
  cors: { origin: ['https://example.com', /\.example\.org$/, true], credentials: true, methods: 'GET', maxAge: 5 },
  redis: {
    sentinel: { name: 'mymaster', nodes: [{ host: 'localhost', port: 26379 }], username: 'watcher', password: 'word' },
    username: 'me',
    password: process.env.REDIS_PASSWORD,
    db: 1,
    tls: { ca: 'PEM', cert: Buffer.from('PEM'), key: 'PEM', servername: 'redis.test', rejectUnauthorized: true },
    keyPrefix: 'chat',
    heartbeatInterval: 2000,
    responseTimeout: 5000,
    requestsTimeout: 5000,
    maxQueuedMessages: 100_000,
    maxQueuedBytes: 67_108_864,
  },
  pingTimeout: 60000,
  pingInterval: 25000,
  maxHttpBufferSize: 1e6,
  transports: ['polling', 'websocket'],
  allowUpgrades: true,
  upgradeTimeout: 1,
  connectTimeout: 1,
  serveClient: false,
  allowEIO3: true,
  allowRequest: (req, callback) => callback(req.url === undefined ? 'no url' : null, true),
  cookie: { name: 'io', sameSite: 'lax' },
  history: { maxMessagesPerRoom: 5, maxAgeMs: Infinity, persist: true },
  requireMembership: false,
  deliverMessages: false,
  relayEvents: ['document:edit'],
  presence: { broadcast: true },
  limits: { maxQueuedBytes: 1 },
  workerThreads: 1,
  logger,
};
const byFunction: WebSocketConfig = {
  cors: { origin: (origin, callback) => callback(null, origin?.endsWith('.example.com')) },
};
// @ts-expect-error an unknown option
const unknown: WebSocketConfig = { pingIntervall: 5 };
// @ts-expect-error an unknown transport
const transport: WebSocketConfig = { transports: ['webtransport'] };
// @ts-expect-error a wrong type
const wrong: WebSocketConfig = { pingTimeout: '5' };
void [config, byFunction, unknown, transport, wrong];

// Use.
const service = new WebSocketService(config);
service.initialize();
service.initialize(createServer());
service.initialize(createHttpsServer({}));
// @ts-expect-error no HTTP server
service.initialize(createNetServer());
// @ts-expect-error an unknown message type
void service.sendMessage('room', 'user', 'content', 'video');
const emitter: EventEmitter = service;
void once(service, 'connection');

// Events.
const chained: WebSocketService = service
  .on('connection', (user) => same<typeof user, SocketUser>(true))
  .once('disconnect', (user, reason) => {
    same<typeof user, SocketUser>(true);
    same<typeof reason, DisconnectReason>(true);
    const text: string = reason;
    void text;
  })
  .addListener('message', (message) => same<typeof message, Message>(true))
  .prependListener('room:join', ({ user, room }) => {
    same<typeof user, SocketUser>(true);
    same<typeof room, Room>(true);
  })
  .prependOnceListener('room:leave', ({ room }) => same<typeof room, Room>(true))
  .on('typing', ({ isTyping }) => same<typeof isTyping, boolean>(true))
  .on('room:create', (room) => same<typeof room, Room>(true))
  .on('room:delete', async (room) => void room.id)
  .on('error', (error) => same<typeof error, Error>(true))
  .on('an event of the application', (first, second) => void [first, second])
  .on(Symbol('another'), () => {})
  .off('connection', () => {})
  .removeListener('message', () => {});
// @ts-expect-error the message is no number
service.on('message', (message: number) => void message);
// @ts-expect-error too many arguments
service.on('connection', (user: SocketUser, more: string) => void [user, more]);
// @ts-expect-error the message is missing
service.emit('message');
service.emit('an event of the application', 1, 2, 3);
for (const event of ['message', 'connection'] as string[]) service.on(event, (...args) => void args);
void [chained, emitter];

// Sockets.
const middleware: SocketMiddleware = async (socket, next) => {
  const token: unknown = socket.handshake.auth.token;
  socket.userId = String(token);
  next(Object.assign(new Error('unauthorized'), { data: { code: 401 } }));
  next(new Error('plain'));
  next();
};
service.use(middleware).use((socket, next) => {
  socket.data.seen = true;
  next();
});
const socket = service.getSocket('id');
if (socket) {
  socket
    .on('disconnect', (reason) => same<typeof reason, DisconnectReason>(true))
    .on('sum', (a: number, b: number, answer: (sum: number) => void) => answer(a + b))
    .once('anything', (...args) => void args)
    .off('sum', () => {})
    .onAny((event, ...args) => void [event.length, args]);
  socket.emit('question', 1, (answer: string) => void answer);
  socket.timeout(5).emit('question', (error: Error | null, answer: string) => void [error, answer]);
  socket.volatile.emit('position', { x: 1 });
  socket.to('room').emit('hello');
  void socket.join('room');
  void socket.leave('room');
  socket.disconnect(true);
  // @ts-expect-error the id is not for writing
  socket.id = 'other';
}

// Subclasses.
class Application extends WebSocketService {
  override async handleConnection(connection: AuthenticatedSocket): Promise<void> {
    connection.userId = 'alice';
    return super.handleConnection(connection);
  }
  override async handleDisconnection(socketId: string, reason?: string): Promise<void> {
    return super.handleDisconnection(socketId, reason);
  }
}
new Application().initialize();

// Errors.
try {
  await service.joinRoom('socket', 'room');
} catch (error) {
  if (error instanceof WebSocketServiceError) {
    same<typeof error.code, WebSocketServiceErrorCode>(true);
    const found: boolean = error.code === 'ERR_NOT_FOUND';
    // @ts-expect-error no such code
    const other: boolean = error.code === 'ERR_NO_SUCH_CODE';
    void [found, other];
  }
}

const answer = {} as ClientAcknowledgement;
if (!answer.ok) void answer.error.code;

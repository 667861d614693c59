// What may stand for a socket, and what a socket may be told. Compiled, never run.

import { EventEmitter } from 'node:events';
import { createServer } from 'node:http';
import { Server, type Socket } from 'socket.io';
import { WebSocketService } from 'native-websocket-service';
import type { AuthenticatedSocket, RemoteSocket, SocketMiddleware, SocketUser } from 'native-websocket-service';

const service = new WebSocketService();

// Sockets of Socket.IO, also with typed events.
const io = new Server(createServer());
io.on('connection', (socket) => void service.handleConnection(socket));
interface Incoming {
  hello(name: string, ack: (answer: number) => void): void;
}
declare const typed: Socket<Incoming, { news(text: string): void }, {}, { n: number }>;
void service.handleConnection(typed);

// What tests put in the place of one.
class Double extends EventEmitter {
  userId?: string;
  rooms = new Set<string>();
  data = {};
  connected = true;
  handshake = { auth: {}, headers: {}, query: { username: 'Alice' }, address: '', secure: false, issued: 0, url: '/' };
  constructor(readonly id: string) {
    super();
  }
  join(): void {}
  leave(): void {}
  disconnect(): void {}
}
void service.handleConnection(new Double('id'));
void service.handleConnection({ id: 'id' });
void service.handleConnection({ id: 'id', userId: 5, user: { username: 'Alice', roles: ['admin'] }, emit() {} });
void service.handleConnection({ id: 'id', on: () => {}, handshake: { query: { username: 'Alice' } }, userId: undefined });
// @ts-expect-error an id is needed
void service.handleConnection({ userId: 'alice' });
// @ts-expect-error a text
void service.handleConnection('id');

// A method of the documented type overrides it, and takes its place.
class Application extends WebSocketService {
  override async handleConnection(socket: AuthenticatedSocket): Promise<void> {
    socket.user = { username: 'Alice' };
    await super.handleConnection(socket);
    const user: SocketUser | undefined = socket.user;
    void user;
  }
}
service.handleConnection = async (socket: AuthenticatedSocket) => void socket.userId;
const documented: (socket: AuthenticatedSocket) => Promise<void> = service.handleConnection;

// What is set describes the user; what is read is the user.
const middleware: SocketMiddleware = (socket, next) => {
  const since: Date | undefined = socket.user?.connectedAt;
  socket.user = { username: 'Alice', roles: ['admin'] };
  socket.user = { email: 'alice@example.com', metadata: { plan: 'gold' }, department: 'sales' };
  socket.user = undefined;
  // @ts-expect-error roles are a list
  socket.user = { roles: 'admin' };
  // @ts-expect-error no object
  socket.user = 'Alice';
  void since;
  next();
};

// Answers of clients.
declare const socket: AuthenticatedSocket, remote: RemoteSocket;
const answers: Promise<any>[] = [
  socket.emitWithAck('question', 1),
  socket.timeout(5).emitWithAck('question', 1),
  remote.timeout(5).emitWithAck('question', 1),
  service.timeout(5).emitWithAck('question', 1),
];

// The service answers its own events: their listeners get no acknowledgement.
socket
  .on('message', (data) => void data.roomId)
  .once('typing', () => {})
  .off('document:edit', (data) => void data)
  .on('sum', (a: number, b: number, ack: (sum: number) => void) => ack(a + b))
  .on('disconnecting', (reason) => void reason.length);
for (const event of ['message', 'sum'] as string[]) socket.on(event, (...args) => void args);
// @ts-expect-error no acknowledgement
socket.on('document:edit', (data: unknown, ack: () => void) => ack());
// @ts-expect-error no acknowledgement
socket.on('message', (data: unknown, ack: () => void) => ack());

void [Application, documented, middleware, answers];

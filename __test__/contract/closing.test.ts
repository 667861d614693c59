// Contract section 3: until the promise of `shutdown()` resolves, every call works or does nothing.

import { createServer, request, type Server } from 'node:http';
import { connect, listen, next, silentLogger, track, WebSocketService, type Service } from '../support/harness';
import { at, joined, newPrefix, startMember } from '../support/fleet';
import { sharedRedis } from '../support/redis';

const redis = sharedRedis();

/** Ids of a client and a room that were there when the shutdown began. */
interface Known {
  socketId: string;
  roomId: string;
  other: string;
}

/** What may be called on a service. */
const calls: Record<string, (service: Service, known: Known) => unknown> = {
  initialize: (service) => {
    const already = { code: 'ERR_ALREADY_INITIALIZED' };
    expect(() => service.initialize()).toThrow(expect.objectContaining(already));
  },
  shutdown: (service) => void service.shutdown(),
  ready: (service) => service.ready(),
  use: (service) => service.use((_socket, done) => done()),
  handleConnection: (service) => service.handleConnection({ id: 'by hand', on() {}, emit() {} } as any),
  handleDisconnection: (service, { socketId }) => service.handleDisconnection(socketId),
  getUser: (service, { socketId }) => service.getUser(socketId),
  getConnectedUsers: (service) => service.getConnectedUsers(),
  isUserOnline: (service, { socketId }) => service.isUserOnline(socketId),
  getUserSockets: (service, { socketId }) => service.getUserSockets(socketId),
  getSocket: (service, { socketId }) => service.getSocket(socketId),
  createRoom: (service) => service.createRoom('late'),
  getRoom: (service, { roomId }) => service.getRoom(roomId),
  listRooms: (service) => service.listRooms(),
  // Who is gone cannot join: that is the answer it always has.
  joinRoom: (service, { socketId, roomId }) =>
    service.joinRoom(socketId, roomId).catch((error) => expect(error.code).toBe('ERR_NOT_FOUND')),
  leaveRoom: (service, { socketId, roomId }) => service.leaveRoom(socketId, roomId),
  deleteRoom: (service, { other }) => service.deleteRoom(other),
  getRoomMembers: (service, { roomId }) => service.getRoomMembers(roomId),
  sendMessage: (service, { roomId, socketId }) => service.sendMessage(roomId, socketId, 'goodbye'),
  getRoomMessages: (service, { roomId }) => service.getRoomMessages(roomId),
  broadcastToRoom: (service, { roomId }) => service.broadcastToRoom(roomId, 'news', 1),
  broadcastToUsers: (service, { socketId }) => service.broadcastToUsers([socketId], 'news', 1),
  broadcastToAll: (service) => service.broadcastToAll('news', 1),
  emitToSocket: (service, { socketId }) => service.emitToSocket(socketId, 'news', 1),
  getStats: (service) => service.getStats(),
  getClusterStats: (service) => service.getClusterStats(),
  getRoomStats: (service, { roomId }) => service.getRoomStats(roomId),
  disconnectUser: (service, { socketId }) => service.disconnectUser(socketId),
  cleanup: (service) => service.cleanup(0),
  emit: (service) => (service as any).emit('own', 1),
  in: (service) => service.in('room').emit('news', 1),
  to: (service) => service.to('room').timeout(50).emitWithAck('news', 1),
  except: (service) => service.except('room').fetchSockets(),
  volatile: (service) => service.volatile.emit('news', 1),
  local: (service) => service.local.emit('news', 1),
  timeout: (service) => service.timeout(50).emit('news', 1, () => {}),
  fetchSockets: (service) => service.fetchSockets(),
  socketsJoin: (service) => service.socketsJoin('room'),
  socketsLeave: (service) => service.socketsLeave('room'),
  disconnectSockets: (service) => service.disconnectSockets(),
  allRooms: (service) => service.allRooms(),
  serverSideEmit: (service) => service.serverSideEmit('news', 1, () => {}),
  serverSideEmitWithAck: (service) => service.serverSideEmitWithAck('news', 1),
};

/** What may be called on a socket. */
const socketCalls = [
  (socket: any) => socket.emit('news', 1),
  (socket: any) => socket.emit('news', 1, () => {}),
  (socket: any) => socket.timeout(50).emit('news', 1, () => {}),
  (socket: any) => socket.timeout(50).emitWithAck('news', 1).catch(() => {}),
  (socket: any) => socket.volatile.emit('news', 1),
  (socket: any) => socket.to('room').emit('news', 1),
  (socket: any) => socket.join('room'),
  (socket: any) => socket.leave('room'),
  (socket: any) => socket.on('own', () => {}).off('own', () => {}),
  (socket: any) => socket.onAny(() => {}),
  (socket: any) => [socket.connected, socket.rooms, socket.handshake],
  (socket: any) => socket.disconnect(true),
];

test('every method of the service is called here', () => {
  const Parent = Object.getPrototypeOf(WebSocketService);
  const own = [WebSocketService, Parent].flatMap((each) => Object.getOwnPropertyNames(each.prototype));
  // A door that opens during the shutdown could let nobody in: `listen` rejects from then on. Without one, there is no
  // certificate to change (transport/tls.test.ts).
  const others = ['constructor', 'listen', 'setSecureContext'];
  expect(Object.keys(calls).sort()).toEqual([...new Set(own)].filter((name) => !others.includes(name)).sort());
});

/** Somebody else's request, which holds up the shutdown until it is let go. */
async function holdUp(port: number, httpServer: Server): Promise<() => void> {
  const begun = next(httpServer, 'request');
  const sent = request({ port, host: '127.0.0.1', path: '/slow', agent: false }, (response) => response.resume());
  sent.on('error', () => {});
  sent.end();
  const [, response] = await begun;
  return () => response.end();
}

async function populated(service: Service, target: { url: string }) {
  const [room, other] = [await service.createRoom('one'), await service.createRoom('other')];
  const client = await connect(target, { transports: ['websocket'] });
  await service.joinRoom(client.id!, room.id);
  return { known: { socketId: client.id!, roomId: room.id, other: other.id }, socket: service.getSocket(client.id!)! };
}

async function callAll(service: Service, socket: unknown, known: Known): Promise<void> {
  const failed: string[] = [];
  const outcomes = Object.entries(calls).map(async ([name, call]) => {
    try {
      await call(service, known);
    } catch (error) {
      failed.push(`${name}: ${error}`);
    }
  });
  for (const call of socketCalls) await call(socket);
  await Promise.all(outcomes);
  expect(failed).toEqual([]);
}

describe.each(['alone', 'in a cluster'])('%s', (where) => {
  async function begin() {
    const httpServer = createServer();
    const service = track(new WebSocketService({ logger: silentLogger, ...(where !== 'alone' && { redis: at(redis().address, newPrefix()) }) }));
    service.initialize(httpServer);
    const port = await listen(httpServer);
    await service.ready();
    return { service, httpServer, port, url: `http://127.0.0.1:${port}` };
  }

  test('every call works or does nothing while the shutdown is held up', async () => {
    const running = await begin();
    const { known, socket } = await populated(running.service, running);
    const letGo = await holdUp(running.port, running.httpServer);
    const gone = next(running.service, 'disconnect');
    let isOver = false;
    const ended = running.service.shutdown().then(() => (isOver = true));
    await callAll(running.service, socket, known);
    await gone;
    await callAll(running.service, socket, known);
    expect(isOver).toBe(false);
    letGo();
    await ended;
    for (const call of [() => running.service.createRoom('r'), () => running.service.broadcastToAll('news', 1)]) {
      await expect(call()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    }
  });

  test('every call works or does nothing in listeners that hear of the end, and after them', async () => {
    const running = await begin();
    const { service } = running;
    const { known, socket } = await populated(service, running);
    const letGo = await holdUp(running.port, running.httpServer);
    const made: Promise<void>[] = [];
    const all = new Promise<void>((done) => {
      const make = () => void (made.push(callAll(service, socket, known)) === 12 && done());
      const heard = () => {
        make();
        process.nextTick(make);
        setImmediate(make);
      };
      service.on('room:leave', heard);
      service.on('disconnect', heard);
      for (const event of ['disconnecting', 'disconnect']) (socket as any).on(event, heard);
    });
    const ended = service.shutdown();
    await all;
    await Promise.all(made);
    letGo();
    await ended;
  });
});

test('a service that is shut down before it is initialized stays quiet about it', async () => {
  const service = track(new WebSocketService({ logger: silentLogger }));
  const ended = service.shutdown();
  service.initialize(createServer());
  await ended;
  expect(() => service.initialize(createServer())).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
});

test('what was asked of other servers is answered with what there is when the service leaves them', async () => {
  const keyPrefix = newPrefix();
  const [one, other] = [await startMember(at(redis().address, keyPrefix)), await startMember(at(redis().address, keyPrefix))];
  await joined([one, other]);
  // It hears of the question, and never answers.
  const heard = next(other.service as any, 'question');
  const answers = one.service.serverSideEmitWithAck('question');
  await heard;
  await one.service.shutdown();
  expect(await answers).toEqual([]);
});

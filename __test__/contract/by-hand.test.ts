// Contract section 3: mock mode, connections registered by hand, and subclasses.

import { EventEmitter } from 'node:events';
import {
  connect,
  drained,
  eventsDelivered,
  next,
  open,
  record,
  refused,
  silentLogger,
  start,
  track,
  transportSettings,
  WebSocketService,
  type Service,
} from '../support/harness';
import type { AuthenticatedSocket } from '../../index';

/** As the tests of an application write it. */
class FakeSocket extends EventEmitter {
  userId?: string;
  user?: any;
  rooms = new Set<string>();
  data = {};
  connected = true;
  sent: Array<[string, ...unknown[]]> = [];
  disconnected: unknown[] = [];
  handshake: any;
  constructor(
    readonly id: string,
    query: Record<string, string> = {},
  ) {
    super();
    this.handshake = { auth: {}, headers: {}, query, address: '', time: '', issued: 0, secure: false, xdomain: false, url: '/' };
  }
  override emit(event: string, ...args: unknown[]): boolean {
    this.sent.push([event, ...args]);
    return true;
  }
  fromClient(event: string, ...args: unknown[]): void {
    super.emit(event, ...args);
  }
  join(room: string) {
    this.rooms.add(room);
  }
  leave(room: string) {
    this.rooms.delete(room);
  }
  to() {
    return { emit: () => true };
  }
  disconnect(close?: boolean) {
    this.disconnected.push(close);
    this.connected = false;
    return this;
  }
  onAny() {
    return this;
  }
  timeout() {
    return this;
  }
  get volatile() {
    return this;
  }
  as(): AuthenticatedSocket {
    return this as unknown as AuthenticatedSocket;
  }
}

function mockService(logger = silentLogger) {
  const service = track(new WebSocketService({ logger }));
  service.initialize();
  return service;
}

describe('without a server', () => {
  test('warns once, works on memory and logs broadcasts at debug', async () => {
    const warned: unknown[][] = [];
    const debugged: unknown[][] = [];
    const service = mockService({
      ...silentLogger,
      warn: (...args: unknown[]) => void warned.push(args),
      debug: (...args: unknown[]) => void debugged.push(args),
    });
    const room = await service.createRoom('r', 'chat');
    const message = await service.sendMessage(room.id, 'server', 'hello');
    expect(service.getRoomMessages(room.id)).toEqual([message]);
    await service.broadcastToRoom(room.id, 'news', 1);
    await service.broadcastToAll('announcement', 1);
    await service.broadcastToUsers(['alice'], 'note', 1);
    await service.emitToSocket('socket', 'whisper', 1);
    expect(warned).toHaveLength(1);
    for (const event of ['news', 'announcement']) expect(JSON.stringify(debugged)).toContain(event);
    expect(service.getStats()).toMatchObject({ activeConnections: 0, totalRooms: 1 });
    await expect(service.broadcastToRoom('unknown', 'news', 1)).rejects.toThrow('Room not found');
    expect(await service.cleanup()).toBe(0);
    await service.deleteRoom(room.id);
    expect(() => service.initialize()).toThrow(expect.objectContaining({ code: 'ERR_ALREADY_INITIALIZED' }));
    await service.shutdown();
  });

  test('methods work before initialize, too', async () => {
    const service = track(new WebSocketService({ logger: silentLogger }));
    const room = await service.createRoom('r');
    await service.sendMessage(room.id, 'server', 'hello');
    expect(service.listRooms()).toEqual([room]);
    expect(service.getConnectedUsers()).toEqual([]);
  });
});

describe('handleConnection by hand', () => {
  test('registers any object of the shape', async () => {
    const service = mockService();
    const connected = next(service, 'connection');
    const socket = new FakeSocket('fake-1', { username: 'Alice', email: 'a@example.com' });
    await service.handleConnection(socket.as());
    const user = service.getUser('fake-1')!;
    expect(user).toMatchObject({ id: 'fake-1', socketId: 'fake-1', username: 'Alice', email: 'a@example.com' });
    expect((await connected)[0]).toBe(user);
    expect(service.getStats()).toMatchObject({ totalConnections: 1, activeConnections: 1 });
  });

  test('takes the identity from the object', async () => {
    const service = mockService();
    const socket = Object.assign(new FakeSocket('fake-1'), { userId: 'alice', user: { username: 'Alice', roles: ['a'] } });
    await service.handleConnection(socket.as());
    expect(service.getUser('fake-1')).toMatchObject({ id: 'alice', username: 'Alice', roles: ['a'] });
    expect(service.getUserSockets('alice')).toEqual(['fake-1']);
  });

  test('its emit gets what was sent, and no offset', async () => {
    const service = track(new WebSocketService({ logger: silentLogger, connectionStateRecovery: true }));
    service.initialize();
    const socket = new FakeSocket('fake-1');
    await service.handleConnection(socket.as());
    await service.broadcastToAll('n', 0);
    await service.emitToSocket('fake-1', 'n', 'a text');
    await eventsDelivered(service);
    expect(socket.sent.filter(([event]) => event === 'n')).toEqual([['n', 0], ['n', 'a text']]);
  });

  test('delivers rooms, messages and broadcasts to its emit', async () => {
    const service = mockService();
    const [alice, bob] = [new FakeSocket('a', { username: 'Alice' }), new FakeSocket('b')];
    for (const socket of [alice, bob]) await service.handleConnection(socket.as());
    const room = await service.createRoom('r');
    await service.joinRoom('a', room.id);
    await service.joinRoom('b', room.id);
    const message = await service.sendMessage(room.id, 'a', 'hello');
    await service.broadcastToRoom(room.id, 'news', { n: 1 }, { except: ['a'] });
    await service.emitToSocket('a', 'whisper', 5);
    const announced = next(service, 'message');
    await service.sendMessage(room.id, 'server', 'last');
    await announced;
    await service.shutdown();
    const sent = (socket: FakeSocket, event: string) => socket.sent.filter(([name]) => name === event).map(([, data]) => data);
    expect(sent(alice, 'user:joined')).toMatchObject([{ socketId: 'b' }]);
    expect(sent(alice, 'news')).toEqual([]);
    expect(sent(bob, 'news')).toEqual([{ n: 1 }]);
    expect(sent(alice, 'whisper')).toEqual([5]);
    for (const socket of [alice, bob]) {
      const messages = JSON.parse(JSON.stringify(sent(socket, 'message')));
      expect(messages.map((each: any) => each.content)).toEqual(['hello', 'last']);
      expect(messages[0]).toMatchObject({ id: message.id, username: 'Alice' });
    }
  });

  test('serves the client events of the object', async () => {
    const service = mockService();
    const socket = new FakeSocket('a', { username: 'Alice' });
    await service.handleConnection(socket.as());
    const room = await service.createRoom('r');
    const joined = next(service, 'room:join');
    socket.fromClient('room:join', { roomId: room.id });
    await joined;
    expect([...room.members]).toEqual(['a']);
    const announced = next(service, 'message');
    socket.fromClient('message', { roomId: room.id, content: 'hi' });
    expect((await announced)[0]).toMatchObject({ content: 'hi', username: 'Alice', type: 'text' });
    const gone = next(service, 'disconnect');
    socket.fromClient('disconnect', 'transport close');
    const [user, reason] = await gone;
    expect([user.socketId, reason]).toEqual(['a', 'transport close']);
    expect(room.members.size).toBe(0);
  });

  test('handleDisconnection takes it out again, once', async () => {
    const service = mockService();
    const socket = new FakeSocket('a');
    await service.handleConnection(socket.as());
    const room = await service.createRoom('r');
    await service.joinRoom('a', room.id);
    const disconnects = record(service, 'disconnect');
    await service.handleDisconnection('a', 'client_disconnect');
    await service.handleDisconnection('a', 'client_disconnect');
    await eventsDelivered(service);
    expect(disconnects.map(([user, reason]) => [user.socketId, reason])).toEqual([['a', 'client_disconnect']]);
    expect(service.getUser('a')).toBeUndefined();
    expect(room.members.size).toBe(0);
  });

  test('registers an object again that was taken out, heard or not', async () => {
    const service = mockService();
    const socket = new FakeSocket('hand-1');
    for (let turn = 0; turn < 3; turn++) {
      await service.handleConnection(socket.as());
      const user = service.getUser('hand-1');
      expect(user).toMatchObject({ id: 'hand-1' });
      expect([service.getUser('hand-1') === user, service.isUserOnline('hand-1')]).toEqual([true, true]);
      await service.handleDisconnection('hand-1');
      expect([service.getUser('hand-1'), service.isUserOnline('hand-1')]).toEqual([undefined, false]);
    }
    expect(service.getStats().totalConnections).toBe(3);
  });

  test('refuses an id that is taken and leaves its user alone', async () => {
    const service = mockService();
    await service.handleConnection(new FakeSocket('hand-1').as());
    const user = service.getUser('hand-1');
    await expect(service.handleConnection(new FakeSocket('hand-1').as())).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
    expect(service.getUser('hand-1')).toBe(user);
  });

  test('lives beside real clients', async () => {
    const running = await start();
    const client = await connect(running);
    const fake = new FakeSocket('fake');
    await running.service.handleConnection(fake.as());
    const room = await running.service.createRoom('r');
    for (const id of [client.id!, 'fake']) await running.service.joinRoom(id, room.id);
    const announced = next(running.service, 'message');
    client.emit('message', { roomId: room.id, content: 'hi' });
    await announced;
    await drained(running.service, client);
    await running.service.shutdown();
    expect(fake.sent.filter(([event]) => event === 'message')).toHaveLength(1);
  });
});

describe('a subclass', () => {
  test.each(transportSettings)('over %s has its handleConnection and handleDisconnection called', async (_name, transports) => {
    const steps: string[] = [];
    class Sub extends WebSocketService {
      override async handleConnection(socket: AuthenticatedSocket) {
        steps.push(`connecting ${socket.handshake.auth.name}`);
        socket.userId = socket.handshake.auth.name;
        await Promise.resolve();
        await super.handleConnection(socket);
        steps.push(`connected ${this.getUser(socket.id)!.id}`);
      }
      override async handleDisconnection(socketId: string, reason?: string) {
        steps.push(`leaving ${this.getUser(socketId)?.id} ${reason}`);
        await super.handleDisconnection(socketId, reason);
        steps.push(`left ${this.getUser(socketId)?.id}`);
      }
    }
    const running = await start({}, { Service: Sub });
    const client = await connect(running, { transports, auth: { name: 'alice' } });
    expect(running.service.getUserSockets('alice')).toEqual([client.id]);
    const gone = next(running.service, 'disconnect');
    client.disconnect();
    expect((await gone)[1]).toBe('client namespace disconnect');
    await eventsDelivered(running.service);
    expect(steps).toEqual([
      'connecting alice',
      'connected alice',
      'leaving alice client namespace disconnect',
      'left undefined',
    ]);
  });

  test.each(transportSettings)('over %s refuses by rejecting', async (_name, transports) => {
    class Strict extends WebSocketService {
      override async handleConnection(socket: AuthenticatedSocket) {
        if (!socket.handshake.auth.token) throw Object.assign(new Error('no token'), { data: { code: 401 } });
        return super.handleConnection(socket);
      }
    }
    const running = await start({}, { Service: Strict });
    const connections = record(running.service, 'connection');
    const error = await refused(open(running, { transports }));
    expect(error.message).toBe('no token');
    expect(error.data).toEqual({ code: 401 });
    const client = await connect(running, { transports, auth: { token: 't' } });
    await eventsDelivered(running.service);
    expect(connections.map(([user]) => user.socketId)).toEqual([client.id]);
    expect(running.service.getConnectedUsers()).toHaveLength(1);
  });

  test('may listen to custom events of the socket that it is given', async () => {
    class Custom extends WebSocketService {
      override async handleConnection(socket: AuthenticatedSocket) {
        socket.on('sum', (a: number, b: number, answer: (sum: number) => void) => answer(a + b));
        return super.handleConnection(socket);
      }
    }
    const running = await start({}, { Service: Custom });
    const client = await connect(running);
    expect(await client.emitWithAck('sum', 1, 2)).toBe(3);
  });

  test('may override other methods and emit events of its own', async () => {
    class Chatty extends WebSocketService {
      override async sendMessage(...args: Parameters<Service['sendMessage']>) {
        const message = await super.sendMessage(...args);
        this.emit('sent', message);
        return message;
      }
    }
    const service = track(new Chatty({ logger: silentLogger }));
    service.initialize();
    const room = await service.createRoom('r');
    const sent = next(service, 'sent');
    const message = await service.sendMessage(room.id, 'server', 'hi');
    expect((await sent)[0]).toBe(message);
  });
});

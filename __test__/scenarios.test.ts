// The 26 integration scenarios of the documented module, over each transport.

import {
  connect,
  drained,
  eventsDelivered,
  exactly,
  ISO_DATE,
  members,
  never,
  next,
  received,
  record,
  start,
  transportSettings,
  TrustingService,
  UUID_V4,
  type Client,
  type Running,
} from './support/harness';
import type { MessageType } from '../index';

describe.each(transportSettings)('over %s', (_name, transports) => {
  let running: Running;
  const join = (options = {}): Promise<Client> => connect(running, { transports, ...options });

  beforeEach(async () => {
    running = await start({}, { Service: TrustingService });
  });

  describe('connections', () => {
    test('1: a client connects', async () => {
      const connections = record(running.service, 'connection');
      const disconnects = record(running.service, 'disconnect');
      const client = await join();
      expect(client.connected).toBe(true);
      expect(client.id).toMatch(/^[\w-]{20}$/);
      expect(client.id).not.toBe(client.io.engine.id);
      await eventsDelivered(running.service);
      expect(connections.map(([user]) => user.socketId)).toEqual([client.id]);
      expect(disconnects).toEqual([]);
      await drained(running.service, client);
      expect(client.received.map(({ event }) => event)).toEqual(['suite:marker']);
    });

    test('2: a connected user is tracked', async () => {
      const before = Date.now();
      const client = await join({ query: { username: 'Alice', email: 'alice@example.com' } });
      const user = running.service.getUser(client.id!)!;
      expect(user).toMatchObject({
        id: client.id,
        socketId: client.id,
        username: 'Alice',
        email: 'alice@example.com',
      });
      expect(user.connectedAt).toBeInstanceOf(Date);
      expect(user.lastActivity).toBeInstanceOf(Date);
      expect(user.connectedAt.getTime()).toBeGreaterThanOrEqual(before - 1);
      expect(user.connectedAt.getTime()).toBeLessThanOrEqual(Date.now() + 1);
      expect(running.service.getConnectedUsers()).toEqual([user]);
      expect(running.service.getUser('unknown')).toBeUndefined();
      expect(running.service.getUser(client.io.engine.id!)).toBeUndefined();
    });

    test('3: several clients connect', async () => {
      const connections = record(running.service, 'connection');
      const clients = await Promise.all([join(), join(), join()]);
      const ids = clients.map((client) => client.id).sort();
      expect(new Set(ids).size).toBe(3);
      expect(running.service.getConnectedUsers().map((user) => user.socketId).sort()).toEqual(ids);
      await eventsDelivered(running.service);
      expect(connections.map(([user]) => user.socketId).sort()).toEqual(ids);
    });

    test('4: a disconnect removes the user', async () => {
      const [leaving, staying] = [await join(), await join()];
      const id = leaving.id!;
      const disconnects = record(running.service, 'disconnect');
      const gone = next(running.service, 'disconnect');
      leaving.disconnect();
      const [user, reason] = await gone;
      expect(user.socketId).toBe(id);
      expect(reason).toBe('client namespace disconnect');
      expect(running.service.getUser(id)).toBeUndefined();
      expect(running.service.getConnectedUsers().map((each) => each.socketId)).toEqual([staying.id]);
      await drained(running.service, staying);
      await eventsDelivered(running.service);
      expect(disconnects).toHaveLength(1);
      expect(staying.connected).toBe(true);
    });
  });

  describe('rooms', () => {
    test('5: a room is created', async () => {
      const client = await join();
      const created = record(running.service, 'room:create');
      const room = await running.service.createRoom('general', undefined, 'creator', { topic: 'all' });
      expect(room.id).toMatch(UUID_V4);
      expect(room).toMatchObject({
        name: 'general',
        namespace: 'default',
        createdBy: 'creator',
        metadata: { topic: 'all' },
      });
      expect(room.members).toBeInstanceOf(Set);
      expect(room.members.size).toBe(0);
      expect(room.createdAt).toBeInstanceOf(Date);
      expect(running.service.getRoom(room.id)).toBe(room);
      await eventsDelivered(running.service);
      expect(created.filter(([each]) => each.id === room.id)).toHaveLength(1);
      await drained(running.service, client);
      expect(client.received.map(({ event }) => event)).toEqual(['suite:marker']);
    });

    test('6: a client joins by its event', async () => {
      const room = await running.service.createRoom('general');
      const other = await running.service.createRoom('other');
      const [present] = await members(running, room, 1, { transports });
      const [outside] = await members(running, other, 1, { transports });
      const joiner = await join({ query: { username: 'Bob' } });
      const joins = record(running.service, 'room:join');

      const joined = next(running.service, 'room:join');
      const announced = next(present!, 'user:joined');
      joiner.emit('room:join', { roomId: room.id });
      const [event] = await joined;
      expect(event.user.socketId).toBe(joiner.id);
      expect(event.room.id).toBe(room.id);
      expect([...room.members].sort()).toEqual([present!.id, joiner.id].sort());
      expect((await announced)[0]).toEqual({
        userId: joiner.id,
        username: 'Bob',
        socketId: joiner.id,
        roomId: room.id,
        timestamp: expect.stringMatching(ISO_DATE),
      });

      await exactly(1, running.service, 'user:joined', present!);
      await never(running.service, 'user:joined', joiner, outside!);
      expect([...other.members]).toEqual([outside!.id]);
      await eventsDelivered(running.service);
      expect(joins).toHaveLength(1);
    });

    test('7: a client leaves by its event', async () => {
      const room = await running.service.createRoom('general');
      const other = await running.service.createRoom('other');
      const [leaver, present] = await members(running, room, 2, { transports });
      const [outside] = await members(running, other, 1, { transports });
      await running.service.joinRoom(leaver!.id!, other.id);
      const leaves = record(running.service, 'room:leave');

      const left = next(running.service, 'room:leave');
      const announced = next(present!, 'user:left');
      leaver!.emit('room:leave', { roomId: room.id });
      const [event] = await left;
      expect(event.user.socketId).toBe(leaver!.id);
      expect(event.room.id).toBe(room.id);
      expect((await announced)[0]).toMatchObject({ socketId: leaver!.id, roomId: room.id });
      expect([...room.members]).toEqual([present!.id]);
      expect(other.members.has(leaver!.id!)).toBe(true);

      await running.service.broadcastToRoom(room.id, 'news', 1);
      await exactly(1, running.service, 'news', present!);
      await never(running.service, 'news', leaver!);
      await exactly(1, running.service, 'user:left', present!);
      await never(running.service, 'user:left', leaver!, outside!);
      await eventsDelivered(running.service);
      expect(leaves).toHaveLength(1);
    });

    test('8: rooms are listed, all and by namespace', async () => {
      const chat = await running.service.createRoom('a', 'chat');
      const game = await running.service.createRoom('b', 'game');
      const plain = await running.service.createRoom('c');
      const ids = (rooms: Array<{ id: string }>) => rooms.map((room) => room.id).sort();
      expect(ids(running.service.listRooms())).toEqual(ids([chat, game, plain]));
      expect(ids(running.service.listRooms('chat'))).toEqual([chat.id]);
      expect(ids(running.service.listRooms('default'))).toEqual([plain.id]);
      expect(running.service.listRooms('nothing')).toEqual([]);
      expect(running.service.listRooms('chat')[0]).toBe(chat);
    });

    test('9: a room is deleted', async () => {
      const room = await running.service.createRoom('short-lived');
      const other = await running.service.createRoom('other');
      const [member] = await members(running, room, 1, { transports });
      await running.service.joinRoom(member!.id!, other.id);
      await running.service.sendMessage(room.id, 'system', 'hello');
      const deletions = record(running.service, 'room:delete');

      await running.service.deleteRoom(room.id);
      expect(running.service.getRoom(room.id)).toBeUndefined();
      expect(running.service.listRooms().map((each) => each.id)).toEqual([other.id]);
      expect(running.service.getRoomMembers(room.id)).toEqual([]);
      expect(running.service.getRoomMessages(room.id)).toEqual([]);
      await expect(running.service.broadcastToRoom(room.id, 'news', 1)).rejects.toThrow('Room not found');
      await never(running.service, 'news', member!);
      expect(member!.connected).toBe(true);
      expect([...other.members]).toEqual([member!.id]);
      await eventsDelivered(running.service);
      expect(deletions.filter(([each]) => each.id === room.id)).toHaveLength(1);
      expect(deletions.some(([each]) => each.id === other.id)).toBe(false);
    });
  });

  describe('messages', () => {
    test('10: a message of a client comes back to the room', async () => {
      const room = await running.service.createRoom('general');
      const other = await running.service.createRoom('other');
      const sender = await join({ query: { username: 'Alice' } });
      await running.service.joinRoom(sender.id!, room.id);
      const [reader] = await members(running, room, 1, { transports });
      const [outside] = await members(running, other, 1, { transports });
      const messages = record(running.service, 'message');

      const arrived = Promise.all([next(sender, 'message'), next(reader!, 'message')]);
      sender.emit('message', { roomId: room.id, content: 'Hello everyone!', type: 'text' });
      const [[own], [theirs]] = await arrived;
      expect(own).toMatchObject({
        id: expect.stringMatching(UUID_V4),
        roomId: room.id,
        userId: sender.id,
        username: 'Alice',
        content: 'Hello everyone!',
        type: 'text',
        timestamp: expect.stringMatching(ISO_DATE),
      });
      expect(theirs).toEqual(own);

      await exactly(1, running.service, 'message', sender, reader!);
      await never(running.service, 'message', outside!);
      await eventsDelivered(running.service);
      expect(messages.filter(([message]) => message.userId !== 'suite').map(([message]) => message.id)).toEqual([own.id]);
      expect(running.service.getRoomMessages(room.id).map((message) => message.id)).toEqual([own.id]);
      expect(running.service.getRoomMessages(other.id)).toEqual([]);
    });

    test('11: history keeps the messages of the server', async () => {
      const room = await running.service.createRoom('general');
      const other = await running.service.createRoom('other');
      const [member] = await members(running, room, 1, { transports });
      const sent = [];
      for (const content of ['one', 'two', 'three']) {
        sent.push(await running.service.sendMessage(room.id, 'server', content));
      }
      const contents = (limit?: number, offset?: number) =>
        running.service.getRoomMessages(room.id, limit, offset).map((message) => message.content);
      expect(contents()).toEqual(['three', 'two', 'one']);
      expect(contents(2)).toEqual(['three', 'two']);
      expect(contents(2, 1)).toEqual(['two', 'one']);
      expect(contents(5, 3)).toEqual([]);
      expect(running.service.getRoomMessages(room.id)[0]).toBe(sent[2]);
      expect(running.service.getRoomMessages(other.id)).toEqual([]);
      await drained(running.service, member!);
      expect(received(member!, 'message').map((message) => message.content)).toEqual(['one', 'two', 'three']);
    });

    test('12: messages have a type', async () => {
      const room = await running.service.createRoom('general');
      const [member] = await members(running, room, 1, { transports });
      const types: MessageType[] = ['text', 'system', 'image', 'file'];
      for (const type of types) {
        const message = await running.service.sendMessage(room.id, 'server', `a ${type}`, type, { of: type });
        expect(message).toMatchObject({ type, metadata: { of: type } });
        expect(message.timestamp).toBeInstanceOf(Date);
      }
      await drained(running.service, member!);
      expect(received(member!, 'message').map((message) => message.type)).toEqual(types);
      expect(received(member!, 'message').map((message) => message.metadata)).toEqual(types.map((of) => ({ of })));
    });
  });

  describe('broadcasting', () => {
    test('13: to a room', async () => {
      const room = await running.service.createRoom('general');
      const other = await running.service.createRoom('other');
      const inside = await members(running, room, 2, { transports });
      const [outside] = await members(running, other, 1, { transports });
      await running.service.broadcastToRoom(room.id, 'notice', { text: 'hi' });
      await exactly(1, running.service, 'notice', ...inside);
      for (const client of inside) expect(received(client, 'notice')).toEqual([{ text: 'hi' }]);
      await never(running.service, 'notice', outside!);
    });

    test('14: to a room except the sender', async () => {
      const room = await running.service.createRoom('general');
      const [sender, reader] = await members(running, room, 2, { transports });
      const outside = await join();
      await running.service.broadcastToRoom(room.id, 'notice', 'hi', { except: [sender!.id!] });
      await exactly(1, running.service, 'notice', reader!);
      await never(running.service, 'notice', sender!, outside);
    });

    test('15: to everyone', async () => {
      const room = await running.service.createRoom('general');
      const clients = [...(await members(running, room, 1, { transports })), await join(), await join()];
      await running.service.broadcastToAll('system:announcement', { message: 'maintenance' });
      await exactly(1, running.service, 'system:announcement', ...clients);
      await running.service.broadcastToAll('update', 2, { except: [clients[1]!.id!] });
      await exactly(1, running.service, 'update', clients[0]!, clients[2]!);
      await never(running.service, 'update', clients[1]!);
    });

    test('16: to one socket', async () => {
      const [target, other] = [await join(), await join()];
      await running.service.emitToSocket(target.id!, 'private:message', { from: 'Admin' });
      await exactly(1, running.service, 'private:message', target);
      expect(received(target, 'private:message')).toEqual([{ from: 'Admin' }]);
      await never(running.service, 'private:message', other);
    });
  });

  describe('typing', () => {
    const typing = (isTyping: boolean) => async () => {
      const room = await running.service.createRoom('general');
      const other = await running.service.createRoom('other');
      const writer = await join({ query: { username: 'Alice' } });
      await running.service.joinRoom(writer.id!, room.id);
      const [reader] = await members(running, room, 1, { transports });
      const [outside] = await members(running, other, 1, { transports });
      const states = isTyping ? [true] : [true, false];
      for (const state of states) {
        const arrived = next(reader!, 'typing');
        writer.emit('typing', { roomId: room.id, isTyping: state });
        expect((await arrived)[0]).toEqual({
          userId: writer.id,
          username: 'Alice',
          roomId: room.id,
          isTyping: state,
          timestamp: expect.stringMatching(ISO_DATE),
        });
      }
      await exactly(states.length, running.service, 'typing', reader!);
      await never(running.service, 'typing', writer, outside!);
      expect(running.service.getRoomMessages(room.id)).toEqual([]);
    };

    test('17: someone starts', typing(true));
    test('18: someone stops', typing(false));
  });

  describe('statistics', () => {
    test('19: of the connections', async () => {
      expect(running.service.getStats()).toMatchObject({ totalConnections: 0, activeConnections: 0, totalRooms: 0 });
      const [leaving] = [await join(), await join()];
      await running.service.createRoom('general');
      expect(running.service.getStats()).toMatchObject({ totalConnections: 2, activeConnections: 2, totalRooms: 1 });
      const gone = next(running.service, 'disconnect');
      leaving.disconnect();
      await gone;
      expect(running.service.getStats()).toMatchObject({ totalConnections: 2, activeConnections: 1, totalRooms: 1 });
      for (const value of Object.values(running.service.getStats())) expect(value).toBeGreaterThanOrEqual(0);
    });

    test('20: of a room', async () => {
      const room = await running.service.createRoom('general');
      await members(running, room, 2, { transports });
      expect(running.service.getRoomStats(room.id)).toEqual({
        roomId: room.id,
        memberCount: 2,
        messageCount: 0,
        createdAt: room.createdAt,
        lastActivity: room.createdAt,
      });
      const message = await running.service.sendMessage(room.id, 'server', 'hello');
      expect(running.service.getRoomStats(room.id)).toMatchObject({
        messageCount: 1,
        lastActivity: message.timestamp,
      });
      expect(running.service.getRoomStats('unknown')).toBeNull();
    });
  });

  describe('users', () => {
    test('21: a user is online', async () => {
      expect(running.service.isUserOnline('alice')).toBe(false);
      const client = await join({ auth: { userId: 'alice' } });
      expect(running.service.isUserOnline('alice')).toBe(true);
      expect(running.service.isUserOnline('bob')).toBe(false);
      expect(running.service.getUser(client.id!)!.id).toBe('alice');
      const gone = next(running.service, 'disconnect');
      client.disconnect();
      await gone;
      expect(running.service.isUserOnline('alice')).toBe(false);
    });

    test('22: the sockets of a user', async () => {
      const tabs = [await join({ auth: { userId: 'alice' } }), await join({ auth: { userId: 'alice' } })];
      const other = await join({ auth: { userId: 'bob' } });
      expect(running.service.getUserSockets('alice').sort()).toEqual(tabs.map((client) => client.id).sort());
      expect(running.service.getUserSockets('bob')).toEqual([other.id]);
      expect(running.service.getUserSockets('carol')).toEqual([]);
      await running.service.broadcastToUsers(['alice', 'alice', 'carol'], 'notification', 'hi');
      await exactly(1, running.service, 'notification', ...tabs);
      await never(running.service, 'notification', other);
    });

    test('23: a user is disconnected by force', async () => {
      const tabs = [await join({ auth: { userId: 'alice' } }), await join({ auth: { userId: 'alice' } })];
      const other = await join({ auth: { userId: 'bob' } });
      const ids = tabs.map((client) => client.id!).sort();
      const disconnects = record(running.service, 'disconnect');
      const gone = Promise.all(tabs.map((client) => next(client, 'disconnect')));
      await running.service.disconnectUser('alice', 'violation_of_terms');
      for (const [reason] of await gone) expect(reason).toBe('io server disconnect');
      await eventsDelivered(running.service);
      expect(disconnects.map(([user, reason]) => [user.socketId, reason]).sort()).toEqual(
        ids.map((id) => [id, 'violation_of_terms']),
      );
      expect(running.service.isUserOnline('alice')).toBe(false);
      await drained(running.service, other);
      expect(other.connected).toBe(true);
    });
  });

  describe('errors', () => {
    test('24: joining an unknown room', async () => {
      const [client, other] = [await join(), await join()];
      const joins = record(running.service, 'room:join');
      const failed = next(client, 'error');
      client.emit('room:join', { roomId: 'no-such-room' });
      expect((await failed)[0]).toMatchObject({ message: 'Failed to join room' });
      await exactly(1, running.service, 'error', client);
      await never(running.service, 'error', other);
      expect(joins).toEqual([]);
      expect(running.service.listRooms()).toEqual([]);
      await expect(running.service.joinRoom(client.id!, 'no-such-room')).rejects.toThrow('User or room not found');
    });

    test('25: sending to an unknown room', async () => {
      const [client, other] = [await join(), await join()];
      const messages = record(running.service, 'message');
      const failed = next(client, 'error');
      client.emit('message', { roomId: 'no-such-room', content: 'lost' });
      expect((await failed)[0]).toMatchObject({ message: 'Failed to send message' });
      await exactly(1, running.service, 'error', client);
      await never(running.service, 'message', client, other);
      await expect(running.service.sendMessage('no-such-room', 'server', 'lost')).rejects.toThrow('Room not found');
      await never(running.service, 'message', client, other);
      expect(messages).toEqual([]);
    });

    test('26: ten rooms created at once', async () => {
      const created = record(running.service, 'room:create');
      const names = Array.from({ length: 10 }, (_, index) => `room ${index}`);
      const rooms = await Promise.all(names.map((name) => running.service.createRoom(name)));
      expect(rooms.map((room) => room.name)).toEqual(names);
      expect(new Set(rooms.map((room) => room.id)).size).toBe(10);
      expect(running.service.listRooms()).toHaveLength(10);
      for (const room of rooms) expect(running.service.getRoom(room.id)).toBe(room);
      await eventsDelivered(running.service);
      expect(created.filter(([room]) => names.includes(room.name)).map(([room]) => room.name)).toEqual(names);
    });
  });
});

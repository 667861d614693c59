// Contract section 1: returned objects behave like those of a plain in-memory implementation.

import { inspect } from 'node:util';
import { connect, members, next, start, TrustingService, type Running } from '../support/harness';

let running: Running;
beforeEach(async () => {
  running = await start({}, { Service: TrustingService });
});

describe('a user', () => {
  test('is one object wherever it is read', async () => {
    const connected = next(running.service, 'connection');
    const client = await connect(running, { auth: { userId: 'alice' } });
    const room = await running.service.createRoom('r');
    const joined = next(running.service, 'room:join');
    await running.service.joinRoom(client.id!, room.id);
    const user = running.service.getUser(client.id!);
    expect(running.service.getUser(client.id!)).toBe(user);
    expect((await connected)[0]).toBe(user);
    expect((await joined)[0].user).toBe(user);
    expect((await joined)[0].room).toBe(room);
    expect(running.service.getConnectedUsers()[0]).toBe(user);
    expect(running.service.getRoomMembers(room.id)[0]).toBe(user);
    const gone = next(running.service, 'disconnect');
    client.disconnect();
    expect((await gone)[0]).toBe(user);
  });

  test('keeps what a caller sets on it', async () => {
    const client = await connect(running);
    const user = running.service.getUser(client.id!)! as any;
    user.roles = ['moderator'];
    user.custom = { score: 5 };
    user.username = 'Renamed';
    const again = running.service.getConnectedUsers()[0] as any;
    expect(again.roles).toEqual(['moderator']);
    expect(JSON.parse(JSON.stringify(again))).toMatchObject({ roles: ['moderator'], custom: { score: 5 } });
    expect({ ...again }).toMatchObject({ roles: ['moderator'], username: 'Renamed' });
    expect(again).toEqual({
      id: client.id,
      socketId: client.id,
      username: 'Renamed',
      roles: ['moderator'],
      custom: { score: 5 },
      connectedAt: expect.any(Date),
      lastActivity: expect.any(Date),
    });
  });

  test('shows later activity through a held reference', async () => {
    const client = await connect(running);
    const user = running.service.getUser(client.id!)!;
    const room = await running.service.createRoom('r');
    await client.emitWithAck('room:join', { roomId: room.id });
    expect(user.lastActivity.getTime()).toBe(running.service.getUser(client.id!)!.lastActivity.getTime());
  });
});

describe('a room', () => {
  test('is one object wherever it is read', async () => {
    const created = next(running.service, 'room:create');
    const room = await running.service.createRoom('r', 'chat');
    expect((await created)[0]).toBe(room);
    expect(running.service.getRoom(room.id)).toBe(room);
    expect(running.service.listRooms()[0]).toBe(room);
    expect(running.service.listRooms('chat')[0]).toBe(room);
    const deleted = next(running.service, 'room:delete');
    await running.service.deleteRoom(room.id);
    expect((await deleted)[0]).toBe(room);
  });

  test('keeps what a caller sets on it', async () => {
    const room = (await running.service.createRoom('r', 'default', undefined, { topic: 'a' })) as any;
    room.metadata.topic = 'b';
    room.locked = true;
    room.name = 'renamed';
    const again = running.service.getRoom(room.id) as any;
    expect(again).toMatchObject({ metadata: { topic: 'b' }, locked: true, name: 'renamed' });
    expect(JSON.parse(JSON.stringify(again))).toEqual({
      id: room.id,
      name: 'renamed',
      namespace: 'default',
      members: {},
      metadata: { topic: 'b' },
      locked: true,
      createdAt: room.createdAt.toISOString(),
    });
    expect({ ...again }).toEqual(again);
    expect(Object.keys(again)).toEqual(expect.arrayContaining(['id', 'name', 'namespace', 'members', 'createdAt']));
  });

  test('keeps the metadata object that it was given', async () => {
    const metadata = { nested: { list: [1, new Date(0)] } };
    const room = await running.service.createRoom('r', 'default', 'me', metadata);
    expect(room.metadata).toEqual(metadata);
    expect(running.service.getRoom(room.id)!.metadata).toBe(room.metadata);
  });

  test('has live members: a held Set shows later joins and leaves', async () => {
    const room = await running.service.createRoom('r');
    const held = room.members;
    expect(held).toBeInstanceOf(Set);
    const [first, second] = await members(running, room, 2);
    expect(held).toBe(running.service.getRoom(room.id)!.members);
    expect(held.size).toBe(2);
    expect(held.has(first!.id!)).toBe(true);
    expect([...held]).toEqual([first!.id, second!.id]);
    expect([...held.values()]).toEqual([...held.keys()]);
    expect([...held.entries()][0]).toEqual([first!.id, first!.id]);
    const seen: string[] = [];
    held.forEach((id) => seen.push(id));
    expect(seen).toEqual([first!.id, second!.id]);
    expect(new Set(held)).toEqual(new Set([first!.id, second!.id]));
    expect(held).toEqual(new Set([first!.id, second!.id]));
    expect(Array.from(held).length).toBe(2);
    expect(held).toStrictEqual(new Set([first!.id, second!.id]));
    expect(structuredClone(held)).toEqual(new Set([first!.id, second!.id]));

    const left = next(running.service, 'room:leave');
    first!.emit('room:leave', { roomId: room.id });
    await left;
    expect([...held]).toEqual([second!.id]);
    const gone = next(running.service, 'disconnect');
    second!.disconnect();
    await gone;
    expect(held.size).toBe(0);
    expect([...held]).toEqual([]);
  });

  test('has members that console.log and util.inspect show, without a read before', async () => {
    const room = await running.service.createRoom('r');
    const clients = await members(running, room, 2);
    const shown = new Set(clients.map((client) => client.id));
    expect(inspect(room.members)).toBe(inspect(shown));
    await running.service.leaveRoom(clients[0]!.id!, room.id);
    shown.delete(clients[0]!.id);
    expect(inspect({ room })).toContain(inspect(shown));
    expect(inspect(room.members, { depth: -1 })).toBe(inspect(shown, { depth: -1 }));
    expect(Object.getOwnPropertySymbols(room.members).filter((each) => Object.prototype.propertyIsEnumerable.call(room.members, each))).toEqual([]);
  });

  test('that is deleted leaves its held members empty', async () => {
    const room = await running.service.createRoom('r');
    await members(running, room, 1);
    const held = room.members;
    await running.service.deleteRoom(room.id);
    expect(held.size).toBe(0);
  });
});

describe('a message', () => {
  test('is one object wherever it is read', async () => {
    const room = await running.service.createRoom('r');
    const announced = next(running.service, 'message');
    const message = await running.service.sendMessage(room.id, 'server', 'hello');
    expect((await announced)[0]).toBe(message);
    expect(running.service.getRoomMessages(room.id)[0]).toBe(message);
    expect(running.service.getRoomMessages(room.id, 1, 0)[0]).toBe(message);
  });

  test('of a client is one object too', async () => {
    const room = await running.service.createRoom('r');
    const [client] = await members(running, room, 1);
    const announced = next(running.service, 'message');
    client!.emit('message', { roomId: room.id, content: 'hi', metadata: { a: [1] } });
    const [message] = await announced;
    expect(running.service.getRoomMessages(room.id)).toEqual([message]);
    expect(running.service.getRoomMessages(room.id)[0]).toBe(message);
    expect(message).toEqual({
      id: expect.any(String),
      roomId: room.id,
      userId: client!.id,
      content: 'hi',
      type: 'text',
      metadata: { a: [1] },
      timestamp: expect.any(Date),
    });
  });

  test('keeps an edit', async () => {
    const room = await running.service.createRoom('r');
    const message = await running.service.sendMessage(room.id, 'server', 'helo');
    const editedAt = new Date();
    Object.assign(message, { content: 'hello', edited: true, editedAt });
    await running.service.sendMessage(room.id, 'server', 'next');
    const again = running.service.getRoomMessages(room.id, 1, 1)[0]!;
    expect(again).toMatchObject({ content: 'hello', edited: true, editedAt });
    expect(JSON.parse(JSON.stringify(again))).toMatchObject({
      content: 'hello',
      edited: true,
      editedAt: editedAt.toISOString(),
    });
    expect({ ...again }.content).toBe('hello');
  });
});

describe('a socket', () => {
  test('is one object, and keeps its data', async () => {
    const client = await connect(running);
    const socket = running.service.getSocket(client.id!)!;
    socket.data.visits = 1;
    (socket as any).custom = true;
    expect(running.service.getSocket(client.id!)).toBe(socket);
    expect(running.service.getSocket(client.id!)!.data).toEqual({ visits: 1 });
    expect((running.service.getSocket(client.id!) as any).custom).toBe(true);
    expect(running.service.getSocket('unknown')).toBeUndefined();
  });
});

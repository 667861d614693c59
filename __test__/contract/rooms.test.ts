// Contract section 3: rooms by calls of the API.

import {
  connect,
  drained,
  eventsDelivered,
  exactly,
  ISO_DATE,
  members,
  never,
  received,
  record,
  start,
  UUID_V4,
  type Running,
} from '../support/harness';

let running: Running;
beforeEach(async () => {
  running = await start();
});

test('createRoom takes the defaults', async () => {
  const room = await running.service.createRoom('r');
  expect(room).toEqual({
    id: expect.stringMatching(UUID_V4),
    name: 'r',
    namespace: 'default',
    members: new Set(),
    createdAt: expect.any(Date),
  });
});

test('two rooms may have the same name', async () => {
  const [first, second] = [await running.service.createRoom('r'), await running.service.createRoom('r')];
  expect(first.id).not.toBe(second.id);
  expect(running.service.listRooms()).toHaveLength(2);
});

test('rooms are listed in the order in which they were made', async () => {
  const names = Array.from({ length: 20 }, (_, index) => `${index}`);
  for (const name of names) await running.service.createRoom(name, Number(name) % 2 ? 'odd' : 'even');
  expect(running.service.listRooms().map((room) => room.name)).toEqual(names);
  expect(running.service.listRooms('odd').map((room) => room.name)).toEqual(names.filter((name) => Number(name) % 2));
});

test('joinRoom joins the registry and the Socket.IO room', async () => {
  const room = await running.service.createRoom('r');
  const client = await connect(running);
  await running.service.joinRoom(client.id!, room.id);
  expect(room.members.has(client.id!)).toBe(true);
  expect(running.service.getRoomMembers(room.id).map((user) => user.socketId)).toEqual([client.id]);
  expect(running.service.getSocket(client.id!)!.rooms.has(room.id)).toBe(true);
  await running.service.broadcastToRoom(room.id, 'hello', 1);
  await exactly(1, running.service, 'hello', client);
});

test('joining twice is once', async () => {
  const room = await running.service.createRoom('r');
  const [present] = await members(running, room, 1);
  const client = await connect(running);
  const joins = record(running.service, 'room:join');
  await running.service.joinRoom(client.id!, room.id);
  await running.service.joinRoom(client.id!, room.id);
  await running.service.broadcastToRoom(room.id, 'hello', 1);
  await exactly(1, running.service, 'hello', client, present!);
  await exactly(1, running.service, 'user:joined', present!);
  await eventsDelivered(running.service);
  expect(joins).toHaveLength(1);
  expect(room.members.size).toBe(2);
});

test('joinRoom and leaveRoom tell the others, not the one', async () => {
  const room = await running.service.createRoom('r');
  const [present] = await members(running, room, 1);
  const client = await connect(running, { query: { username: 'Alice' } });
  await running.service.joinRoom(client.id!, room.id);
  await running.service.leaveRoom(client.id!, room.id);
  const about = {
    userId: client.id,
    username: 'Alice',
    socketId: client.id,
    roomId: room.id,
    timestamp: expect.stringMatching(ISO_DATE),
  };
  await drained(running.service, present!);
  expect(received(present!, 'user:joined')).toEqual([about]);
  expect(received(present!, 'user:left')).toEqual([about]);
  await never(running.service, 'user:joined', client);
  await never(running.service, 'user:left', client);
});

test.each([
  ['an unknown socket', (id: string, room: string) => ['unknown', room, id]],
  ['an unknown room', (id: string) => [id, 'unknown', id]],
])('joinRoom with %s rejects', async (_name, choose) => {
  const room = await running.service.createRoom('r');
  const client = await connect(running);
  const joins = record(running.service, 'room:join');
  const [socketId, roomId] = choose(client.id!, room.id) as [string, string];
  await expect(running.service.joinRoom(socketId, roomId)).rejects.toMatchObject({
    name: 'WebSocketServiceError',
    code: 'ERR_NOT_FOUND',
    message: 'User or room not found',
  });
  await eventsDelivered(running.service);
  expect(joins).toEqual([]);
  expect(room.members.size).toBe(0);
});

test('leaveRoom of an unknown user, room or membership does nothing', async () => {
  const room = await running.service.createRoom('r');
  const [present] = await members(running, room, 1);
  const client = await connect(running);
  const leaves = record(running.service, 'room:leave');
  await running.service.leaveRoom('unknown', room.id);
  await running.service.leaveRoom(client.id!, 'unknown');
  await running.service.leaveRoom(client.id!, room.id);
  await never(running.service, 'user:left', present!);
  await eventsDelivered(running.service);
  expect(leaves).toEqual([]);
});

test('deleteRoom of an unknown room does nothing', async () => {
  const deletions = record(running.service, 'room:delete');
  await running.service.deleteRoom('unknown');
  await eventsDelivered(running.service);
  expect(deletions.filter(([room]) => room.namespace !== 'suite')).toEqual([]);
});

test('a deleted room is gone for its members', async () => {
  const room = await running.service.createRoom('r');
  const [member] = await members(running, room, 1);
  await running.service.deleteRoom(room.id);
  expect(running.service.getSocket(member!.id!)!.rooms.has(room.id)).toBe(false);
  expect(await member!.emitWithAck('message', { roomId: room.id, content: 'hi' })).toMatchObject({
    ok: false,
    error: { code: 'ERR_NOT_FOUND' },
  });
  expect(running.service.getRoomStats(room.id)).toBeNull();
});

test('what happened in a room before it was deleted is told, and so is what comes after', async () => {
  const room = await running.service.createRoom('r');
  const [first, second] = await members(running, room, 2);
  const leaves = record(running.service, 'room:leave');
  // What happens in a listener is told after it.
  running.service.once('room:leave', () => {
    void running.service.leaveRoom(second!.id!, room.id);
    void running.service.deleteRoom(room.id);
    expect(running.service.getRoom(room.id)).toBeUndefined();
  });
  await running.service.leaveRoom(first!.id!, room.id);
  await eventsDelivered(running.service);
  expect(leaves.map(([{ user }]) => user.socketId)).toEqual([first!.id, second!.id]);
  for (const [leave] of leaves) expect(leave.room).toBe(room);
});

test('unknown rooms read as nothing', () => {
  expect(running.service.getRoom('unknown')).toBeUndefined();
  expect(running.service.getRoomMembers('unknown')).toEqual([]);
  expect(running.service.getRoomMessages('unknown')).toEqual([]);
  expect(running.service.getRoomStats('unknown')).toBeNull();
  expect(running.service.getRoom('__proto__')).toBeUndefined();
});

test('a client is in many rooms at once and leaves them all when it goes', async () => {
  const rooms = await Promise.all(Array.from({ length: 50 }, (_, index) => running.service.createRoom(`${index}`)));
  const client = await connect(running);
  const leaves = record(running.service, 'room:leave');
  for (const room of rooms) await running.service.joinRoom(client.id!, room.id);
  const leftBefore = new Promise<number>((done) => running.service.once('disconnect', () => done(leaves.length)));
  client.disconnect();
  expect(await leftBefore).toBe(50);
  expect(rooms.every((room) => room.members.size === 0)).toBe(true);
  expect(new Set(leaves.map(([{ room }]) => room.id)).size).toBe(50);
});

test('names with anything in them stay as they are', async () => {
  const name = '\u0000"\\\n日本 😀 __proto__';
  const room = await running.service.createRoom(name, name, name, { [name]: name });
  expect(running.service.getRoom(room.id)).toMatchObject({ name, namespace: name, createdBy: name });
  expect(running.service.listRooms(name)).toEqual([room]);
});

// Contract section 1: statistics.

import { connect, drained, members, next, start } from '../support/harness';

test('without connections everything is zero', async () => {
  const { service } = await start();
  expect(service.getStats()).toEqual({
    totalConnections: 0,
    activeConnections: 0,
    totalRooms: 0,
    messagesPerMinute: 0,
    bytesPerMinute: 0,
    avgLatency: 0,
  });
});

test('connections are counted, now and in total', async () => {
  const running = await start();
  const clients = [await connect(running), await connect(running), await connect(running)];
  for (const client of clients.slice(1)) {
    const gone = next(running.service, 'disconnect');
    client.disconnect();
    await gone;
  }
  await connect(running);
  expect(running.service.getStats()).toMatchObject({ totalConnections: 4, activeConnections: 2 });
});

test('rooms are counted', async () => {
  const { service } = await start();
  const room = await service.createRoom('a');
  await service.createRoom('b');
  expect(service.getStats().totalRooms).toBe(2);
  await service.deleteRoom(room.id);
  expect(service.getStats().totalRooms).toBe(1);
});

test('messages and their bytes are counted', async () => {
  const running = await start();
  const room = await running.service.createRoom('r');
  const [client] = await members(running, room, 2);
  const before = running.service.getStats();
  for (let index = 0; index < 5; index++) await running.service.sendMessage(room.id, 'server', 'x'.repeat(100));
  for (let index = 0; index < 5; index++) {
    await client!.emitWithAck('message', { roomId: room.id, content: 'y'.repeat(100) });
  }
  await drained(running.service, client!);
  const after = running.service.getStats();
  expect(after.messagesPerMinute - before.messagesPerMinute).toBe(10);
  expect(after.bytesPerMinute - before.bytesPerMinute).toBeGreaterThanOrEqual(10 * 100);
});

test.each(['websocket', 'polling'] as const)('the latency of a %s connection is a plausible number', async (transport) => {
  const running = await start({ pingInterval: 50 });
  const client = await connect(running, { transports: [transport] });
  await new Promise((done) => client.io.once('ping', done as () => void));
  await new Promise((done) => client.io.once('ping', done as () => void));
  const { avgLatency } = running.service.getStats();
  expect(avgLatency).toBeGreaterThanOrEqual(0);
  expect(Number.isFinite(avgLatency)).toBe(true);
});

test('of a room', async () => {
  const running = await start();
  const room = await running.service.createRoom('r');
  const [client] = await members(running, room, 2);
  const message = await running.service.sendMessage(room.id, 'server', 'one');
  expect(running.service.getRoomStats(room.id)).toEqual({
    roomId: room.id,
    memberCount: 2,
    messageCount: 1,
    createdAt: room.createdAt,
    lastActivity: message.timestamp,
  });
  const gone = next(running.service, 'disconnect');
  client!.disconnect();
  await gone;
  expect(running.service.getRoomStats(room.id)!.memberCount).toBe(1);
  expect(running.service.getRoomStats(room.id)!.createdAt).toBeInstanceOf(Date);
  expect(running.service.getRoomStats(room.id)!.lastActivity).toBeInstanceOf(Date);
  expect(running.service.getRoomStats('unknown')).toBeNull();
});

// Contract sections 2, 4 and 5: typing that ends, and presence.

import {
  connect,
  drained,
  eventsDelivered,
  exactly,
  members,
  never,
  next,
  received,
  record,
  start,
  transportSettings,
  TrustingService,
  type Client,
  type Running,
} from '../support/harness';

describe.each(transportSettings)('typing over %s', (_name, transports) => {
  let running: Running;
  let roomId: string;
  let writer: Client;
  let reader: Client;
  beforeEach(async () => {
    running = await start();
    const room = await running.service.createRoom('r');
    roomId = room.id;
    [writer, reader] = (await members(running, room, 2, { transports })) as [Client, Client];
    await writer.emitWithAck('typing', { roomId, isTyping: true });
    await drained(running.service, reader);
    reader.received.length = 0;
  });

  const states = () => received(reader, 'typing').map(({ isTyping, userId }) => [isTyping, userId]);

  test('ends when the writer leaves', async () => {
    const id = writer.id;
    await writer.emitWithAck('room:leave', { roomId });
    await drained(running.service, reader);
    expect(states()).toEqual([[false, id]]);
    expect(reader.received.map(({ event }) => event)).toEqual(['typing', 'user:left', 'suite:marker']);
    await never(running.service, 'typing', writer);
  });

  test('ends when the writer goes', async () => {
    const id = writer.id;
    const gone = next(running.service, 'disconnect');
    writer.disconnect();
    await gone;
    await drained(running.service, reader);
    expect(states()).toEqual([[false, id]]);
  });

  test('ends when the server takes the writer out', async () => {
    const id = writer.id;
    await running.service.leaveRoom(id!, roomId);
    await drained(running.service, reader);
    expect(states()).toEqual([[false, id]]);
  });

  test('that had ended does not end again', async () => {
    await writer.emitWithAck('typing', { roomId, isTyping: false });
    await writer.emitWithAck('room:leave', { roomId });
    await drained(running.service, reader);
    expect(states()).toEqual([[false, writer.id]]);
  });

  test('is announced to the service', async () => {
    const events = record(running.service, 'typing');
    await writer.emitWithAck('typing', { roomId, isTyping: false });
    await eventsDelivered(running.service);
    expect(events).toEqual([
      [{ user: running.service.getUser(writer.id!), room: running.service.getRoom(roomId), isTyping: false }],
    ]);
  });
});

describe('presence', () => {
  test('is not broadcast by default', async () => {
    const running = await start({}, { Service: TrustingService });
    const watcher = await connect(running);
    const other = await connect(running, { auth: { userId: 'alice' } });
    const gone = next(running.service, 'disconnect');
    other.disconnect();
    await gone;
    await never(running.service, 'user:status', watcher);
  });

  test("goes to everyone with a user's first socket and last socket", async () => {
    const running = await start({ presence: { broadcast: true } }, { Service: TrustingService });
    const watcher = await connect(running, { auth: { userId: 'watcher' } });
    await drained(running.service, watcher);
    watcher.received.length = 0;
    const statuses = () => received(watcher, 'user:status').map(({ userId, status }) => [userId, status]);

    const first = await connect(running, { auth: { userId: 'alice' } });
    await exactly(1, running.service, 'user:status', watcher);
    expect(statuses()).toEqual([['alice', 'online']]);
    const second = await connect(running, { auth: { userId: 'alice' } });
    for (const client of [first, second]) {
      await exactly(1, running.service, 'user:status', watcher);
      const gone = next(running.service, 'disconnect');
      client.disconnect();
      await gone;
    }
    await exactly(2, running.service, 'user:status', watcher);
    expect(statuses()).toEqual([
      ['alice', 'online'],
      ['alice', 'offline'],
    ]);
  });
});

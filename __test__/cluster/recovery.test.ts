// Clients of a cluster that lose their connection and come back: to their instance, or to another one.

import type { WebSocketConfig } from '../../index';
import { connectAs, enter, known, populated, startFleet } from '../support/fleet';
import { eventually, within } from '../support/eventually';
import { drained, next, open, received, record, type Client, type Running } from '../support/harness';
import { layLine, type Line } from '../support/line';
import { sharedRedis } from '../support/redis';

const redis = sharedRedis();
const says = (client: Client) => client as unknown as { _pid?: string; _lastOffset?: string };
const RECONNECTING = { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 20 };

/** A fleet whose clients may come back, a room that all know, and a client in it whose line may lead to any of them. */
async function scene(count: number, config: WebSocketConfig = {}) {
  const fleet = await startFleet(count, { port: redis().port }, { connectionStateRecovery: true, ...config });
  const room = await fleet[0]!.service.createRoom('room');
  await known(fleet, room.id);
  const line = await layLine(fleet[0]!.port);
  const client = await connectAs({ ...fleet[0]!, url: line.url }, 'ada', RECONNECTING);
  await enter(client, room.id);
  await populated(fleet, room.id, [client]);
  return { fleet, room, line, client };
}

/** What nobody is to be told of when a client blinks. */
function told(fleet: Running[]): unknown[] {
  const events = ['disconnect', 'room:leave', 'room:join'] as const;
  return fleet.flatMap(({ service }) => events.map((event) => record(service, event)));
}

/** Loses the connection, has what happens meanwhile happen, and comes back to an instance. */
async function blink({ client, line }: { client: Client; line: Line }, to: Running, meanwhile: () => Promise<unknown> = async () => {}) {
  const [gone, back] = [next(client, 'disconnect'), next(client, 'connect')];
  line.close();
  await gone;
  await meanwhile();
  line.lead(to.port);
  line.mend();
  await back;
}

test('one that comes back to its instance has what all instances sent meanwhile', async () => {
  const fleet = await startFleet(2, { port: redis().port }, { connectionStateRecovery: true });
  const [here, there] = fleet as [(typeof fleet)[0], (typeof fleet)[0]];
  const room = await here.service.createRoom('room');
  await known(fleet, room.id);
  const line = await layLine(here.port);
  const client = await connectAs({ ...here, url: line.url }, 'ada', { reconnection: true, reconnectionDelay: 10 });
  const { id } = client;
  await enter(client, room.id);
  await populated(fleet, room.id, [client]);
  const [events, left] = [record(there.service, 'disconnect'), record(there.service, 'room:leave')];
  const [gone, back] = [next(client, 'disconnect'), next(client, 'connect')];
  line.close();
  await gone;
  await there.service.broadcastToRoom(room.id, 'n', 0);
  await there.service.emitToSocket(id!, 'n', 1);
  await there.service.broadcastToUsers(['ada'], 'n', 2);
  await there.service.sendMessage(room.id, 'bob', 'hello');
  expect([there.service.isUserOnline('ada'), there.service.getRoom(room.id)!.members.has(id!)]).toEqual([true, true]);
  await eventually(() => expect(here.service.getRoomMessages(room.id)).toHaveLength(1));
  line.mend();
  await back;
  await drained(here.service, client);
  expect([client.recovered, received(client, 'n'), received(client, 'message').length]).toEqual([true, [0, 1, 2], 1]);
  expect([events, left]).toEqual([[], []]);
});

test('one that comes to another instance is there with its id, its rooms, its data, and what all instances sent meanwhile', async () => {
  const { fleet, room, line, client } = await scene(3);
  const [here, there, third] = fleet as [Running, Running, Running];
  const { id } = client;
  const socket = here.service.getSocket(id!)!;
  socket.data = { seat: 7 };
  socket.join('plain');
  const expiresAt = Date.now() + 3_600_000;
  socket.expiresAt = expiresAt;
  const watcher = await connectAs(third, 'eve');
  await enter(watcher, room.id);
  await populated(fleet, room.id, [client, watcher]);
  const [events, statuses] = [told(fleet), record(watcher, 'user:status')];
  const heard = ['user:left', 'user:joined'].map((event) => record(watcher, event));
  const [connections, recovered] = [record(there.service, 'connection'), next(there.service, 'recovered')];
  await here.service.emitToSocket(id!, 'n', 0);
  await eventually(() => expect(received(client, 'n')).toEqual([0]));
  await blink({ client, line }, there, async () => {
    await here.service.broadcastToRoom(room.id, 'n', 1);
    await here.service.emitToSocket(id!, 'n', 2);
    here.service.to('plain').emit('n', 3);
    await here.service.broadcastToUsers(['ada'], 'n', 4);
    socket.emit('n', 5);
    here.service.except('nobody').emit('n', 6);
    const sent = next(watcher, 'last');
    await here.service.broadcastToRoom(room.id, 'last', 0);
    await sent;
    await third.service.emitToSocket(id!, 'n', 7);
    await third.service.broadcastToRoom(room.id, 'n', 8);
    await third.service.sendMessage(room.id, 'bob', 'hello');
    await eventually(() => expect(here.service.getRoomMessages(room.id)).toHaveLength(1));
  });
  expect([client.recovered, client.id]).toEqual([true, id]);
  await there.service.broadcastToRoom(room.id, 'n', 9);
  await here.service.broadcastToRoom(room.id, 'n', 10);
  await drained(there.service, client);
  await eventually(() => expect(received(client, 'n')).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
  expect(received(client, 'message')).toHaveLength(1);
  const [[user]] = [await recovered];
  expect([user.socketId, user.id, user.isAway]).toEqual([id, 'ada', false]);
  expect(connections).toEqual([[expect.objectContaining({ socketId: id })]]);
  const moved = there.service.getSocket(id!)!;
  expect([moved.data, moved.recovered, moved.expiresAt, moved.userId]).toEqual([{ seat: 7 }, true, expiresAt, 'ada']);
  expect([...moved.rooms].sort()).toEqual([id, 'plain', room.id].sort());
  for (const { service } of fleet) expect(service.getUserSockets('ada')).toEqual([id]);
  await populated(fleet, room.id, [client, watcher]);
  expect([events.flat(), statuses, heard.flat()]).toEqual([[], [], []]);
  expect(fleet.map(({ service }) => service.getStats().activeConnections)).toEqual([0, 1, 1]);
});

test('what it does there works: its events, acknowledgements, rooms, and its end', async () => {
  const { fleet, room, line, client } = await scene(2);
  const [here, there] = fleet as [Running, Running];
  await blink({ client, line }, there);
  expect(client.recovered).toBe(true);
  const [ends, leaves] = [record(here.service, 'disconnect'), record(there.service, 'room:leave')];
  expect(await client.emitWithAck('message', { roomId: room.id, content: 'hi' })).toMatchObject({ ok: true });
  await eventually(() => expect(here.service.getRoomMessages(room.id)).toHaveLength(1));
  await here.service.leaveRoom(client.id!, room.id);
  await populated(fleet, room.id, []);
  expect(leaves).toHaveLength(1);
  await here.service.joinRoom(client.id!, room.id);
  await populated(fleet, room.id, [client]);
  const end = next(there.service, 'disconnect');
  client.disconnect();
  await end;
  await populated(fleet, room.id, []);
  await eventually(() => expect(here.service.isUserOnline('ada')).toBe(false));
  expect(ends).toEqual([]);
});

test.each([
  ['noticed', false],
  ['not noticed yet', true],
])('it goes from one instance to the next any number of times, its end %s', async (_, unnoticed) => {
  const { fleet, room, line, client } = await scene(3);
  const { id } = client;
  const events = told(fleet);
  let sent = 0;
  const send = async (times: number) => {
    for (let time = 0; time < times; time += 1) {
      await fleet[sent % 3]!.service.broadcastToRoom(room.id, 'n', sent);
      sent += 1;
      await eventually(() => expect(fleet.map(({ service }) => service.getRoom(room.id)!.members.size)).toEqual([1, 1, 1]));
    }
  };
  // The third return brings nothing, and so do the next two of those that nothing was sent before.
  for (const [hop, times] of [3, 2, 0, 4, 0, 0, 5].entries()) {
    const to = fleet[(hop + 1) % 3]!;
    const [gone, back] = [next(client, 'disconnect'), next(client, 'connect')];
    line.close({ unnoticed });
    if (unnoticed) client.io.engine.close();
    await gone;
    await send(times);
    line.lead(to.port);
    line.mend();
    await back;
    expect([client.recovered, client.id]).toEqual([true, id]);
  }
  await send(1);
  await eventually(() => expect(received(client, 'n')).toHaveLength(sent));
  await drained(fleet[1]!.service, client);
  const order = (publisher: number) => received(client, 'n').filter((number) => (number as number) % 3 === publisher);
  for (const publisher of [0, 1, 2]) expect(order(publisher)).toEqual([...order(publisher)].sort((a, b) => (a as number) - (b as number)));
  expect([...new Set(received(client, 'n'))]).toHaveLength(sent);
  expect(events.flat()).toEqual([]);
  // Nothing is left of its connections to those that it has gone from.
  await within(1_500, 'the end of the services', Promise.all(fleet.map(({ service }) => service.shutdown())));
});

test('who it is, as the application said where it was, is known where it comes to', async () => {
  const fleet = await startFleet(3, { port: redis().port }, { connectionStateRecovery: true });
  const [here, there] = fleet as [Running, Running, Running];
  const user = { username: 'Ada', roles: ['admin'], metadata: { seat: 7 } };
  here.service.use((socket, proceed) => {
    socket.user = { ...user };
    proceed();
  });
  const line = await layLine(here.port);
  const client = await connectAs({ ...here, url: line.url }, 'ada', RECONNECTING);
  const { id } = client;
  await eventually(() => {
    for (const { service } of fleet) expect(service.getUser(id!)).toMatchObject({ id: 'ada', ...user });
  });
  const before = there.service.getUser(id!)!;
  await blink({ client, line }, there);
  expect(client.recovered).toBe(true);
  await eventually(() => {
    for (const { service } of fleet) expect(service.getUser(id!)).toMatchObject({ id: 'ada', ...user, isAway: false });
  });
  expect(there.service.getSocket(id!)!.user).toMatchObject(user);
  expect(there.service.getUser(id!)!.connectedAt).toEqual(before.connectedAt);
});

test('what the application kept of it goes along where it only passes through', async () => {
  const { fleet, room, line, client } = await scene(3);
  const [here, there, third] = fleet as [Running, Running, Running];
  here.service.getSocket(client.id!)!.data = { seat: 7 };
  await blink({ client, line }, there);
  const seen = async () => (await third.service.in(room.id).fetchSockets()).map(({ id, data }) => [id, data]);
  expect([client.recovered, await seen()]).toEqual([true, [[client.id, { seat: 7 }]]]);
  // Now JavaScript has an object of its user there, and none of its socket.
  expect(there.service.getUser(client.id!)).toMatchObject({ id: 'ada' });
  expect(await seen()).toEqual([[client.id, { seat: 7 }]]);
  await blink({ client, line }, third);
  expect([client.recovered, third.service.getSocket(client.id!)!.data]).toEqual([true, { seat: 7 }]);
});

test('one that has never received an event gets the first one ever where it comes to', async () => {
  const fleet = await startFleet(2, { port: redis().port }, { connectionStateRecovery: true, presence: { broadcast: false } });
  const [here, there] = fleet as [Running, Running];
  const line = await layLine(here.port);
  const client = await connectAs({ ...here, url: line.url }, 'ada', RECONNECTING);
  const { id } = client;
  expect(says(client)._lastOffset).toBeUndefined();
  await eventually(() => expect(there.service.getUserSockets('ada')).toEqual([id]));
  await blink({ client, line }, there, () => here.service.emitToSocket(id!, 'first', 1));
  expect(client.recovered).toBe(true);
  await eventually(() => expect(received(client, 'first')).toEqual([1]));
  await blink({ client, line }, here);
  await drained(here.service, client);
  expect([client.recovered, received(client, 'first')]).toEqual([true, [1]]);
});

test('one whose instance cannot tell everything is new where it comes to, and has gone from where it was', async () => {
  const { fleet, room, line, client } = await scene(2, { connectionStateRecovery: { maxBufferedBytes: 4_096 } });
  const [here, there] = fleet as [Running, Running];
  const { id } = client;
  const end = next(here.service, 'disconnect');
  await blink({ client, line }, there, async () => {
    for (let count = 0; count < 5; count += 1) await here.service.broadcastToRoom(room.id, 'n', 'x'.repeat(2_000));
  });
  expect([(await end)[0].socketId, client.recovered, client.id === id]).toEqual([id, false, false]);
  await populated(fleet, room.id, []);
  expect([there.service.getUserSockets('ada'), received(client, 'n')]).toEqual([[client.id], []]);
});

test.each<[string, (claim: { _pid?: string; _lastOffset?: string }) => void]>([
  ['a secret that nobody has', (claim) => (claim._pid = 'A'.repeat(20))],
  ['a secret that is none', (claim) => (claim._pid = '../../../etc/passwd')],
  ['an offset of another instance', (claim) => (claim._lastOffset = 'none0000000001')],
  ['an offset from the future', (claim) => (claim._lastOffset = `${claim._lastOffset!.slice(0, 4)}zzzzzzzzzz`)],
])('%s makes it a new client elsewhere', async (_, forge) => {
  const { fleet, room, line, client } = await scene(2);
  await fleet[0]!.service.broadcastToRoom(room.id, 'n', 0);
  await eventually(() => expect(received(client, 'n')).toEqual([0]));
  const { id } = client;
  await blink({ client, line }, fleet[1]!, async () => {
    await fleet[0]!.service.broadcastToRoom(room.id, 'secret', 1);
    forge(says(client));
  });
  await drained(fleet[1]!.service, client);
  expect([client.recovered, client.id === id, received(client, 'secret')]).toEqual([false, false, []]);
});

test('middleware is asked where it comes to unless it is skipped, and another person is a new client', async () => {
  const { fleet, line, client } = await scene(2, {
    connectionStateRecovery: { maxDisconnectionDuration: 60_000, skipMiddlewares: false },
  });
  const [, there] = fleet as [Running, Running];
  const { id } = client;
  await blink({ client, line }, there);
  expect([client.recovered, client.id]).toEqual([true, id]);
  client.auth = { userId: 'bob' };
  await blink({ client, line }, fleet[0]!);
  expect([client.recovered, client.id === id]).toEqual([false, false]);
  await eventually(() => expect(there.service.isUserOnline('ada')).toBe(false));
});

test('two connections that show the same secret elsewhere do not both have the socket', async () => {
  const { fleet, line, client } = await scene(3);
  const { id } = client;
  line.close();
  await next(client, 'disconnect');
  const auth = { userId: 'ada' };
  const both = [fleet[1]!, fleet[2]!, fleet[1]!].map((member) => open(member, { transports: ['websocket'], auth, reconnection: true }));
  for (const other of both) says(other)._pid = says(client)._pid;
  for (const other of both) says(other)._lastOffset = says(client)._lastOffset;
  await Promise.all(both.map((other) => next(other, 'connect')));
  await eventually(() => {
    const ids = both.map((other) => other.id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { service } of fleet) expect(service.getUserSockets('ada').sort()).toEqual([...ids].sort());
  });
  expect(both.filter((other) => other.id === id).length).toBeLessThanOrEqual(1);
});

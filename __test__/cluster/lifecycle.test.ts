// Instances that come late, and a cluster that begins again: what Redis keeps, and what the others tell.

import { afterTest, received, type Client, type Running } from '../support/harness';
import { eventually, within } from '../support/eventually';
import {
  at,
  connectAs,
  enter,
  joined,
  known,
  newPrefix,
  populated,
  settled,
  startFleet,
  startMember,
  statsOf,
  watch,
} from '../support/fleet';
import { sharedRedis } from '../support/redis';

const redis = sharedRedis();
let prefix: string;
beforeEach(() => {
  prefix = newPrefix();
});

const address = () => at(redis().address, prefix);
const persistent = { history: { persist: true, maxMessagesPerRoom: 5 } };
const roomsOf = ({ service }: Running) =>
  service
    .listRooms()
    .map(({ id, name, namespace, metadata, createdBy, createdAt }) => ({
      id,
      name,
      namespace,
      metadata,
      createdBy,
      createdAt,
    }))
    .sort((a, b) => a.id.localeCompare(b.id));

/** Three members, a client on each, rooms of each. */
async function populate(config: object = {}) {
  const fleet = await startFleet(3, address(), config);
  const clients = await Promise.all(
    fleet.map((member, index) => connectAs(member, `user ${index}`, { query: { username: `name ${index}` } })),
  );
  const rooms = [];
  for (const [index, { service }] of fleet.entries()) {
    rooms.push(
      await service.createRoom(`room ${index}`, `label ${index}`, 'creator', { index, nested: { list: [index] } }),
    );
  }
  for (const room of rooms) await known(fleet, room.id);
  for (const client of clients) await enter(client, rooms[0]!.id);
  await enter(clients[2]!, rooms[1]!.id);
  await populated(fleet, rooms[0]!.id, clients);
  await populated(fleet, rooms[1]!.id, [clients[2]!]);
  return { fleet, clients, rooms };
}

test('a late instance knows everything when it reports ready', async () => {
  const { fleet, clients, rooms } = await populate();
  const messages = [await fleet[1]!.service.sendMessage(rooms[0]!.id, 'user 1', 'early', 'text', { n: 1 })];
  messages.unshift(await fleet[1]!.service.sendMessage(rooms[0]!.id, 'user 1', 'later', 'text', { n: 2 }));
  await settled(fleet, ...clients);
  const happened = watch(fleet);
  const late = await startMember(address());
  const lateHappened = watch([late]);
  await within(10_000, 'ready()', late.service.ready());

  // Not eventually: now.
  expect(statsOf(late)).toMatchObject({ status: 'ready', instances: 4 });
  expect(roomsOf(late)).toEqual(roomsOf(fleet[0]!));
  const members = (index: number) => [...late.service.getRoom(rooms[index]!.id)!.members].sort();
  expect(members(0)).toEqual(clients.map((client) => client.id).sort());
  expect(members(1)).toEqual([clients[2]!.id]);
  expect(members(2)).toEqual([]);
  for (const [index, client] of clients.entries()) {
    const { lastActivity: _ignored, ...user } = fleet[index]!.service.getUser(client.id!)!;
    expect(late.service.getUser(client.id!)).toMatchObject(user);
    expect(late.service.isUserOnline(`user ${index}`)).toBe(true);
    expect(late.service.getUserSockets(`user ${index}`)).toEqual([client.id]);
  }
  expect(late.service.getRoomMembers(rooms[1]!.id)).toMatchObject([{ id: 'user 2', username: 'name 2' }]);
  expect(late.service.getConnectedUsers()).toHaveLength(3);
  expect(late.service.getRoomMessages(rooms[0]!.id)).toEqual(messages);

  const newcomer = await connectAs(late, 'newcomer');
  expect(await newcomer.emitWithAck('room:join', { roomId: rooms[0]!.id })).toMatchObject({ ok: true });
  await late.service.broadcastToRoom(rooms[0]!.id, 'news', 1, { except: [clients[0]!.id!] });
  await joined([...fleet, late]);
  await settled([...fleet, late], ...clients, newcomer);
  expect([...clients, newcomer].map((client) => received(client, 'news').length)).toEqual([0, 1, 1, 1]);
  // What it learned by arriving did not happen again.
  expect(happened.map(({ event }) => event)).toEqual([]);
  expect(lateHappened.map(({ event }) => event)).toEqual(['connection', 'room:join']);
});

test('who waits for a cluster that is never joined is told when the service ends', async () => {
  const away = { host: '127.0.0.1', port: 1, keyPrefix: prefix };
  const { service } = await startMember(away);
  const refused = expect(service.ready()).rejects.toMatchObject({ name: 'WebSocketServiceError', code: 'ERR_CLOSED' });
  await service.shutdown();
  await refused;
});

test('rooms survive the restart of each instance, one after the other', async () => {
  let { fleet } = await populate();
  const before = roomsOf(fleet[0]!);
  for (let turn = 0; turn < 3; turn++) {
    await fleet[0]!.service.shutdown();
    fleet = [...fleet.slice(1), await startMember(address())];
    await joined(fleet);
  }
  for (const member of fleet) expect(roomsOf(member)).toEqual(before);
});

test('rooms survive the restart of all instances, without members; deleted ones do not come back', async () => {
  const { fleet, clients, rooms } = await populate();
  await fleet[1]!.service.deleteRoom(rooms[2]!.id);
  await eventually(() => expect(roomsOf(fleet[0]!)).toHaveLength(2));
  const before = roomsOf(fleet[0]!);
  for (const client of clients) client.disconnect();
  await Promise.all(fleet.map(({ service }) => service.shutdown()));

  const again = await startFleet(2, address());
  for (const member of again) {
    expect(roomsOf(member)).toEqual(before);
    for (const room of member.service.listRooms()) expect(room.members.size).toBe(0);
    expect(member.service.getConnectedUsers()).toEqual([]);
    expect(member.service.getRoomMessages(rooms[0]!.id)).toEqual([]);
  }
  const client = await connectAs(again[1]!, 'new');
  await enter(client, rooms[0]!.id);
  await again[0]!.service.sendMessage(rooms[0]!.id, 'server', 'welcome back');
  await settled(again, client);
  expect(received(client, 'message')).toMatchObject([{ content: 'welcome back' }]);
});

test('a persistent history survives the restart of all instances, as long as its limit', async () => {
  const { fleet, clients, rooms } = await populate(persistent);
  const sent = [];
  for (let index = 0; index < 8; index++) {
    sent.push(
      await fleet[index % 3]!.service.sendMessage(rooms[0]!.id, 'user 0', `content ${index}`, 'text', { index }),
    );
    await settled(fleet, ...clients);
  }
  await clients[2]!.emitWithAck('message', { roomId: rooms[1]!.id, content: 'of a client' });
  const kept = sent.slice(3).reverse();
  for (const { service } of fleet) expect(service.getRoomMessages(rooms[0]!.id)).toEqual(kept);
  const stream = (index: number) => `${prefix}-native:history:${rooms[index]!.id}`;
  await eventually(async () => expect(await redis().command('XLEN', stream(1))).toBe(1));
  expect(await redis().command('TYPE', stream(0))).toBe('stream');
  for (const client of clients) client.disconnect();
  await Promise.all(fleet.map(({ service }) => service.shutdown()));

  const again = await startFleet(2, address(), persistent);
  for (const { service } of again) {
    await eventually(() => expect(service.getRoomMessages(rooms[0]!.id)).toEqual(kept));
    await eventually(() =>
      expect(service.getRoomMessages(rooms[1]!.id)).toMatchObject([{ content: 'of a client', userId: 'user 2' }]),
    );
    expect(service.getRoomMessages(rooms[0]!.id, 2, 1)).toEqual(kept.slice(1, 3));
    expect(service.getRoomStats(rooms[0]!.id)).toMatchObject({ messageCount: 5, lastActivity: kept[0]!.timestamp });
  }

  // It goes on where it was, and is gone with its room.
  const more = await again[1]!.service.sendMessage(rooms[0]!.id, 'user 0', 'more');
  await eventually(() => {
    for (const { service } of again) expect(service.getRoomMessages(rooms[0]!.id)).toEqual([more, ...kept.slice(0, 4)]);
  });
  await again[0]!.service.deleteRoom(rooms[0]!.id);
  await eventually(async () => expect(await redis().command('EXISTS', stream(0))).toBe(0));
  expect(await redis().command('EXISTS', stream(1))).toBe(1);
});

test('a room that first sees a client after the restart has its history by then', async () => {
  const { fleet, rooms } = await populate(persistent);
  await fleet[0]!.service.sendMessage(rooms[0]!.id, 'user 0', 'from before');
  await Promise.all(fleet.map(({ service }) => service.shutdown()));
  const [member] = await startFleet(1, address(), persistent);
  const client = await connectAs(member!, 'new');
  await enter(client, rooms[0]!.id);
  await eventually(() =>
    expect(member!.service.getRoomMessages(rooms[0]!.id)).toMatchObject([{ content: 'from before' }]),
  );
});

test('clusters with different prefixes on one Redis do not meet', async () => {
  const [one, other] = [
    await startFleet(2, at(redis().address, prefix)),
    await startFleet(2, at(redis().address, `${prefix}-other`)),
  ];
  // Each on the member that does not send, so that what reaches them has come through Redis, one after the other.
  const clients = [await connectAs(one[1]!, 'alice'), await connectAs(other[1]!, 'bob')] as [Client, Client];
  await one[0]!.service.createRoom('chat');
  await one[0]!.service.broadcastToAll('news', 1);
  await other[0]!.service.broadcastToAll('news', 2);
  await settled(one, clients[0]);
  await settled(other, clients[1]);
  expect(clients.map((client) => received(client, 'news'))).toEqual([[1], [2]]);
  for (const { service } of other) {
    expect(service.listRooms().filter(({ namespace }) => namespace !== 'suite')).toEqual([]);
    expect(service.isUserOnline('alice')).toBe(false);
  }
  for (const member of [...one, ...other]) expect(statsOf(member)).toMatchObject({ instances: 2, ignored: 0 });
});

test('a message during the arrival of an instance is not lost by anyone', async () => {
  const { fleet, clients, rooms } = await populate();
  let sending = true;
  afterTest(() => (sending = false));
  let sent = 0;
  const load = (async () => {
    while (sending) {
      await fleet[0]!.service.sendMessage(rooms[0]!.id, 'server', `${sent++}`);
      await new Promise((turn) => setImmediate(turn));
    }
  })();
  const late = await startMember(address());
  await within(10_000, 'ready', late.service.ready());
  sending = false;
  await load;
  await settled(fleet, ...clients);
  for (const client of clients) {
    expect(received(client, 'message').map(({ content }) => Number(content))).toEqual(
      Array.from({ length: sent }, (_, n) => n),
    );
  }
});

// An instance that is killed, or cut off from Redis: its users go offline, with the events, and its rooms stay.

import { connect, received, type Client, type ClientOptions } from '../support/harness';
import type { RedisConfig } from '../../index';
import { eventually, within } from '../support/eventually';
import { newPrefix } from '../support/fleet';
import { startInstance, type RecordedEvent, type ServerProcess } from '../support/instances';
import { RedisProxy, sharedRedis } from '../support/redis';

const BEAT = 400;
// For the machine to get round to it, beyond the three heartbeats.
const SLACK = 700;

const redis = sharedRedis();
let keyPrefix: string;
beforeEach(() => {
  keyPrefix = newPrefix();
});

const instance = (address: RedisConfig = redis().address, config: object = {}) =>
  startInstance({ redis: { ...address, keyPrefix, heartbeatInterval: BEAT }, config });

async function fleetOf(...addresses: Array<RedisConfig>): Promise<ServerProcess[]> {
  const fleet = await Promise.all(addresses.map((address) => instance(address)));
  await Promise.all(fleet.map((server) => server.call('ready')));
  await agree(fleet, fleet.length);
  return fleet;
}

async function agree(fleet: ServerProcess[], instances: number): Promise<void> {
  await eventually(async () => {
    for (const server of fleet) expect((await server.call('getStats')).cluster.instances).toBe(instances);
  }, 10_000);
}

const client = (server: ServerProcess, userId: string, options: ClientOptions = {}): Promise<Client> =>
  connect(server, {
    transports: ['websocket'],
    auth: { userId },
    query: { username: userId.toUpperCase() },
    ...options,
  });

async function enter(who: Client, roomId: string): Promise<void> {
  await eventually(async () => expect(await who.emitWithAck('room:join', { roomId })).toMatchObject({ ok: true }));
}

async function populated(fleet: ServerProcess[], roomId: string, users: string[]): Promise<void> {
  await eventually(async () => {
    for (const server of fleet) {
      const members: any[] = await server.call('getRoomMembers', roomId);
      expect(members.map(({ id }) => id).sort()).toEqual([...users].sort());
    }
  });
}

/** Whatever the servers had sent these clients has arrived. */
async function settled(fleet: ServerProcess[], ...clients: Client[]): Promise<void> {
  const event = `mark ${Math.random()}`;
  for (const server of fleet) await server.call('broadcastToAll', event, 1);
  await eventually(() => {
    for (const each of clients) expect(received(each, event)).toHaveLength(fleet.length);
  });
}

const recorded = (fleet: ServerProcess[], event: string): RecordedEvent[] =>
  fleet.flatMap((server) => server.recorded(event));
const usersOf = async (server: ServerProcess) =>
  (await server.call('getConnectedUsers')).map(({ id }: any) => id).sort();

test('the users of a killed instance leave within three heartbeats, once, and its rooms stay', async () => {
  const fleet = await fleetOf(redis().address, redis().address, redis().address);
  const [one, two, three] = fleet as [ServerProcess, ServerProcess, ServerProcess];
  const chat = await three.call('createRoom', 'chat', 'social', 'dora', { topic: 'cats' });
  const side = await three.call('createRoom', 'side');
  const [alice, bob] = [await client(one, 'alice'), await client(two, 'bob')];
  // Dora has one connection on the instance that dies, Eve one more elsewhere.
  const [dora, eve, eveToo] = [await client(three, 'dora'), await client(three, 'eve'), await client(one, 'eve')];
  for (const each of [alice, bob, dora, eve]) await enter(each, chat.id);
  await enter(dora, side.id);
  await populated(fleet, chat.id, ['alice', 'bob', 'dora', 'eve']);
  await populated(fleet, side.id, ['dora']);
  await settled(fleet, alice, bob, dora, eve, eveToo);
  const [doraId, eveId] = [dora.id, eve.id];
  const rest = [one, two];
  for (const server of fleet) server.events.length = 0;
  for (const each of [alice, bob, eveToo]) each.received.length = 0;

  const killed = Date.now();
  await three.kill('SIGKILL');
  await eventually(
    async () => {
      for (const server of rest) {
        expect(await usersOf(server)).toEqual(['alice', 'bob', 'eve']);
        expect(await server.call('isUserOnline', 'dora')).toBe(false);
      }
    },
    3 * BEAT + SLACK,
  );
  expect(Date.now() - killed).toBeLessThan(3 * BEAT + SLACK);
  await populated(rest, chat.id, ['alice', 'bob']);
  await settled(rest, alice, bob, eveToo);

  for (const server of rest) {
    expect(await server.call('getUser', doraId)).toBeUndefined();
    expect(await server.call('getUserSockets', 'eve')).toEqual([eveToo.id]);
    expect((await server.call('listRooms')).map(({ id }: any) => id).sort()).toEqual([chat.id, side.id].sort());
    expect(await server.call('getRoom', chat.id)).toMatchObject({
      name: 'chat',
      namespace: 'social',
      metadata: { topic: 'cats' },
    });
    expect((await server.call('getRoomStats', side.id)).memberCount).toBe(0);
    expect((await server.call('getStats')).cluster.instances).toBe(2);
  }
  const disconnects = recorded(rest, 'disconnect');
  expect(disconnects.map(({ args: [user, reason] }) => [user.socketId, reason]).sort()).toEqual(
    [
      [doraId, 'instance lost'],
      [eveId, 'instance lost'],
    ].sort(),
  );
  expect(disconnects.find(({ args: [user] }) => user.id === 'dora')!.args[0]).toMatchObject({
    id: 'dora',
    username: 'DORA',
  });
  const leaves = recorded(rest, 'room:leave').map(({ args: [{ user, room }] }) => [user.socketId, room.id]);
  expect(leaves.sort()).toEqual(
    [
      [doraId, chat.id],
      [doraId, side.id],
      [eveId, chat.id],
    ].sort(),
  );
  // Its rooms are left before a user goes.
  for (const server of rest) {
    for (const { args, sequence } of server.recorded('disconnect')) {
      for (const leave of server
        .recorded('room:leave')
        .filter((each) => each.args[0].user.socketId === args[0].socketId)) {
        expect(leave.sequence).toBeLessThan(sequence);
      }
    }
  }
  for (const each of [alice, bob]) {
    const left = received(each, 'user:left').map(({ userId, username, roomId }) => [userId, username, roomId]);
    expect(left.sort()).toEqual([
      ['dora', 'DORA', chat.id],
      ['eve', 'EVE', chat.id],
    ]);
  }
  expect(received(eveToo, 'user:left')).toEqual([]);
  for (const event of ['room:delete', 'connection', 'room:join']) expect(recorded(rest, event)).toEqual([]);

  // Dora comes back elsewhere.
  const again = await client(two, 'dora');
  await enter(again, chat.id);
  await populated(rest, chat.id, ['alice', 'bob', 'dora']);
  await alice.emitWithAck('message', { roomId: chat.id, content: 'welcome back' });
  await eventually(() => expect(received(again, 'message')).toMatchObject([{ content: 'welcome back' }]));
});

test('two instances killed at once leave all their users to the third', async () => {
  const fleet = await fleetOf(redis().address, redis().address, redis().address);
  const [one, two, three] = fleet as [ServerProcess, ServerProcess, ServerProcess];
  const room = await two.call('createRoom', 'chat');
  const [alice, bob, dora] = [await client(one, 'alice'), await client(two, 'bob'), await client(three, 'dora')];
  for (const each of [alice, bob, dora]) await enter(each, room.id);
  await populated(fleet, room.id, ['alice', 'bob', 'dora']);
  one.events.length = 0;
  await Promise.all([two.kill('SIGKILL'), three.kill('SIGKILL')]);
  await eventually(async () => expect(await usersOf(one)).toEqual(['alice']), 3 * BEAT + SLACK);
  await settled([one], alice);
  expect(
    one
      .recorded('disconnect')
      .map(({ args: [user, reason] }) => [user.id, reason])
      .sort(),
  ).toEqual([
    ['bob', 'instance lost'],
    ['dora', 'instance lost'],
  ]);
  expect(
    received(alice, 'user:left')
      .map(({ userId }) => userId)
      .sort(),
  ).toEqual(['bob', 'dora']);
  await agree([one], 1);
});

test('presence of the users of a killed instance', async () => {
  const config = { presence: { broadcast: true } };
  const [one, two] = [await instance(undefined, config), await instance(undefined, config)];
  await Promise.all([one.call('ready'), two.call('ready')]);
  const alice = await client(one, 'alice');
  await client(one, 'both');
  for (const userId of ['both', 'dora']) await client(two, userId);
  await eventually(async () => expect(await usersOf(one)).toEqual(['alice', 'both', 'both', 'dora']));
  await settled([one, two], alice);
  alice.received.length = 0;
  await two.kill('SIGKILL');
  await eventually(async () => expect(await usersOf(one)).toEqual(['alice', 'both']), 3 * BEAT + SLACK);
  await settled([one], alice);
  expect(received(alice, 'user:status').map(({ userId, status }) => [userId, status])).toEqual([['dora', 'offline']]);
});

test('an instance killed while Redis is away is noticed when Redis is back', async () => {
  const proxies = [await RedisProxy.start(redis()), await RedisProxy.start(redis())];
  const fleet = await fleetOf(...proxies.map((proxy) => proxy.address));
  const [one, two] = fleet as [ServerProcess, ServerProcess];
  const room = await two.call('createRoom', 'chat');
  const [alice, dora] = [await client(one, 'alice'), await client(two, 'dora')];
  for (const each of [alice, dora]) await enter(each, room.id);
  await populated(fleet, room.id, ['alice', 'dora']);
  await Promise.all(proxies.map((proxy) => proxy.refuse()));
  await eventually(async () => expect((await one.call('getStats')).cluster.status).toBe('degraded'));
  await two.kill('SIGKILL');
  expect(await usersOf(one)).toEqual(['alice', 'dora']);
  await Promise.all(proxies.map((proxy) => proxy.pass()));
  await eventually(async () => expect((await one.call('getStats')).cluster.status).toBe('ready'), 10_000);
  await eventually(async () => expect(await usersOf(one)).toEqual(['alice']), 4 * BEAT + SLACK);
  await settled([one], alice);
  expect(one.recorded('disconnect').map(({ args: [user, reason] }) => [user.id, reason])).toEqual([
    ['dora', 'instance lost'],
  ]);
  expect(received(alice, 'user:left')).toMatchObject([{ userId: 'dora', roomId: room.id }]);
});

test('an instance that stands still is gone, and is back when it goes on', async () => {
  const fleet = await fleetOf(redis().address, redis().address);
  const [one, two] = fleet as [ServerProcess, ServerProcess];
  const room = await one.call('createRoom', 'chat');
  const [alice, dora] = [await client(one, 'alice'), await client(two, 'dora')];
  for (const each of [alice, dora]) await enter(each, room.id);
  await populated(fleet, room.id, ['alice', 'dora']);
  process.kill(two.pid, 'SIGSTOP');
  try {
    await eventually(async () => expect(await usersOf(one)).toEqual(['alice']), 3 * BEAT + SLACK);
  } finally {
    process.kill(two.pid, 'SIGCONT');
  }
  await populated(fleet, room.id, ['alice', 'dora']);
  await agree(fleet, 2);
  expect([alice.connected, dora.connected]).toEqual([true, true]);
  await alice.emitWithAck('message', { roomId: room.id, content: 'awake' });
  await eventually(() => expect(received(dora, 'message').map(({ content }) => content)).toContain('awake'));
});

test('a network split between one instance and Redis heals without a restart', async () => {
  const proxy = await RedisProxy.start(redis());
  const fleet = await fleetOf(redis().address, proxy.address, redis().address);
  const [one, two, three] = fleet as [ServerProcess, ServerProcess, ServerProcess];
  const rest = [one, three];
  const room = await one.call('createRoom', 'chat');
  const [alice, bob, bobToo, dora] = [
    await client(one, 'alice'),
    await client(two, 'bob'),
    await client(two, 'carl'),
    await client(three, 'dora'),
  ];
  const everyone = [alice, bob, bobToo, dora];
  for (const each of everyone) await enter(each, room.id);
  const users = ['alice', 'bob', 'carl', 'dora'];
  await populated(fleet, room.id, users);
  await settled(fleet, ...everyone);
  for (const server of fleet) server.events.length = 0;
  for (const each of everyone) each.received.length = 0;
  const disconnected: string[] = [];
  for (const each of everyone) each.on('disconnect', (reason) => disconnected.push(reason));

  proxy.swallow();
  // The majority side: as if it were dead.
  await eventually(
    async () => {
      for (const server of rest) expect(await usersOf(server)).toEqual(['alice', 'dora']);
    },
    3 * BEAT + SLACK,
  );
  await settled(rest, alice, dora);
  expect(
    recorded(rest, 'disconnect')
      .map(({ args: [user, reason] }) => [user.id, reason])
      .sort(),
  ).toEqual([
    ['bob', 'instance lost'],
    ['carl', 'instance lost'],
  ]);
  for (const each of [alice, dora])
    expect(
      received(each, 'user:left')
        .map(({ userId }) => userId)
        .sort(),
    ).toEqual(['bob', 'carl']);
  // The cut-off side: its own clients notice nothing, and the silence is its own fault.
  await eventually(async () => expect((await two.call('getStats')).cluster.status).toBe('degraded'));
  await bob.emitWithAck('message', { roomId: room.id, content: 'among us' });
  await eventually(() => expect(received(bobToo, 'message').map(({ content }) => content)).toEqual(['among us']));
  await within(3000, 'leaving', bobToo.emitWithAck('room:leave', { roomId: room.id }));
  // The other one is told on a connection of its own.
  await eventually(() => expect(received(bob, 'user:left').map(({ userId }) => userId)).toEqual(['carl']));
  expect(two.recorded('disconnect')).toEqual([]);

  await proxy.pass();
  await eventually(async () => expect((await two.call('getStats')).cluster.status).toBe('ready'), 10_000);
  await eventually(
    async () => {
      for (const server of fleet) {
        expect(await usersOf(server)).toEqual(users);
        expect((await server.call('getRoomMembers', room.id)).map(({ id }: any) => id).sort()).toEqual([
          'alice',
          'bob',
          'dora',
        ]);
      }
    },
    2 * BEAT + SLACK,
  );
  await agree(fleet, 3);
  await alice.emitWithAck('message', { roomId: room.id, content: 'together again' });
  await settled(fleet, ...everyone);
  for (const each of [alice, bob, dora]) {
    expect(received(each, 'message').filter(({ content }) => content === 'together again')).toHaveLength(1);
  }
  // What was said on the cut-off side waited, and is heard now.
  expect(received(alice, 'message').map(({ content }) => content)).toContain('among us');
  expect(disconnected).toEqual([]);
});

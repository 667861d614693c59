// The ways of reaching Redis: password, ACL user, database, TLS, URL, Redis Cluster and Sentinel.

import { received, record, type Running } from '../support/harness';
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
} from '../support/fleet';
import { SENTINEL_NAME, sharedRedis, startRedis, startRedisCluster, startSentinel } from '../support/redis';

/** What a user needs: the key space, the channels, and the one pattern literally, as Redis compares them. */
const rulesFor = (keyPrefix: string) =>
  `~${keyPrefix}-native:* &${keyPrefix}#/#* &${keyPrefix}-* +@all -@admin -@dangerous +info`;

const persistent = { history: { persist: true } };

/** Two instances reach each other: rooms, members, messages, requests and the history all go through Redis. */
async function worksAcross(fleet: Running[]): Promise<{ roomId: string; say(text: string): Promise<void> }> {
  const [here, there] = fleet as [Running, Running];
  const room = await here.service.createRoom('chat', 'social', 'alice', { n: 1 });
  await known(fleet, room.id);
  const clients = [await connectAs(here, 'alice'), await connectAs(there, 'bob')];
  for (const client of clients) await enter(client, room.id);
  await populated(fleet, room.id, clients);
  let said = 0;
  const say = async (text: string) => {
    said += 2;
    for (const client of clients)
      expect(await client.emitWithAck('message', { roomId: room.id, content: text })).toMatchObject({ ok: true });
    await eventually(() => {
      for (const client of clients)
        expect(received(client, 'message').filter(({ content }) => content === text)).toHaveLength(2);
      for (const { service } of fleet) expect(service.getRoomMessages(room.id, Infinity)).toHaveLength(said);
    });
  };
  await say('hello');
  const found = await within(3000, 'fetchSockets', there.service.in(room.id).fetchSockets());
  expect(found.map(({ id }) => id).sort()).toEqual(clients.map(({ id }) => id!).sort());
  expect([...(await within(3000, 'allRooms', here.service.allRooms()))].sort()).toEqual(
    [room.id, ...clients.map(({ id }) => id!)].sort(),
  );
  here.service.on('ask', (n: number, answer: (value: number) => void) => answer(n + 1));
  expect(await within(3000, 'serverSideEmit', there.service.serverSideEmitWithAck('ask', 1))).toEqual([2]);
  return { roomId: room.id, say };
}

test('a password, from the options and from the environment', async () => {
  const redis = await startRedis({ password: 'pass word:@/' });
  await worksAcross(await startFleet(2, redis.address, persistent));

  const before = { ...process.env };
  Object.assign(process.env, {
    REDIS_HOST: redis.host,
    REDIS_PORT: String(redis.port),
    REDIS_PASSWORD: 'pass word:@/',
  });
  try {
    await worksAcross(await startFleet(2, {}, persistent));
  } finally {
    for (const name of ['REDIS_HOST', 'REDIS_PORT', 'REDIS_PASSWORD']) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
  }
});

test('an ACL user who may use only the key space and the commands that are needed', async () => {
  const keyPrefix = newPrefix();
  const redis = await startRedis({
    password: 'of the administrator',
    acl: { username: 'chat', password: 'secret', rules: rulesFor(keyPrefix) },
  });
  await worksAcross(await startFleet(2, at(redis.address, keyPrefix), persistent));
  const denied: string[] = (await redis.command('ACL', 'LOG')).map((entry: string[]) => entry.join(' '));
  expect(denied).toEqual([]);
});

test('a database by its number holds the keys', async () => {
  const redis = await startRedis();
  const keyPrefix = newPrefix();
  await worksAcross(await startFleet(2, { ...at(redis.address, keyPrefix), db: 5 }, persistent));
  expect(await redis.command('INFO', 'keyspace')).toMatch(/^db5:/m);
  expect(await redis.command('INFO', 'keyspace')).not.toMatch(/^db0:/m);
  expect(await redis.command('EXISTS', `${keyPrefix}-native:rooms`)).toBe(0);
});

test('TLS with an authority of its own, and without trusting it not at all', async () => {
  const redis = await startRedis({ tls: true, password: 'secret' });
  await worksAcross(await startFleet(2, redis.address, persistent));

  const stranger = await startMember({ ...redis.address, tls: true });
  const errors = record(stranger.service, 'error');
  await eventually(() => expect(errors.map(([error]) => error.code)).toEqual(['ERR_REDIS_UNREACHABLE']));
  expect(statsOf(stranger).status).toBe('degraded');
});

describe('a URL', () => {
  test('with user, password and database', async () => {
    const keyPrefix = newPrefix();
    const acl = { username: 'chat', password: 'se@cret', rules: rulesFor(keyPrefix) };
    const redis = await startRedis({ password: 'of the administrator', acl });
    const url = `redis://chat:se%40cret@127.0.0.1:${redis.port}/3`;
    await worksAcross(await startFleet(2, { url, keyPrefix }, persistent));
    expect(await redis.command('INFO', 'keyspace')).toMatch(/^db3:/m);
  });

  test('with a password alone', async () => {
    const redis = await startRedis({ password: 'secret' });
    await worksAcross(await startFleet(2, { url: `redis://:secret@127.0.0.1:${redis.port}` }, persistent));
  });

  test('with TLS', async () => {
    const redis = await startRedis({ tls: true, password: 'secret' });
    const url = `rediss://default:secret@127.0.0.1:${redis.port}`;
    await worksAcross(await startFleet(2, { url, tls: { ca: redis.authority } }, persistent));
  });
});

test('Redis Cluster of three masters, one of which is killed and started again', async () => {
  const nodes = await startRedisCluster();
  const cluster = nodes.map(({ host, port }) => ({ host, port }));
  const keyPrefix = newPrefix();
  // The third is found through the others.
  const fleet = await startFleet(2, { cluster: cluster.slice(0, 2), keyPrefix }, persistent);
  const { say, roomId } = await worksAcross(fleet);

  for (const node of nodes) {
    await node.kill();
    await node.launch();
    await eventually(async () => expect(await node.command('CLUSTER', 'INFO')).toContain('cluster_state:ok'), 15_000);
    await eventually(() => {
      for (const member of fleet) expect(statsOf(member)).toMatchObject({ status: 'ready', instances: 2 });
    }, 15_000);
    await say(`after ${node.port}`);
  }
  const late = await startMember({ cluster, keyPrefix }, persistent);
  await within(10_000, 'ready()', late.service.ready());
  expect(late.service.getRoom(roomId)).toMatchObject({ name: 'chat', metadata: { n: 1 } });
}, 90_000);

test('Sentinel, and a failover to the replica', async () => {
  const { master, replica, sentinel } = await startSentinel();
  const nodes = [{ host: sentinel.host, port: sentinel.port }];
  const keyPrefix = newPrefix();
  const options = { sentinel: { name: SENTINEL_NAME, nodes }, keyPrefix };
  const fleet = await startFleet(2, options, persistent);
  const { say, roomId } = await worksAcross(fleet);
  await eventually(async () => expect(await replica.command('HEXISTS', `${keyPrefix}-native:rooms`, roomId)).toBe(1));

  await master.kill();
  await eventually(async () => {
    expect(await sentinel.command('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', SENTINEL_NAME)).toEqual([
      replica.host,
      String(replica.port),
    ]);
    expect(await replica.command('INFO', 'replication')).toContain('role:master');
  }, 20_000);
  await eventually(() => {
    for (const member of fleet) expect(statsOf(member)).toMatchObject({ status: 'ready', instances: 2 });
  }, 20_000);
  await say('after the failover');
  const made = await fleet[0]!.service.createRoom('made afterwards');
  await eventually(async () => expect(await replica.command('HEXISTS', `${keyPrefix}-native:rooms`, made.id)).toBe(1));
  const late = await startMember(options, persistent);
  await within(10_000, 'ready()', late.service.ready());
  expect(
    late.service
      .listRooms()
      .map(({ id }) => id)
      .sort(),
  ).toEqual([roomId, made.id].sort());
}, 90_000);

describe('several services of one process', () => {
  const redis = sharedRedis();

  test('may be told of different Redis servers', async () => {
    const other = await startRedis();
    const keyPrefix = newPrefix();
    const [one] = await startFleet(1, at(redis().address, keyPrefix));
    const [two] = await startFleet(1, at(other.address, keyPrefix));
    await one!.service.createRoom('here');
    await two!.service.createRoom('there');
    await settled([one!]);
    expect(one!.service.listRooms().map(({ name }) => name)).toEqual(['here']);
    expect(two!.service.listRooms().map(({ name }) => name)).toEqual(['there']);
    await joined([one!]);
  });
});

// The servers and faults that the other tests of this folder rely on are what they say.

import { Redis } from 'ioredis';
import { afterTest, connect, received } from '../support/harness';
import { eventually, within } from '../support/eventually';
import { startPeer } from '../support/instances';
import { RedisProxy, startRedis } from '../support/redis';

function reach(address: { host: string; port: number }): Redis {
  const client = new Redis({ ...address, retryStrategy: () => null, maxRetriesPerRequest: 0 });
  client.on('error', () => {});
  afterTest(() => client.disconnect());
  return client;
}

/** That there is no answer only time can show; what is asked comes back in the end, where it is to come back. */
const unanswered = (command: Promise<unknown>) =>
  expect(within(200, 'an answer', command)).rejects.toThrow('an answer: not within 200 ms');

test.each([
  ['keeps', true, 'value'],
  ['forgets', false, null],
])('a server that is killed and started again %s its keys', async (_name, persistence, value) => {
  const redis = await startRedis({ persistence });
  const { pid } = redis;
  await redis.command('SET', 'key', 'value');
  await redis.kill();
  await expect(reach(redis).ping()).rejects.toThrow();
  await redis.launch();
  expect(redis.pid).not.toBe(pid);
  expect(await redis.command('GET', 'key')).toBe(value);
});

test('a server that stands still answers when it goes on', async () => {
  const redis = await startRedis();
  const client = reach(redis);
  await client.ping();
  redis.freeze();
  const answer = client.incr('counter');
  await unanswered(answer);
  redis.thaw();
  expect(await answer).toBe(1);
  await redis.pause(400);
  const later = client.incr('counter');
  await unanswered(later);
  expect(await later).toBe(2);
});

test('dropping subscribers closes their connections alone', async () => {
  const redis = await startRedis();
  const [client, subscriber] = [reach(redis), reach(redis)];
  await client.ping();
  await subscriber.subscribe('channel');
  expect(await redis.subscribers('channel')).toBe(1);
  expect(await redis.calls('publish')).toBe(0);
  await client.publish('channel', 'message');
  expect(await redis.calls('publish')).toBe(1);
  expect(await redis.dropSubscribers()).toBe(1);
  await eventually(() => expect(subscriber.status).toBe('end'));
  expect(await client.ping()).toBe('PONG');
});

test('a proxy swallows without a word, refuses, cuts, and passes', async () => {
  const redis = await startRedis();
  const proxy = await RedisProxy.start(redis);
  const [client, subscriber] = [reach(proxy.address), reach(proxy.address)];
  await client.ping();
  await subscriber.subscribe('channel');
  expect(proxy.swallowSubscriptions()).toBe(1);
  expect(await client.ping()).toBe('PONG');
  await unanswered(subscriber.ping());
  proxy.swallow();
  await unanswered(client.ping());
  await unanswered(reach(proxy.address).ping());
  await proxy.pass();
  // What was swallowed stays so; what is new works.
  await unanswered(client.ping());
  expect([client.status, subscriber.status]).toEqual(['ready', 'ready']);
  const again = reach(proxy.address);
  expect(await again.ping()).toBe('PONG');
  proxy.cut();
  await eventually(() =>
    expect([client, subscriber, again].map(({ status }) => status)).toEqual(['end', 'end', 'end']),
  );
  expect(await reach(proxy.address).ping()).toBe('PONG');
  await proxy.refuse();
  await expect(reach(proxy.address).ping()).rejects.toThrow();
  await proxy.pass();
  expect(await reach(proxy.address).ping()).toBe('PONG');
});

test.each(['redis', 'ioredis'] as const)('Node.js servers on %s are a cluster of their own', async (client) => {
  const redis = await startRedis();
  const start = () => startPeer({ redis: redis.address, key: 'key', client });
  const [one, two] = [await start(), await start()];
  const [alice, bob] = [await connect(one), await connect(two)];
  for (const each of [alice, bob]) await each.emitWithAck('room:join', { roomId: 'room' });
  await alice.emitWithAck('message', { roomId: 'room', content: 'hello' });
  await eventually(() => expect(received(bob, 'message')).toMatchObject([{ content: 'hello', roomId: 'room' }]));
  const found: any[] = await one.chain(['in', 'room'], ['fetchSockets']);
  expect(found.map(({ id }) => id).sort()).toEqual([alice.id!, bob.id!].sort());
  await two.listen('question', 'answer');
  expect(await one.call('serverSideEmitWithAck', 'question', 1)).toEqual(['answer']);
  expect(two.recorded('question').map(({ args }) => args)).toEqual([[1]]);
  await one.stop();
  await two.kill('SIGKILL');
  await expect(two.call('allSockets')).rejects.toThrow();
});

// What Socket.IO's parser takes reaches the clients and the applications of every server as it was sent.

import fc from 'fast-check';
import { connect, next, nextWhere, received, type Client, type Running, type Service } from '../support/harness';
import { within } from '../support/eventually';
import {
  at,
  connectAs,
  enter,
  forget,
  known,
  newPrefix,
  populated,
  settled,
  startFleet,
  startMember,
  statsOf,
} from '../support/fleet';
import { startPeer } from '../support/instances';
import { payload } from '../support/payload';
import { sharedRedis } from '../support/redis';

const nested = (levels: number, leaf: unknown): unknown => {
  let value: unknown = [leaf];
  for (let level = 1; level < levels; level++) value = level % 2 === 0 ? [value] : { in: value };
  return value;
};
/** What a value holds at the bottom, and how far down that is. */
const bottomOf = (value: any) => {
  let depth = 0;
  let next = value;
  for (; typeof next === 'object' && next !== null && !Buffer.isBuffer(next); depth++) next = next.in ?? next[0];
  return { depth, leaf: next };
};

const halves = {
  '\ud800': '\udfff',
  list: ['a\ud83d', '\ud83d\ude00\ud83d', { '\udc00\ud800': ['\ud800\n"'] }],
  plain: 'é😀',
};
const odd: Array<[string, unknown]> = [
  ['lone surrogates', halves],
  ['lone surrogates beside bytes', { ...halves, bytes: [Buffer.from([1, 255])] }],
  ['the same bytes twice', ((bytes) => ({ a: bytes, b: [bytes] }))(Buffer.from('shared'))],
];

const redis = sharedRedis();
let prefix: string;
let fleet: Running[];
let services: Service[];
let alice: Client;
let bob: Client;
let roomId: string;

const persistent = { history: { persist: true } };

beforeEach(async () => {
  prefix = newPrefix();
  fleet = await startFleet(2, at(redis().address, prefix), persistent);
  services = fleet.map(({ service }) => service);
  alice = await connectAs(fleet[0]!, 'alice', { auth: { userId: 'alice', odd: { ...halves, deep: nested(500, 1) } } });
  bob = await connectAs(fleet[1]!, 'bob');
  roomId = (await services[0]!.createRoom('chat', 'odd', 'alice', { ...halves, deep: nested(900, 1) })).id;
  await known(fleet, roomId);
  for (const client of [alice, bob]) await enter(client, roomId);
  await populated(fleet, roomId, [alice, bob]);
  await settled(fleet, alice, bob);
  forget(alice, bob);
});

const ways: Array<[string, (value: unknown) => unknown]> = [
  ['a relayed event', (value) => alice.emit('document:edit', { roomId, value })],
  ['broadcastToRoom', (value) => services[0]!.broadcastToRoom(roomId, 'document:edit', { value })],
  ['a selection', (value) => services[0]!.broadcastToAll('document:edit', { value }, { users: ['bob'] })],
  ['emitToSocket', (value) => services[0]!.emitToSocket(bob.id!, 'document:edit', { value })],
  ['an operator', (value) => services[0]!.except(alice.id!).emit('document:edit', { value })],
];

describe.each(ways)('by %s', (_way, send) => {
  test.each(odd)('%s arrive elsewhere as they were', async (_name, value) => {
    const arrived = next(bob, 'document:edit');
    await send(value);
    expect((await within(5000, 'the event', arrived))[0].value).toEqual(value);
  });

  test.each([['text'], [Buffer.from('bytes')]])('%p arrives from a depth of 1,000', async (leaf) => {
    const arrived = next(bob, 'document:edit');
    await send(nested(999, leaf));
    expect(bottomOf((await within(5000, 'the event', arrived))[0].value)).toEqual({ depth: 999, leaf });
  });
});

test('whatever it is, it arrives on the other instance as on the own one', async () => {
  const everywhere = async (value: unknown) => {
    const arrived = [alice, bob].map((client) => next(client, 'any'));
    await services[0]!.broadcastToAll('any', value);
    const [own, other] = await within(5000, 'the events', Promise.all(arrived));
    expect(other).toEqual(own);
  };
  await fc.assert(fc.asyncProperty(payload, everywhere), { numRuns: 50 });
});

test('messages are the same on every instance, and after all have been restarted', async () => {
  const metadata = { ...halves, deep: nested(999, Buffer.from('deep')) };
  const arrived = next(bob, 'message');
  await services[0]!.sendMessage(roomId, 'alice', 'a\ud800', 'text', metadata);
  expect((await within(5000, 'the message', arrived))[0]).toMatchObject({ content: 'a\ud800', metadata: halves });
  const answer = await bob.emitWithAck('message', { roomId, content: '\udc00', metadata: halves });
  expect(answer).toMatchObject({ ok: true, message: { content: '\udc00', metadata: halves } });
  await settled(fleet, alice, bob);
  for (const service of services) {
    const [second, first] = service.getRoomMessages(roomId);
    expect(first).toMatchObject({ content: 'a\ud800', metadata: halves });
    expect(bottomOf(first!.metadata!.deep)).toEqual({ depth: 999, leaf: Buffer.from('deep') });
    expect(second).toMatchObject({ content: '\udc00', metadata: halves });
  }
  await Promise.all(services.map((service) => service.shutdown()));
  const late = await startMember(at(redis().address, prefix), persistent);
  await within(10_000, 'ready()', late.service.ready());
  expect(late.service.getRoom(roomId)!.metadata).toMatchObject(halves);
  expect(late.service.getRoomMessages(roomId).map(({ content }) => content)).toEqual(['\udc00', 'a\ud800']);
});

test('acknowledgements come back as they were given, and bytes of any number of clients', async () => {
  const others = await Promise.all(Array.from({ length: 12 }, (_, index) => connectAs(fleet[1]!, `user ${index}`)));
  const answers = [...others.keys()].map((index) => ({ index, ...halves, bytes: Buffer.from([index]) }));
  others.forEach((client, index) => client.on('ask', (_value, answer) => answer(answers[index])));
  bob.on('ask', (value, answer) => answer(value));
  const ids = others.map((client) => client.id!);
  const deep = nested(1000, Buffer.from('deep'));
  const [echoed] = await services[0]!.to(bob.id!).timeout(5000).emitWithAck('ask', deep);
  expect(bottomOf(echoed)).toEqual({ depth: 1000, leaf: Buffer.from('deep') });
  const all = await services[0]!.to(ids).timeout(5000).emitWithAck('ask', halves);
  expect(all.sort((a, b) => a.index - b.index)).toEqual(answers);
});

test('applications hear each other, and see each others sockets, as they are', async () => {
  services[1]!.on('odd', (value, answer) => answer([value]));
  expect(await services[0]!.serverSideEmitWithAck('odd', halves)).toEqual([[halves]]);
  const [echoed] = await services[0]!.serverSideEmitWithAck('odd', nested(999, 'leaf'));
  expect(bottomOf(echoed[0])).toEqual({ depth: 999, leaf: 'leaf' });
  services[0]!.getSocket(alice.id!)!.data = { odd: halves };
  const [remote] = await services[1]!.in(alice.id!).fetchSockets();
  expect(remote!.handshake).toMatchObject({ auth: { odd: halves }, query: { transport: 'websocket' }, xdomain: false });
  expect(bottomOf(remote!.handshake.auth.odd.deep)).toEqual({ depth: 500, leaf: 1 });
  expect(remote!.data).toEqual({ odd: halves });
  expect(services[1]!.getRoom(roomId)!.metadata).toMatchObject(halves);
});

test('an answer of an application that goes wrong can be given again', async () => {
  const thrown: unknown[] = [];
  services[1]!.on('odd', (answer) => {
    for (const wrong of [5n, nested(1001, 1), nested(100_000, 1)]) {
      try {
        answer(wrong);
      } catch (error) {
        thrown.push(error);
      }
    }
    answer('right');
  });
  expect(await services[0]!.serverSideEmitWithAck('odd')).toEqual(['right']);
  expect(thrown).toHaveLength(3);
  expect(thrown.slice(1)).toEqual(Array(2).fill(expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' })));
});

test('what Redis would not take is refused at once, and nothing else suffers', async () => {
  // Not touched, so that it takes no memory.
  const huge = Buffer.alloc(500_000_001);
  const refused = { code: 'ERR_INVALID_ARGUMENT', message: expect.stringContaining('at most 500000000 bytes') };
  await expect(services[0]!.broadcastToAll('huge', huge)).rejects.toMatchObject(refused);
  await expect(services[0]!.sendMessage(roomId, 'alice', 'huge', 'text', { huge })).rejects.toMatchObject(refused);
  expect(() => services[0]!.in(roomId).emit('huge', huge)).toThrow(expect.objectContaining(refused));
  await settled(fleet, alice, bob);
  expect([...received(alice, 'huge'), ...received(bob, 'huge'), ...received(bob, 'message')]).toEqual([]);
  expect(fleet.map(statsOf)).toEqual(Array(2).fill(expect.objectContaining({ status: 'ready', dropped: 0, lost: 0 })));
});

test('1,000 levels around bytes pass between this package and a Node.js server, both ways', async () => {
  const peer = await startPeer({ redis: redis().address, key: prefix, client: 'redis', adapter: {} });
  const paul = await connect(peer, { transports: ['websocket'], auth: { userId: 'paul' } });
  const deep = nested(1000, Buffer.from('deep'));
  const expected = { depth: 1000, leaf: Buffer.from('deep') };
  const there = nextWhere(paul, 'deep', () => true);
  await services[0]!.broadcastToAll('deep', deep);
  expect(bottomOf(await within(5000, 'the event there', there))).toEqual(expected);
  const back = [alice, bob].map((client) => next(client, 'shouted'));
  paul.emit('shout', deep);
  for (const [value] of await within(5000, 'the events here', Promise.all(back))) {
    expect(bottomOf(value)).toEqual(expected);
  }
  expect(statsOf(fleet[0]!).ignored).toBe(0);
  expect(received(alice, 'error')).toEqual([]);
});

test('events of a Node.js server whose encoder garbles lone surrogates arrive nevertheless', async () => {
  const COUNT = 200;
  const peer = await startPeer({ redis: redis().address, key: prefix, client: 'redis', adapter: {} });
  const paul = await connect(peer, { transports: ['websocket'], auth: { userId: 'paul' } });
  const last = nextWhere(alice, 'shouted', ({ index }) => index === COUNT - 1);
  // Over 32 bytes, notepack.io counts one byte too many for it, and sends whatever is in its buffer there.
  const text = `${'é'.repeat(20)}\udc00`;
  for (let index = 0; index < COUNT; index++) paul.emit('shout', { index, text });
  await within(5000, 'the last event', last);
  const shouted = received(alice, 'shouted').filter((value) => value.text?.startsWith('é'));
  expect(shouted.map(({ index }) => index)).toEqual(Array.from({ length: COUNT }, (_, index) => index));
  expect(statsOf(fleet[0]!).ignored).toBe(0);
});

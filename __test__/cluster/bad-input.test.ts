// Redis that refuses, keys of another kind, and messages of others on our channels: each is a clear `error`, and the
// service goes on.

import { createServer } from 'node:net';
import { encode } from 'notepack.io';
import { afterTest, received, record, WebSocketService, type Client, type Running } from '../support/harness';
import { eventually, within } from '../support/eventually';
import { at, connectAs, enter, known, newPrefix, populated, settled, startFleet, startMember, statsOf } from '../support/fleet';
import { freePort, sharedRedis, startRedis, type RedisServer } from '../support/redis';

const redis = sharedRedis();
let keyPrefix: string;
beforeEach(() => {
  keyPrefix = newPrefix();
});

const codes = (calls: any[][]) => calls.map(([error]) => error.code);

/** The service does for its own clients what it does without a cluster. */
async function servesItsOwn(member: Running): Promise<void> {
  const room = await member.service.createRoom('local');
  const [alice, bob] = [await connectAs(member, 'alice'), await connectAs(member, 'bob')];
  for (const client of [alice, bob]) await enter(client, room.id);
  await alice.emitWithAck('message', { roomId: room.id, content: 'hello' });
  await eventually(() => expect(received(bob, 'message').map(({ content }) => content)).toEqual(['hello']));
  expect(member.service.getRoomMessages(room.id)).toHaveLength(1);
  for (const client of [alice, bob]) client.disconnect();
}

const PEM = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
const withoutTls = ({ host, port }: RedisServer) => ({ host, port });

describe('Redis that cannot be used is an error with a code, and local service', () => {
  test.each([
    ['nobody listens', 'ERR_REDIS_UNREACHABLE', async () => ({ host: '127.0.0.1', port: await freePort() })],
    ['the name is unknown', 'ERR_REDIS_UNREACHABLE', async () => ({ host: 'redis.invalid', port: 6379 })],
    ['it never answers', 'ERR_REDIS_UNREACHABLE', async () => speaking('')],
    ['it is something else', 'ERR_REDIS', async () => speaking('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['it speaks no TLS', 'ERR_REDIS_UNREACHABLE', async () => ({ ...(await startRedis()).address, tls: true })],
    ['it speaks TLS', 'ERR_REDIS_UNREACHABLE', async () => withoutTls(await startRedis({ tls: true }))],
    ['it is not trusted', 'ERR_REDIS_UNREACHABLE', async () => ({ ...withoutTls(await startRedis({ tls: true })), tls: true })],
    ['TLS is never answered', 'ERR_REDIS_UNREACHABLE', async () => ({ ...(await speaking('')), tls: true })],
    [
      'TLS is answered by something else',
      'ERR_REDIS_UNREACHABLE',
      async () => ({ ...(await speaking('HTTP/1.1 400 Bad Request\r\n\r\n')), tls: true }),
    ],
    ['the authority cannot be read', 'ERR_REDIS', async () => ({ ...(await startRedis()).address, tls: { ca: PEM } })],
    [
      'the name of the certificate is none',
      'ERR_REDIS',
      async () => ({ ...(await startRedis()).address, tls: { servername: 'a b' } }),
    ],
  ])('%s', async (_name, code, address) => {
    const member = await startMember({ ...(await address()), responseTimeout: 500 });
    const errors = record(member.service, 'error');
    await servesItsOwn(member);
    await eventually(() => expect(codes(errors)).toEqual([code]));
    expect(errors[0]![0]).toBeInstanceOf(Error);
    expect(errors[0]![0].message).not.toMatch(/undefined|\[object/);
    // Nor is there anything of how Rust shows its values.
    expect(errors[0]![0].message).not.toMatch(/[{}]|kind:|code:|[a-z][A-Z]|\w\(/);
    expect(statsOf(member).status).toBe('degraded');
    await servesItsOwn(member);
  });

  test.each([
    ['a wrong password', { password: 'wrong' }],
    ['no password', {}],
    ['an unknown user', { username: 'nobody', password: 'right' }],
  ])('%s, until it is right', async (_name, credentials) => {
    const locked = await startRedis({ password: 'right' });
    const { host, port } = locked;
    const member = await startMember({ host, port, ...credentials, keyPrefix });
    const errors = record(member.service, 'error');
    await eventually(() => expect(codes(errors)).toEqual(['ERR_REDIS_AUTH']));
    expect(JSON.stringify(errors[0]![0], Object.getOwnPropertyNames(errors[0]![0]))).not.toMatch(/wrong|right/);
    await servesItsOwn(member);
    expect(statsOf(member).status).toBe('degraded');
    expect(codes(errors)).toEqual(['ERR_REDIS_AUTH']);

    if ('username' in credentials)
      await locked.command('ACL', 'SETUSER', 'nobody', 'on', '>right', '~*', '&*', '+@all');
    else await locked.command('CONFIG', 'SET', 'requirepass', 'password' in credentials ? credentials.password! : '');
    await within(15_000, 'ready()', member.service.ready());
    expect(statsOf(member).status).toBe('ready');
  });

  test('a user who may not use the channels', async () => {
    const acl = { username: 'chat', password: 'secret', rules: `~* resetchannels +@all` };
    const strict = await startRedis({ password: 'administrator', acl });
    const member = await startMember({ ...strict.address, keyPrefix });
    const errors = record(member.service, 'error');
    await eventually(() => expect(codes(errors)).toEqual([expect.stringMatching(/^ERR_REDIS_/)]));
    await servesItsOwn(member);
  });
});

describe('a key of another type', () => {
  test('instead of the directory', async () => {
    await redis().command('SET', `${keyPrefix}-native:rooms`, 'mine');
    const member = await startMember(at(redis().address, keyPrefix));
    const errors = record(member.service, 'error');
    await eventually(() => expect(codes(errors)).toContain('ERR_REDIS_KEY'));
    expect(errors[0]![0].message).toContain(`${keyPrefix}-native:rooms`);
    await servesItsOwn(member);
    // Not ours to delete or overwrite.
    expect(await redis().command('GET', `${keyPrefix}-native:rooms`)).toBe('mine');
  });

  test('instead of the directory, while the cluster runs', async () => {
    const fleet = await startFleet(2, at(redis().address, keyPrefix));
    const errors = fleet.map(({ service }) => record(service, 'error'));
    await redis().command('DEL', `${keyPrefix}-native:rooms`);
    await redis().command('SET', `${keyPrefix}-native:rooms`, 'mine');
    const room = await fleet[0]!.service.createRoom('chat');
    await eventually(() => expect(codes(errors[0]!)).toContain('ERR_REDIS_KEY'));
    await known(fleet, room.id);
    await servesItsOwn(fleet[1]!);
  });

  test('instead of a history', async () => {
    const fleet = await startFleet(2, at(redis().address, keyPrefix), { history: { persist: true } });
    const errors = fleet.map(({ service }) => record(service, 'error'));
    const room = await fleet[0]!.service.createRoom('chat');
    await known(fleet, room.id);
    await redis().command('SET', `${keyPrefix}-native:history:${room.id}`, 'mine');
    const bob = await connectAs(fleet[1]!, 'bob');
    await enter(bob, room.id);
    await fleet[0]!.service.sendMessage(room.id, 'alice', 'hello');
    await eventually(() => expect(codes(errors.flat())).toContain('ERR_REDIS_KEY'));
    await settled(fleet, bob);
    expect(received(bob, 'message').map(({ content }) => content)).toEqual(['hello']);
    for (const { service } of fleet) expect(service.getRoomMessages(room.id)).toHaveLength(1);
  });

  test('rubbish in the directory is left out, and the rest is read', async () => {
    const [first] = await startFleet(1, at(redis().address, keyPrefix));
    const room = await first!.service.createRoom('chat');
    await settled([first!]);
    await eventually(async () =>
      expect(await redis().command('HEXISTS', `${keyPrefix}-native:rooms`, room.id)).toBe(1),
    );
    for (const [field, value] of [
      ['a', 'rubbish'],
      ['b', '{}'],
      ['c', '{"id":7}'],
      ['d', Buffer.from([0xff, 0xfe])],
    ] as const) {
      await redis().command('HSET', `${keyPrefix}-native:rooms`, field, value as string);
    }
    const member = await startMember(at(redis().address, keyPrefix));
    await within(10_000, 'ready()', member.service.ready());
    expect(member.service.listRooms().map(({ id }) => id)).toEqual([room.id]);
  });

  test('rubbish in a history is left out, and the rest is read', async () => {
    const config = { history: { persist: true } };
    const [first] = await startFleet(1, at(redis().address, keyPrefix), config);
    const room = await first!.service.createRoom('chat');
    const stream = `${keyPrefix}-native:history:${room.id}`;
    const sent = await first!.service.sendMessage(room.id, 'alice', 'hello');
    await eventually(async () => expect(await redis().command('XLEN', stream)).toBe(1));
    await redis().command('XADD', stream, '*', 'foreign', 'field');
    await redis().command('XADD', stream, '*', 'message', '{"id":');
    await first!.service.shutdown();
    const [again] = await startFleet(1, at(redis().address, keyPrefix), config);
    await eventually(() => expect(again!.service.getRoomMessages(room.id)).toEqual([sent]));
  });
});

describe('messages of others on our channels', () => {
  const packet = (data: unknown) => ({ type: 2, data, nsp: '/' });
  const opts = { rooms: [], except: [], flags: {} };
  const good = encode(['emitter', packet(['rubbish', 1]), opts]);
  const deep = Buffer.concat([
    Buffer.from([0x93, 0xa1, 0x78, 0x82]),
    encode('type'),
    encode(2),
    encode('data'),
    Buffer.alloc(100_000, 0x91),
  ]);

  const broadcasts: Array<[string, Buffer]> = [
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('hello')],
    ['JSON', Buffer.from('["a",{"type":2,"data":["rubbish"]},{"rooms":[],"except":[]}]')],
    ['a cut message', good.subarray(0, -5)],
    ['a byte too many', Buffer.concat([good, Buffer.from([0])])],
    ['no options', encode(['emitter', packet(['rubbish'])])],
    ['null options', encode(['emitter', packet(['rubbish']), null])],
    ['no packet', encode(['emitter', null, opts])],
    ['no data', encode(['emitter', { type: 2, nsp: '/' }, opts])],
    ['data that is no list', encode(['emitter', packet('rubbish'), opts])],
    ['data without an event', encode(['emitter', packet([]), opts])],
    ['rooms that are no list', encode(['emitter', packet(['rubbish']), { ...opts, rooms: 'everyone' }])],
    ['a map', encode({ uid: 'emitter' })],
    ['a number', encode(1)],
    ['invalid UTF-8', Buffer.from('93a2fffe83a474797065', 'hex')],
    ['a length that lies', Buffer.from('93a178df7fffffff', 'hex')],
    ['a list that lies', Buffer.from('dd7fffffff', 'hex')],
    ['binary that lies', Buffer.from('93a17882a474797065c67fffffff00', 'hex')],
    ['a deep nest', deep],
    ['bytes', Buffer.from(Array.from({ length: 500 }, (_, index) => (index * 89) % 256))],
  ];
  const requests: Array<[string, Buffer]> = [
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('hello')],
    ['half an object', Buffer.from('{"uid":"abcdef","type":')],
    ['an object of nothing', Buffer.from('{}')],
    ['a type as text', Buffer.from('{"uid":"abcdef","type":"five"}')],
    ['a join of nobody', Buffer.from('{"uid":"abcdef","type":2}')],
    ['a question without options', Buffer.from('{"uid":"abcdef","type":5,"requestId":"x"}')],
    ['an event that is none', Buffer.from('{"uid":"abcdef","type":6,"data":{}}')],
    [
      'a question for answers that is cut',
      encode({ uid: 'abcdef', requestId: 'x', type: 7, packet: packet(['a']), opts }).subarray(0, 30),
    ],
    ['a deep nest', Buffer.from(`{"uid":"abcdef","type":6,"data":${'['.repeat(100_000)}`)],
  ];
  const native: Array<[string, Buffer]> = [
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('hello')],
    ['a broadcast', good],
    ['our mark alone', Buffer.from('nws\x01', 'latin1')],
    ['our mark with rubbish', Buffer.concat([Buffer.from('nws\x01', 'latin1'), Buffer.from([0xc1, 0xff, 0x00])])],
    ['our mark with something else', Buffer.concat([Buffer.from('nws\x01', 'latin1'), encode({ hello: 'world' })])],
  ];

  let fleet: Running[];
  let errors: any[][][];
  let bob: Client;
  beforeEach(async () => {
    fleet = await startFleet(2, at(redis().address, keyPrefix));
    errors = fleet.map(({ service }) => record(service, 'error'));
    bob = await connectAs(fleet[1]!, 'bob');
  });

  /** Publishes each alone, and sees each counted by everyone who hears the channel. */
  async function counted(channel: string, list: Array<[string, Buffer]>, hearers: Running[]): Promise<void> {
    for (const [name, payload] of list) {
      const before = hearers.map((member) => statsOf(member).ignored);
      await redis().command('PUBLISH', channel, payload);
      await eventually(() => {
        hearers.forEach((member, index) =>
          expect([channel, name, statsOf(member).ignored]).toEqual([channel, name, before[index]! + 1]),
        );
      }, 2000);
    }
  }

  async function unharmed(): Promise<void> {
    for (const calls of errors.slice(1)) {
      expect(calls.length).toBeGreaterThan(0);
      expect(new Set(codes(calls))).toEqual(new Set(['ERR_CLUSTER_MESSAGE']));
    }
    expect(received(bob, 'rubbish')).toEqual([]);
    expect(bob.connected).toBe(true);
    const alice = await connectAs(fleet[0]!, 'alice');
    const room = await fleet[0]!.service.createRoom('chat');
    await known(fleet, room.id);
    for (const client of [alice, bob]) await enter(client, room.id);
    await populated(fleet, room.id, [alice, bob]);
    await alice.emitWithAck('message', { roomId: room.id, content: 'hello' });
    await settled(fleet, alice, bob);
    expect(received(bob, 'message').map(({ content }) => content)).toEqual(['hello']);
    expect(await within(3000, 'fetchSockets', fleet[0]!.service.fetchSockets())).toHaveLength(2);
    for (const member of fleet) expect(statsOf(member)).toMatchObject({ status: 'ready', instances: 2 });
  }

  test('instead of broadcasts', async () => {
    await counted(`${keyPrefix}#/#`, broadcasts, fleet);
    // Only who has members of the room looks into it.
    await counted(`${keyPrefix}#/#${bob.id}#`, broadcasts, [fleet[1]!]);
    await unharmed();
  });

  test('instead of requests', async () => {
    await counted(`${keyPrefix}-request#/#`, requests, fleet);
    await unharmed();
  });

  test('instead of answers', async () => {
    const rubbish = requests.filter(([name]) => ['text', 'half an object'].includes(name));
    await counted(`${keyPrefix}-response#/#`, rubbish, fleet);
    await counted(`${keyPrefix}-response#/#${statsOf(fleet[1]!).uid}#`, rubbish, [fleet[1]!]);
    await unharmed();
  });

  test('instead of what instances tell each other', async () => {
    await counted(`${keyPrefix}-native#/#`, native, fleet);
    await counted(`${keyPrefix}-native#/#${statsOf(fleet[1]!).uid}#`, native, [fleet[1]!]);
    await unharmed();
  });

  test('of another version: named as such, once, and ignored', async () => {
    const other = (version: number) =>
      Buffer.concat([Buffer.from('nws'), Buffer.from([version]), encode(['abcdef', null, 'Hello'])]);
    for (let index = 0; index < 20; index++) await redis().command('PUBLISH', `${keyPrefix}-native#/#`, other(200));
    for (const calls of errors) {
      await eventually(() => expect(codes(calls)).toEqual(['ERR_CLUSTER_VERSION']));
      expect(calls[0]![0].message).toContain('200');
    }
    await settled(fleet, bob);
    for (const calls of errors) expect(codes(calls)).toEqual(['ERR_CLUSTER_VERSION']);
    for (const member of fleet) expect(statsOf(member)).toMatchObject({ status: 'ready', instances: 2 });
  });

  test('for another namespace, or from ourselves, are no rubbish', async () => {
    await redis().command(
      'PUBLISH',
      `${keyPrefix}#/#`,
      encode(['abcdef', { ...packet(['rubbish', 1]), nsp: '/admin' }, opts]),
    );
    await redis().command('PUBLISH', `${keyPrefix}#/#`, encode([statsOf(fleet[1]!).uid, packet(['rubbish', 1]), opts]));
    await redis().command('PUBLISH', `${keyPrefix}-response#/#`, '{"requestId":"of others","sockets":[]}');
    await redis().command('PUBLISH', `${keyPrefix}#/#`, encode(['emitter', packet(['fine', 1]), opts]));
    await eventually(() => expect(received(bob, 'fine')).toEqual([1]));
    expect(received(bob, 'rubbish')).toEqual([]);
    for (const member of fleet) expect(statsOf(member).ignored).toBe(0);
    expect(errors).toEqual([[], []]);
  });
});

test.each([
  ['host', 7],
  ['host', ''],
  ['port', '6379'],
  ['port', 0],
  ['port', 65_536],
  ['username', 1],
  ['password', 1],
  ['db', -1],
  ['db', 1.5],
  ['tls', 'yes'],
  ['url', 'http://localhost'],
  ['url', 'not a url'],
  ['keyPrefix', 1],
  ['cluster', []],
  ['cluster', [{ host: 'a' }]],
  ['sentinel', { nodes: [{ host: 'a', port: 1 }] }],
  ['sentinel', { name: 'a', nodes: [] }],
  ['heartbeatInterval', 0],
  ['responseTimeout', -1],
  ['requestsTimeout', 'soon'],
  ['maxQueuedMessages', -1],
  ['maxQueuedBytes', 'many'],
  ['unknown', 1],
])('the option redis.%s refuses %p', (name, value) => {
  const make = () => new WebSocketService({ redis: { [name]: value } } as any);
  expect(make).toThrow(TypeError);
  expect(make).toThrow(new RegExp(`redis\\.${name}`));
});

test('the option history.persist refuses what is no boolean', () => {
  expect(() => new WebSocketService({ history: { persist: 'yes' } } as any)).toThrow(/history\.persist/);
});

/** A port where this is the answer to everything, or nothing is. */
async function speaking(text: string): Promise<{ host: string; port: number }> {
  const sockets = new Set<{ destroy(): void }>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('data', () => text && socket.end(text));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  afterTest(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { host: '127.0.0.1', port: (server.address() as { port: number }).port };
}

// The messages of @socket.io/redis-adapter on the wire: captured ones are understood, and ours look the same.

import { decode, encode } from 'notepack.io';
import { Redis } from 'ioredis';
import { afterTest, next, received, record, type Client, type Running } from '../support/harness';
import { eventually, within } from '../support/eventually';
import { at, connectAs, newPrefix, settled, startFleet, statsOf } from '../support/fleet';
import { sharedRedis } from '../support/redis';

const redis = sharedRedis();
let prefix: string;
let member: Running;
let alice: Client;
let bob: Client;

beforeEach(async () => {
  prefix = newPrefix();
  [member] = (await startFleet(1, at(redis().address, prefix))) as [Running];
  alice = await connectAs(member, 'alice');
  bob = await connectAs(member, 'bob');
  await member.service.getSocket(alice.id!)!.join('room1');
  await member.service.getSocket(bob.id!)!.join(['room2', '7']);
});

const publish = (channel: string, payload: Buffer | string) => redis().command('PUBLISH', channel, payload);
const hex = (text: string) => Buffer.from(text, 'hex');
const argsOf = (client: Client, event: string) =>
  client.received.filter((entry) => entry.event === event).map(({ args }) => args);

/** What is published on channels that match, decoded. */
async function listen(pattern: string): Promise<Array<{ channel: string; payload: Buffer; message: any }>> {
  const heard: Array<{ channel: string; payload: Buffer; message: any }> = [];
  const client = new Redis(redis().port, redis().host);
  afterTest(() => client.disconnect());
  client.on('pmessageBuffer', (_pattern, channel: Buffer, payload: Buffer) => {
    const message = payload[0] === 0x7b ? JSON.parse(payload.toString()) : decode(payload);
    heard.push({ channel: channel.toString(), payload, message });
  });
  await client.psubscribe(pattern);
  return heard;
}

describe('is understood', () => {
  test('a broadcast to one room, to all but one, and of the emitter', async () => {
    const one =
      '93a64a394531676d83a47479706502a46461746193a568656c6c6fa5776f726c6401a36e7370a12f' +
      '83a5726f6f6d7391a5726f6f6d31a665786365707490a5666c61677380';
    const all =
      '93a64a394531676d83a47479706502a46461746192a2657681a16101a36e7370a12f' +
      '83a5726f6f6d7390a665786365707491a5726f6f6d32a5666c61677380';
    const job =
      '93a7656d697474657283a47479706502a46461746192a2653281a16e01a36e7370a12f' +
      '83a5726f6f6d7391a5726f6f6d31a5666c61677380a665786365707490';
    await publish(`${prefix}#/#room1#`, hex(one));
    await publish(`${prefix}#/#`, hex(all));
    await publish(`${prefix}#/#room1#`, hex(job));
    await eventually(() => expect(argsOf(alice, 'e2')).toEqual([[{ n: 1 }]]));
    expect(argsOf(alice, 'hello')).toEqual([['world', 1]]);
    expect(argsOf(alice, 'ev')).toEqual([[{ a: 1 }]]);
    await settled([member], bob);
    for (const event of ['hello', 'ev', 'e2']) expect(received(bob, event)).toEqual([]);
    expect(statsOf(member).ignored).toBe(0);
  });

  test('a join, and the older form of joining and leaving', async () => {
    const responses = await listen(`${prefix}-response#/#*`);
    const roomsOf = (client: Client) => [...member.service.getSocket(client.id!)!.rooms].sort();
    await publish(
      `${prefix}-request#/#`,
      '{"uid":"J9E1gm","type":2,"opts":{"rooms":["room1"],"except":[]},"rooms":["x","y"]}',
    );
    await eventually(() => expect(roomsOf(alice)).toEqual([alice.id!, 'room1', 'x', 'y'].sort()));
    await publish(
      `${prefix}-request#/#`,
      JSON.stringify({ uid: 'J9E1gm', requestId: 'older1', type: 2, sid: bob.id, room: 'z' }),
    );
    await eventually(() => expect(roomsOf(bob)).toEqual([bob.id!, 'room2', '7', 'z'].sort()));
    await publish(
      `${prefix}-request#/#`,
      JSON.stringify({ uid: 'J9E1gm', requestId: 'older2', type: 3, sid: bob.id, room: 'z' }),
    );
    await eventually(() => expect(roomsOf(bob)).toEqual([bob.id!, 'room2', '7'].sort()));
    await eventually(() => expect(responses.map(({ message }) => message.requestId)).toEqual(['older1', 'older2']));
    const gone = next(bob, 'disconnect');
    await publish(
      `${prefix}-request#/#`,
      JSON.stringify({ uid: 'J9E1gm', requestId: 'older3', type: 4, sid: bob.id, close: true }),
    );
    await within(3000, 'the disconnect', gone);
  });

  test('rooms as numbers, a missing namespace, and the older forms of dates and binary', async () => {
    await publish(
      `${prefix}#/#7#`,
      encode(['J9E1gm', { type: 2, data: ['numeric', 1] }, { rooms: [7], except: [], flags: {} }]),
    );
    await publish(
      `${prefix}#/#`,
      encode(['J9E1gm', { type: 2, data: ['numeric except', 1] }, { rooms: [], except: [7] }]),
    );
    await eventually(() => {
      expect(received(bob, 'numeric')).toEqual([1]);
      expect(received(alice, 'numeric except')).toEqual([1]);
    });
    // Extension 0 of notepack.io 2: undefined, a date in milliseconds, and an ArrayBuffer.
    const milliseconds = Buffer.alloc(8);
    milliseconds.writeBigInt64BE(1_709_208_000_123n);
    const older = Buffer.concat([hex('d40000'), hex('d700'), milliseconds, hex('c70300010203'), hex('c8000300040506')]);
    const head = Buffer.concat([
      hex('93'),
      encode('J9E1gm'),
      hex('82'),
      encode('type'),
      encode(2),
      encode('data'),
      hex('95'),
      encode('older'),
      older,
    ]);
    await publish(`${prefix}#/#`, Buffer.concat([head, encode({ rooms: [], except: [], flags: {} })]));
    await eventually(() => expect(argsOf(alice, 'older')).toHaveLength(1));
    expect(argsOf(alice, 'older')).toEqual([
      [null, '2024-02-29T12:00:00.123Z', Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])],
    ]);
    await settled([member], bob);
    expect(received(bob, 'numeric except')).toEqual([]);
    expect(statsOf(member).ignored).toBe(0);
  });

  test('questions, answered once each and where they are asked for', async () => {
    const responses = await listen(`${prefix}-response#/#*`);
    alice.on('question', (answer: (value: unknown) => void) => answer(Buffer.from([1])));
    bob.on('question', (answer: (value: unknown) => void) => answer({ deep: [null, 'ü'] }));
    member.service.on('hello', (n: number, answer: (value: unknown) => void) => answer({ n }));
    const request = (body: object) => publish(`${prefix}-request#/#`, JSON.stringify({ uid: 'J9E1gm', ...body }));
    await request({ type: 0, requestId: 'sockets', rooms: ['room1'] });
    await request({ type: 1, requestId: 'rooms' });
    await request({ type: 5, requestId: 'fetch', opts: { rooms: [], except: ['room2'] } });
    await request({ type: 6, requestId: 'emit', data: ['hello', 3] });
    const packet = { type: 2, data: ['question'], nsp: '/' };
    const opts = { rooms: ['room1', 'room2'], except: [], flags: { timeout: 3000, expectSingleResponse: false } };
    await publish(`${prefix}-request#/#`, encode({ uid: 'J9E1gm', requestId: 'ask', type: 7, packet, opts }));
    await publish(
      `${prefix}-request#/#`,
      encode({ uid: 'J9E1gm', requestId: 'nobody', type: 7, packet, opts: { ...opts, rooms: ['unknown'] } }),
    );

    const of = (id: string) =>
      responses.filter(({ message }) => message.requestId === id).map(({ message }) => message);
    await eventually(() => expect([...of('ask'), ...of('nobody')]).toHaveLength(4));
    expect(of('sockets')).toEqual([{ requestId: 'sockets', sockets: [alice.id] }]);
    expect(of('rooms').map(({ rooms }) => [...rooms].sort())).toEqual([
      [alice.id!, bob.id!, 'room1', 'room2', '7'].sort(),
    ]);
    expect(of('fetch')).toMatchObject([
      { sockets: [{ id: alice.id, handshake: { auth: { userId: 'alice' } }, data: {} }] },
    ]);
    expect([...of('fetch')[0].sockets[0].rooms].sort()).toEqual([alice.id!, 'room1'].sort());
    expect(of('emit')).toEqual([{ type: 6, requestId: 'emit', data: { n: 3 } }]);
    expect(of('ask').filter(({ type }) => type === 8)).toEqual([{ type: 8, requestId: 'ask', clientCount: 2 }]);
    expect(of('nobody')).toEqual([{ type: 8, requestId: 'nobody', clientCount: 0 }]);
    const answers = of('ask')
      .filter(({ type }) => type === 9)
      .map((answer) => answer.packet);
    expect(answers).toHaveLength(2);
    expect(answers).toContainEqual({ deep: [null, 'ü'] });
    expect(answers.some((answer) => Buffer.isBuffer(answer) || answer instanceof Uint8Array)).toBe(true);
    // The common channel or the asker's own, both of which the asker hears; of an event, the common one only.
    for (const { channel, message } of responses) {
      expect([`${prefix}-response#/#`, `${prefix}-response#/#J9E1gm#`]).toContain(channel);
      if (message.type === 6) expect(channel).toBe(`${prefix}-response#/#`);
    }
    // In JSON: counts and lists. In MessagePack: what a client answered, which may be binary.
    for (const { payload, message } of responses)
      expect([message.type, payload[0] === 0x7b]).toEqual([message.type, message.type !== 9]);
  });
});

describe('is what we send', () => {
  test('broadcasts, on the channel of their room if there is one', async () => {
    const heard = await listen(`${prefix}#/#*`);
    const { service } = member;
    const room = await service.createRoom('chat');
    const bytes = Buffer.from([1, 2, 255]);
    service.in('room1').emit('one', 1, 'two', { bytes, date: new Date(1000), absent: undefined }, undefined);
    service.to(['room1', 'room2']).except(['room3', 'room4']).emit('many');
    service.in('room1').except('room2').emit('except');
    service.except('room2').volatile.emit('volatile');
    await service.broadcastToRoom(room.id, 'news', { n: 1 }, { except: ['someone'] });
    await service.broadcastToAll('all', [2 ** 31, -33, 0.5, 2 ** 53 - 1]);
    await service.broadcastToAll('nobody', 1, { users: [] });
    await service.broadcastToAll('last', 1);
    await eventually(() => expect(heard.at(-1)?.message[1].data[0]).toBe('last'));

    const { uid } = statsOf(member);
    const seen = heard.filter(({ message }) => !/marker/.test(message[1].data[0]));
    const [one, many, except, volatile, news, all] = seen;
    expect(seen.map(({ message }) => message[1].data[0])).toEqual([
      'one',
      'many',
      'except',
      'volatile',
      'news',
      'all',
      'last',
    ]);
    for (const { message } of seen) {
      expect(message).toHaveLength(3);
      expect(message[0]).toBe(uid);
      expect(message[1]).toMatchObject({ type: 2, data: expect.any(Array), nsp: '/' });
      expect(message[2]).toMatchObject({
        rooms: expect.any(Array),
        except: expect.any(Array),
        flags: expect.any(Object),
      });
    }
    expect(one!.channel).toBe(`${prefix}#/#room1#`);
    const [, data] = one!.message;
    expect(data.data.slice(0, 3)).toEqual(['one', 1, 'two']);
    expect(Buffer.from(data.data[3].bytes)).toEqual(bytes);
    expect(new Date(data.data[3].date)).toEqual(new Date(1000));
    expect('absent' in data.data[3]).toBe(false);
    expect(data.data).toHaveLength(5);
    expect(many!.channel).toBe(`${prefix}#/#`);
    expect(many!.message[2]).toMatchObject({ rooms: ['room1', 'room2'], except: ['room3', 'room4'] });
    expect([except!.channel, except!.message[2].except]).toEqual([`${prefix}#/#room1#`, ['room2']]);
    expect([volatile!.channel, volatile!.message[2].flags.volatile]).toEqual([`${prefix}#/#`, true]);
    expect(news!.channel).toBe(`${prefix}#/#${room.id}#`);
    expect(news!.message[2]).toMatchObject({ rooms: [room.id], except: ['someone'] });
    expect(all!.message[1].data).toEqual(['all', [2 ** 31, -33, 0.5, 2 ** 53 - 1]]);
    expect(all!.message[2]).toMatchObject({ rooms: [], except: [] });
  });

  test('requests', async () => {
    const heard = await listen(`${prefix}-request#/#`);
    // Somebody else who listens, so that there is somebody to ask.
    const other = new Redis(redis().port, redis().host);
    afterTest(() => other.disconnect());
    await other.subscribe(`${prefix}-request#/#`);
    const { service } = member;
    const { uid } = statsOf(member);
    record(service, 'error');
    service.in('room1').socketsJoin(['x', 'y']);
    service.except('room2').socketsLeave('x');
    service.in('unknown').disconnectSockets(true);
    service.serverSideEmit('hello', 1, null);
    const lists = [
      service.in('room1').fetchSockets(),
      service.allRooms(),
      service.in('room1').timeout(400).emitWithAck('question', 1),
    ];
    const failed = Promise.allSettled(lists);
    await eventually(() => expect(heard.map(({ message }) => message.type).sort()).toEqual([1, 2, 3, 4, 5, 6, 7]));
    const of = (type: number) => heard.find(({ message }) => message.type === type)!;
    expect(of(1).message).toEqual({ uid, requestId: expect.any(String), type: 1 });
    expect(of(2).message).toEqual({ uid, type: 2, opts: { rooms: ['room1'], except: [] }, rooms: ['x', 'y'] });
    expect(of(3).message).toEqual({ uid, type: 3, opts: { rooms: [], except: ['room2'] }, rooms: ['x'] });
    expect(of(4).message).toEqual({ uid, type: 4, opts: { rooms: ['unknown'], except: [] }, close: true });
    expect(of(5).message).toEqual({
      uid,
      requestId: expect.any(String),
      type: 5,
      opts: { rooms: ['room1'], except: [] },
    });
    expect(of(6).message).toEqual({ uid, type: 6, data: ['hello', 1, null] });
    expect(of(7).message).toMatchObject({
      uid,
      requestId: expect.any(String),
      type: 7,
      packet: { type: 2, data: ['question', 1] },
      opts: { rooms: ['room1'], except: [], flags: { timeout: 400 } },
    });
    expect(of(7).message.packet).not.toHaveProperty('id');
    for (const { message, payload } of heard)
      expect([message.type, payload[0] === 0x7b]).toEqual([message.type, message.type !== 7]);
    await failed;
  }, 30_000);
});

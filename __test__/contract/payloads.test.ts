// Contract section 3: `data` may hold anything that Socket.IO sends, and arrives as Socket.IO delivers it.

import fc from 'fast-check';
import type { Server as SocketIoServer } from 'socket.io';
import { startReference } from '../support/http';
import {
  connect,
  drained,
  members,
  next,
  never,
  received,
  singleTransports,
  start,
  type Client,
  type Running,
} from '../support/harness';
import { payload } from '../support/payload';

class Money {
  constructor(
    private readonly amount: number,
    readonly currency: string,
  ) {}
  toJSON(key: string) {
    return { amount: this.amount, currency: this.currency, key };
  }
}

class Point {
  x = 1;
  y = 2;
  get length() {
    return Math.hypot(this.x, this.y);
  }
}

const bytes = (length: number) => Uint8Array.from({ length }, (_, index) => index % 256);
const nested = (depth: number, leaf: unknown): unknown => (depth === 0 ? leaf : { in: [nested(depth - 1, leaf)] });
const nullPrototype = Object.assign(Object.create(null), { a: 1 });

const values: Array<[string, unknown]> = [
  ['a string', 'text'],
  ['an empty string', ''],
  ['escapes', '"\\/\b\f\n\r\t\u0000\u2028\u2029'],
  ['every script', 'Ω 日本 😀 é'],
  ['a number', 5.25],
  ['a large number', 2 ** 53],
  ['minus zero', -0],
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['true', true],
  ['false', false],
  ['null', null],
  ['undefined', undefined],
  ['an array', [1, 'two', null, [3]]],
  ['an empty array', []],
  ['a sparse array', [1, , 3]],
  ['undefined, NaN and functions inside', { a: undefined, b: NaN, c: [undefined, NaN, () => 1], d: () => 1 }],
  ['an object', { a: { b: { c: [1, { d: 2 }] } } }],
  ['an empty object', {}],
  ['an object without prototype', nullPrototype],
  ['a class instance', new Point()],
  ['symbols', { [Symbol('s')]: 1, a: Symbol('t') }],
  ['keys that mean something', JSON.parse('{"__proto__":{"x":1},"constructor":1,"length":5,"toString":"s"}')],
  ['a Date', new Date(1700000000123)],
  ['a Date inside', { at: new Date(0), list: [new Date(1)] }],
  ['an invalid Date', { at: new Date(NaN) }],
  ['toJSON', new Money(5, 'EUR')],
  ['toJSON inside', { price: new Money(5, 'EUR'), list: [new Money(6, 'USD')] }],
  ['toJSON that returns a Date', { toJSON: () => new Date(5) }],
  ['toJSON that returns a Buffer', { inner: { toJSON: () => Buffer.from([1, 2]) } }],
  ['a toJSON that is no function', { toJSON: 'text' }],
  ['a Map and a Set', { map: new Map([[1, 2]]), set: new Set([1]) }],
  ['an Error', { error: new Error('secret') }],
  ['a RegExp', { re: /x/g }],
  ['boxed values', [new String('s'), new Number(5), new Boolean(false)]],
  ['a Buffer', Buffer.from([0, 1, 2, 255])],
  ['an empty Buffer', Buffer.alloc(0)],
  ['a large Buffer', Buffer.from(bytes(200_000))],
  ['an ArrayBuffer', bytes(8).buffer],
  ['a Uint8Array', bytes(5)],
  ['a part of an ArrayBuffer', bytes(16).subarray(4, 8)],
  ['a Uint16Array', Uint16Array.of(1, 65535)],
  ['an Int32Array', Int32Array.of(-1, 5)],
  ['a Float64Array', Float64Array.of(0.5, -2)],
  ['a DataView', new DataView(bytes(8).buffer, 2, 4)],
  ['binary in objects and arrays', { a: Buffer.from('a'), b: [Buffer.from('b'), { c: bytes(3) }], d: 5 }],
  ['the same Buffer twice', ((shared) => [shared, shared])(Buffer.from('x'))],
  ['binary at depth', nested(20, Buffer.from('deep'))],
  ['ten attachments', Array.from({ length: 10 }, (_, index) => Buffer.from([index]))],
  ['binary beside a Date', { at: new Date(5), bin: Buffer.from([1]) }],
  ['binary beside undefined', { a: undefined, b: [undefined, NaN], bin: Buffer.from([1]) }],
  ['binary beside toJSON', { price: new Money(5, 'EUR'), bin: Buffer.from([1]) }],
  ['text that looks like a placeholder', { _placeholder: true, num: 0 }],
  ['a key named toJSON inside binary', { bin: Buffer.from([1]), toJSON: 1 }],
  ['depth', nested(500, 'leaf')],
  ['depth with binary', nested(500, Buffer.from('deep'))],
  ['lone surrogates', ['\ud800', 'a\udfffz', '\udc00\ud800', '\ud83d\ude00\ud83d']],
  ['lone surrogates in keys', { '\ud800': { '\udc00': 1 }, '\udfff': '\ud800' }],
  ['lone surrogates beside binary', { '\ud800': '\udc00', bin: Buffer.from([1]) }],
  ['repeated placeholders of one Buffer', ((shared) => ({ a: shared, b: { c: shared } }))(Buffer.from('y'))],
];

const refusedValues: Array<[string, () => unknown]> = [
  ['a BigInt', () => 5n],
  ['a BigInt inside', () => ({ a: [5n] })],
  [
    'a cycle',
    () => {
      const cycle: any = { list: [] };
      cycle.list.push(cycle);
      return cycle;
    },
  ],
  [
    'a toJSON that throws',
    () => ({
      toJSON() {
        throw new Error('not this');
      },
    }),
  ],
  [
    'a getter that throws',
    () => ({
      get a() {
        throw new Error('not this');
      },
    }),
  ],
];

/** One text for equal deliveries: with the kind of every binary value and the difference between undefined and null. */
function shape(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return `Buffer ${value.toString('hex')}`;
  if (ArrayBuffer.isView(value)) return `${value.constructor.name} view`;
  if (value === undefined) return 'undefined';
  if (Object.is(value, -0)) return '-0';
  if (Array.isArray(value)) return value.map(shape);
  if (value && typeof value === 'object') {
    if (Object.prototype.toString.call(value) === '[object ArrayBuffer]') return 'ArrayBuffer';
    return Object.entries(value).map(([key, each]) => [key, shape(each)]);
  }
  return value;
}

describe.each(singleTransports)('over %s', (transport) => {
  let running: Running;
  let client: Client;
  let reference: SocketIoServer;
  let referenceClient: Client;

  beforeEach(async () => {
    running = await start();
    client = await connect(running, { transports: [transport] });
    const { io, url } = await startReference();
    reference = io;
    referenceClient = await connect(url, { transports: [transport] });
  });

  async function delivered(to: Client, send: () => unknown): Promise<unknown> {
    const arrived = next(to, 'value');
    await send();
    return shape(await arrived);
  }

  test.each(values)('%s arrives as Socket.IO delivers it', async (_name, value) => {
    const expected = await delivered(referenceClient, () => reference.emit('value', value));
    const id = client.id!;
    expect(await delivered(client, () => running.service.emitToSocket(id, 'value', value))).toEqual(expected);
    expect(await delivered(client, () => running.service.broadcastToAll('value', value))).toEqual(expected);
    expect(await delivered(client, () => running.service.broadcastToUsers([id], 'value', value))).toEqual(expected);
    expect(await delivered(client, () => running.service.getSocket(id)!.emit('value', value))).toEqual(expected);
    const room = await running.service.createRoom('r');
    await running.service.joinRoom(id, room.id);
    expect(await delivered(client, () => running.service.broadcastToRoom(room.id, 'value', value))).toEqual(expected);
    await drained(running.service, client);
    expect(received(client, 'value')).toHaveLength(5);
  });

  test.each(values)('%s reaches the server as it reaches Socket.IO', async (_name, value) => {
    const expected = next(reference.sockets.sockets.get(referenceClient.id!)!, 'value');
    referenceClient.emit('value', value);
    const actual = next(running.service.getSocket(client.id!)! as any, 'value');
    client.emit('value', value);
    expect(shape(await actual)).toEqual(shape(await expected));
  });

  test('whatever it is, it arrives as Socket.IO delivers it, either way', async () => {
    const [socket, theirs] = [running.service.getSocket(client.id!)!, reference.sockets.sockets.get(referenceClient.id!)!];
    const both = async (value: unknown) => {
      const expected = await delivered(referenceClient, () => reference.emit('value', value));
      expect(await delivered(client, () => running.service.broadcastToAll('value', value))).toEqual(expected);
      const [there, here] = [next(theirs, 'value'), next(socket as any, 'value')];
      referenceClient.emit('value', value);
      client.emit('value', value);
      expect(shape(await here)).toEqual(shape(await there));
    };
    await fc.assert(fc.asyncProperty(payload, both), { numRuns: 50 });
  });

  test.each(refusedValues)('%s is refused and reaches nobody', async (_name, make) => {
    expect(() => reference.emit('value', make())).toThrow();
    const room = await running.service.createRoom('r');
    await running.service.joinRoom(client.id!, room.id);
    await expect(running.service.broadcastToAll('value', make())).rejects.toBeDefined();
    await expect(running.service.broadcastToRoom(room.id, 'value', make())).rejects.toBeDefined();
    await expect(running.service.broadcastToUsers([client.id!], 'value', make())).rejects.toBeDefined();
    await expect(running.service.emitToSocket(client.id!, 'value', make())).rejects.toBeDefined();
    await never(running.service, 'value', client);
  });

  test('a Blob, whose bytes Socket.IO would never send, is refused', async () => {
    const refused = { code: 'ERR_INVALID_ARGUMENT', message: expect.stringContaining('without Blobs') };
    for (const value of [new Blob(['x']), { a: [Buffer.from('x'), new Blob(['x'])] }]) {
      await expect(running.service.broadcastToAll('value', value)).rejects.toMatchObject(refused);
    }
    await never(running.service, 'value', client);
  });

  test('several arguments arrive as they were given', async () => {
    const arrived = next(client, 'several');
    running.service.getSocket(client.id!)!.emit('several', 1, 'two', { three: Buffer.from([3]) }, null, [5]);
    expect(await arrived).toEqual([1, 'two', { three: Buffer.from([3]) }, null, [5]]);
  });
});

test('a value is taken at the time of the call', async () => {
  const running = await start();
  const client = await connect(running);
  const value = { n: 1, bin: Buffer.from([1]) };
  const sent = running.service.broadcastToAll('value', value);
  value.n = 2;
  await sent;
  await drained(running.service, client);
  expect(received(client, 'value')[0].n).toBe(1);
});

test('a value is turned into its wire form once, whatever the number of recipients', async () => {
  const running = await start();
  const room = await running.service.createRoom('r');
  await members(running, room, 5);
  let times = 0;
  const value = {
    toJSON() {
      times++;
      return 'once';
    },
  };
  await running.service.broadcastToRoom(room.id, 'value', value);
  const inRoom = times;
  expect(inRoom).toBeLessThanOrEqual(2);
  times = 0;
  const [only] = await members(running, await running.service.createRoom('one'), 1);
  await running.service.emitToSocket(only!.id!, 'value', value);
  expect(times).toBe(inRoom);
});

test('metadata of rooms and messages may hold dates', async () => {
  const running = await start();
  const room = await running.service.createRoom('r');
  const [client] = await members(running, room, 1);
  const arrived = next(client!, 'message');
  await running.service.sendMessage(room.id, 'server', 'hi', 'text', { at: new Date(0), price: new Money(1, 'EUR') });
  expect((await arrived)[0].metadata).toEqual({
    at: '1970-01-01T00:00:00.000Z',
    price: { amount: 1, currency: 'EUR', key: 'price' },
  });
});

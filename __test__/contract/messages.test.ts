// Contract sections 2 and 3: messages and their history.

import { EventEmitter } from 'node:events';
import type * as Api from '../../index';
import {
  connect,
  drained,
  eventsDelivered,
  exactly,
  members,
  never,
  nextWhere,
  received,
  record,
  start,
  TrustingService,
  UUID_V4,
  type Running,
} from '../support/harness';

const { aliveAfterCollection } = require('../support/collection.js');
const { Messages } = jest.requireActual('../../dist/objects/messages.js');

const contents = (running: Running, roomId: string, limit?: number, offset?: number): string[] =>
  running.service.getRoomMessages(roomId, limit, offset).map((message) => message.content);

describe('sendMessage', () => {
  test('stores, delivers and announces one message', async () => {
    const running = await start();
    const room = await running.service.createRoom('r');
    const inside = await members(running, room, 3);
    const outside = await connect(running);
    const announced = record(running.service, 'message');
    const message = await running.service.sendMessage(room.id, 'server', 'hello', 'image', { width: 5 });
    expect(message).toEqual({
      id: expect.stringMatching(UUID_V4),
      roomId: room.id,
      userId: 'server',
      content: 'hello',
      type: 'image',
      metadata: { width: 5 },
      timestamp: expect.any(Date),
    });
    await exactly(1, running.service, 'message', ...inside);
    for (const client of inside) expect(received(client, 'message')[0]).toEqual(JSON.parse(JSON.stringify(message)));
    await never(running.service, 'message', outside);
    await eventsDelivered(running.service);
    expect(announced.filter(([each]) => each.roomId === room.id)).toEqual([[message]]);
  });

  test('only stores and announces with deliverMessages: false; a client delivers as before', async () => {
    const running = await start({ deliverMessages: false });
    const room = await running.service.createRoom('r');
    const [alice, bob] = await members(running, room, 2);
    const byHand = new EventEmitter();
    const given = record(byHand, 'message');
    await running.service.handleConnection(Object.assign(byHand, { id: 'by hand' }) as any);
    await running.service.joinRoom('by hand', room.id);
    const announced = record(running.service, 'message');
    const message = await running.service.sendMessage(room.id, 'server', 'of the server');
    expect(announced).toEqual([[message]]);
    expect(running.service.getRoomMessages(room.id)).toEqual([message]);
    expect(running.service.getRoomStats(room.id)).toMatchObject({ messageCount: 1, lastActivity: message.timestamp });
    expect(running.service.getStats().messagesPerMinute).toBe(1);
    await never(running.service, 'message', alice!, bob!);
    expect(given).toEqual([]);

    await alice!.emitWithAck('message', { roomId: room.id, content: 'of a client' });
    await exactly(1, running.service, 'message', alice!, bob!);
    expect(given).toMatchObject([[{ content: 'of a client' }]]);
    expect(contents(running, room.id)).toEqual(['of a client', 'of the server']);
  });

  test('carries the name of a connected user', async () => {
    const running = await start({}, { Service: TrustingService });
    const client = await connect(running, { auth: { userId: 'alice', user: { username: 'Alice' } } });
    const room = await running.service.createRoom('r');
    await running.service.joinRoom(client.id!, room.id);
    expect(await running.service.sendMessage(room.id, 'alice', 'hi')).toMatchObject({ username: 'Alice' });
    expect((await running.service.sendMessage(room.id, 'bob', 'hi')).username).toBeUndefined();
    await drained(running.service, client);
    expect(received(client, 'message').map((message) => message.username)).toEqual(['Alice', undefined]);
  });

  test('to an unknown room rejects with its code', async () => {
    const running = await start();
    const client = await connect(running);
    await expect(running.service.sendMessage('unknown', 'server', 'hi')).rejects.toMatchObject({
      name: 'WebSocketServiceError',
      code: 'ERR_NOT_FOUND',
      message: 'Room not found',
    });
    await never(running.service, 'message', client);
  });

  test('a wrong type stores and delivers nothing', async () => {
    const running = await start();
    const room = await running.service.createRoom('r');
    const [client] = await members(running, room, 1);
    await expect(running.service.sendMessage(room.id, 'server', 'hi', 'video' as any)).rejects.toMatchObject({
      name: 'TypeError',
      code: 'ERR_INVALID_ARGUMENT',
    });
    expect(running.service.getRoomMessages(room.id)).toEqual([]);
    await never(running.service, 'message', client!);
  });

  test.each(['', 'plain', '日本 😀', '"quoted" \\ back\n\t\u0001\u2028', '{"json":true}', 'x'.repeat(100_000)])(
    'the content %# arrives as it was given',
    async (content) => {
      const running = await start();
      const room = await running.service.createRoom('r');
      const [client] = await members(running, room, 1);
      const message = await running.service.sendMessage(room.id, 'server', content);
      await drained(running.service, client!);
      expect(received(client!, 'message')[0].content).toBe(content);
      expect(message.content).toBe(content);
      expect(contents(running, room.id)).toEqual([content]);
    },
  );

  test('many at once are stored and delivered in the order of the calls', async () => {
    const running = await start();
    const room = await running.service.createRoom('r');
    const clients = await members(running, room, 2);
    const names = Array.from({ length: 200 }, (_, index) => `${index}`);
    await Promise.all(names.map((name) => running.service.sendMessage(room.id, 'server', name)));
    await drained(running.service, ...clients);
    for (const client of clients) expect(received(client, 'message').map((each) => each.content)).toEqual(names);
    expect(contents(running, room.id, 200).reverse()).toEqual(names);
  });

  test("the metadata of a message is the caller's object", async () => {
    const { service } = await start();
    const room = await service.createRoom('r');
    const metadata = { at: new Date(0), nested: { list: [1] } };
    const message = await service.sendMessage(room.id, 'ann', 'hi', 'text', metadata);
    expect(message.metadata).toBe(metadata);
    expect(service.getRoomMessages(room.id)[0]!.metadata).toBe(metadata);
  });
});

describe('getRoomMessages', () => {
  let running: Running;
  let roomId: string;
  beforeEach(async () => {
    running = await start();
    roomId = (await running.service.createRoom('r')).id;
    for (let index = 0; index < 60; index++) await running.service.sendMessage(roomId, 'server', `${index}`);
  });

  const numbers = (from: number, to: number) => Array.from({ length: from - to + 1 }, (_, index) => `${from - index}`);

  test.each([
    [undefined, undefined, numbers(59, 10)],
    [3, undefined, numbers(59, 57)],
    [3, 2, numbers(57, 55)],
    [100, undefined, numbers(59, 0)],
    [100, 58, numbers(1, 0)],
    [5, 60, []],
    [5, 1000, []],
    [0, 0, []],
    [Infinity, 0, numbers(59, 0)],
  ])('limit %p, offset %p', (limit, offset, expected) => {
    expect(contents(running, roomId, limit, offset)).toEqual(expected);
  });

  test('returns a list of its own', () => {
    running.service.getRoomMessages(roomId).length = 0;
    expect(running.service.getRoomMessages(roomId)).toHaveLength(50);
  });
});

describe('history limits', () => {
  test('maxMessagesPerRoom keeps the newest', async () => {
    const running = await start({ history: { maxMessagesPerRoom: 3 } });
    const [room, other] = [await running.service.createRoom('r'), await running.service.createRoom('o')];
    await running.service.sendMessage(other.id, 'server', 'kept');
    for (const content of ['a', 'b', 'c', 'd', 'e']) await running.service.sendMessage(room.id, 'server', content);
    expect(contents(running, room.id)).toEqual(['e', 'd', 'c']);
    expect(contents(running, room.id, 50, 2)).toEqual(['c']);
    expect(running.service.getRoomStats(room.id)!.messageCount).toBe(3);
    expect(contents(running, other.id)).toEqual(['kept']);
  });

  test('maxMessagesPerRoom 0 delivers and keeps none', async () => {
    const running = await start({ history: { maxMessagesPerRoom: 0 } });
    const room = await running.service.createRoom('r');
    const [client] = await members(running, room, 1);
    expect(await running.service.sendMessage(room.id, 'server', 'hi')).toMatchObject({ content: 'hi' });
    await exactly(1, running.service, 'message', client!);
    expect(contents(running, room.id)).toEqual([]);
  });

  test('maxAgeMs forgets what is older', async () => {
    const running = await start({ history: { maxAgeMs: 200 } });
    const room = await running.service.createRoom('r');
    const old = await running.service.sendMessage(room.id, 'server', 'old');
    // Only time makes a message old.
    while (Date.now() - old.timestamp.getTime() <= 200) await new Promise((turn) => setImmediate(turn));
    await running.service.sendMessage(room.id, 'server', 'new');
    expect(contents(running, room.id)).toEqual(['new']);
    expect(running.service.getRoomStats(room.id)!.messageCount).toBe(1);
  });

  test.each([1, 63, 64, 65, 200])('of a room that keeps %i, the kept are the same objects and others are forgotten', async (most) => {
    const { service } = await start({ history: { maxMessagesPerRoom: most } });
    const room = await service.createRoom('r');
    const sent: Api.Message[] = [];
    for (let index = 0; index < 2 * most + 70; index++) {
      const message = await service.sendMessage(room.id, 'server', `${index}`);
      message.edited = true;
      sent.push(message);
      if (index % 50 === 0) expect(service.getRoomMessages(room.id, 1)[0]).toBe(message);
    }
    const kept = service.getRoomMessages(room.id, Infinity);
    expect(kept).toHaveLength(most);
    kept.forEach((message, index) => expect(message).toBe(sent.at(-1 - index)));
    expect(kept.every((message) => message.edited)).toBe(true);
    expect(service.getRoomMessages(room.id, 5, most - 1)).toEqual([kept.at(-1)]);
    expect(service.getRoomMessages(room.id, 5, most)).toEqual([]);
  });

  test('a dropped message can be collected, a kept one is held', async () => {
    const { service } = await start({ history: { maxMessagesPerRoom: 3 } });
    const room = await service.createRoom('r');
    const objects: WeakRef<Api.Message>[] = [];
    for (let index = 0; index < 5; index++) objects.push(new WeakRef(await service.sendMessage(room.id, 'server', `${index}`)));
    await aliveAfterCollection(objects, 3);
    expect(objects.map((object) => object.deref()?.content)).toEqual([undefined, undefined, '2', '3', '4']);
  });

  test('messages that were never looked at join those that were, wherever they are', async () => {
    const running = await start();
    const room = await running.service.createRoom('r');
    const [client] = await members(running, room, 1);
    const sent = Array.from({ length: 200 }, (_, index) =>
      client!.emitWithAck('message', { roomId: room.id, content: `${index}` }),
    );
    await Promise.all(sent);
    // Islands: one in the middle, one at the end, one across the 64th, which pages then run over.
    const islands = [[3, 100], [2, 0], [10, 130]].map(([limit, offset]) =>
      running.service.getRoomMessages(room.id, limit, offset),
    );
    const all = running.service.getRoomMessages(room.id, Infinity);
    expect(all.map(({ content }) => content)).toEqual(Array.from({ length: 200 }, (_, index) => `${199 - index}`));
    expect(all[100]).toBe(islands[0]![0]);
    expect(all[1]).toBe(islands[1]![1]);
    expect(islands[2]).toHaveLength(10);
    islands[2]!.forEach((message, index) => expect(all[130 + index]).toBe(message));
    const page = running.service.getRoomMessages(room.id, 50, 95);
    expect(page).toHaveLength(50);
    expect(page.every((message, index) => message === all[95 + index])).toBe(true);
  });

  test('what becomes too old while a page is made is not in it', () => {
    let first = 0;
    const asked: number[][] = [];
    const native = {
      keptMessages: () => [0, 6],
      messages(_: string, oldest: number, newest: number) {
        asked.push([oldest, newest]);
        const kept = [5, 4, 3, 2, 1, 0].filter((seq) => seq >= Math.max(first, oldest) && seq <= newest);
        return [first, ...kept.flatMap((seq) => [seq, `{"content":"${seq}"}`, 0])];
      },
    };
    const messages = new Messages(native, native);
    const page = (limit: number, offset: number) =>
      messages.page('r', limit, offset).map(({ content }: Api.Message) => Number(content));
    expect(page(3, 1)).toEqual([4, 3, 2]);
    first = 3;
    expect(page(50, 0)).toEqual([5, 4, 3]);
    first = 6;
    expect(page(50, 4)).toEqual([]);
    expect(asked).toEqual([[2, 4], [5, 5], [0, 1]]);
  });

  test('without limits everything is kept', async () => {
    const running = await start();
    const room = await running.service.createRoom('r');
    for (let index = 0; index < 2000; index++) await running.service.sendMessage(room.id, 'server', `${index}`);
    expect(running.service.getRoomMessages(room.id, Infinity)).toHaveLength(2000);
  });
});

test("history, members and listeners see one order of two clients' messages", async () => {
  const running = await start();
  const room = await running.service.createRoom('r');
  const clients = await members(running, room, 3);
  const announced = record(running.service, 'message');
  const all = nextWhere(running.service, 'message', () => announced.length === 200);
  for (let index = 0; index < 100; index++) {
    clients[0]!.emit('message', { roomId: room.id, content: `a${index}` });
    clients[1]!.emit('message', { roomId: room.id, content: `b${index}` });
  }
  await all;
  const order = announced.map(([message]) => message.content);
  await drained(running.service, ...clients);
  for (const client of clients) expect(received(client, 'message').map((each) => each.content)).toEqual(order);
  expect(contents(running, room.id, 200).reverse()).toEqual(order);
  for (const letter of ['a', 'b']) {
    const own = order.filter((content) => content.startsWith(letter));
    expect(own).toEqual(Array.from({ length: 100 }, (_, index) => `${letter}${index}`));
  }
});

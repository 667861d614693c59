// `room:history`: clients read the messages of a room, in both directions.

import { connect, members, singleTransports, start, type Client, type Running } from '../support/harness';

const contents = (answer: any) => answer.messages.map((message: any) => message.content);
const words = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => `m${from + index}`);

async function stage(transport: 'polling' | 'websocket', config = {}): Promise<Running & { client: Client; room: { id: string }; ids: string[] }> {
  const running = await start(config);
  const room = await running.service.createRoom('room');
  const ids: string[] = [];
  for (const content of words(0, 7)) ids.push((await running.service.sendMessage(room.id, 'ada', content)).id);
  const [client] = await members(running, room, 1, { transports: [transport] });
  return { ...running, client: client!, room, ids };
}

describe.each(singleTransports)('over %s', (transport) => {
  test('the newest, those before and those after a message, the oldest first', async () => {
    const { client, room, ids, service } = await stage(transport);
    const ask = (range: object) => client.emitWithAck('room:history', { roomId: room.id, ...range });
    const all = await ask({});
    expect(all).toEqual({
      ok: true,
      roomId: room.id,
      hasMore: false,
      messages: JSON.parse(JSON.stringify((await service.getRoomMessages(room.id)).reverse())),
    });
    const pages: Array<[range: object, from: number, to: number, hasMore: boolean]> = [
      [{ limit: 3 }, 4, 7, true],
      [{ limit: 7 }, 0, 7, false],
      [{ before: ids[4], limit: 3 }, 1, 4, true],
      [{ before: ids[1] }, 0, 1, false],
      [{ before: ids[0] }, 0, 0, false],
      [{ after: ids[2], limit: 3 }, 3, 6, true],
      [{ after: ids[4] }, 5, 7, false],
      [{ after: ids[6] }, 7, 7, false],
      [{ after: ids[1], before: ids[5] }, 2, 5, false],
      [{ after: ids[1], before: ids[5], limit: 2 }, 2, 4, true],
      [{ after: ids[5], before: ids[1] }, 0, 0, false],
      [{ after: null, before: null, limit: null }, 0, 7, false],
    ];
    for (const [range, from, to, hasMore] of pages) {
      const answer = await ask(range);
      expect([range, contents(answer), answer.hasMore]).toEqual([range, words(from, to), hasMore]);
    }
  });

  test('a client that was away catches up by what it has, however long it was away', async () => {
    const { client, room, service } = await stage(transport);
    const { messages } = await client.emitWithAck('room:history', { roomId: room.id });
    for (const content of words(7, 130)) await service.sendMessage(room.id, 'bob', content);
    const caught: string[] = [];
    for (let [after, more] = [messages.at(-1).id, true]; more; ) {
      const answer = await client.emitWithAck('room:history', { roomId: room.id, after });
      caught.push(...contents(answer));
      [after, more] = [answer.messages.at(-1).id, answer.hasMore];
    }
    expect(caught).toEqual(words(7, 130));
  });

  test('binary values come with their message', async () => {
    const { client, room } = await stage(transport);
    for (const byte of [1, 2]) {
      await client.emitWithAck('message', { roomId: room.id, content: 'b', metadata: { bytes: Buffer.from([byte]) } });
    }
    const ask = (range: object) => client.emitWithAck('room:history', { roomId: room.id, ...range });
    const last = await ask({});
    expect([contents(last), last.hasMore, Buffer.from(last.messages[0].metadata.bytes)]).toEqual([['b'], true, Buffer.from([2])]);
    const before = await ask({ before: last.messages[0].id, limit: 3 });
    expect([contents(before), Buffer.from(before.messages[2].metadata.bytes)]).toEqual([['m5', 'm6', 'b'], Buffer.from([1])]);
  });

  test('large messages come a few at a time, and nobody else reads them where everybody may write', async () => {
    const { client, room, service, url } = await stage(transport, { requireMembership: false });
    for (const mark of ['a', 'b', 'c']) await service.sendMessage(room.id, 'ada', mark.repeat(600_000));
    const ask = (range: object) => client.emitWithAck('room:history', { roomId: room.id, ...range });
    const marks = (answer: any) => contents(answer).map((content: string) => content.slice(0, 2));
    const newest = await ask({});
    expect([marks(newest), newest.hasMore]).toEqual([['cc'], true]);
    const before = await ask({ before: newest.messages[0].id });
    expect([marks(before), before.hasMore]).toEqual([['bb'], true]);
    const first = await ask({ before: before.messages[0].id, limit: 3 });
    expect([marks(first), first.hasMore]).toEqual([['m5', 'm6', 'aa'], true]);
    const outsider = await connect(url, { transports: [transport] });
    expect(await outsider.emitWithAck('message', { roomId: room.id, content: 'may' })).toMatchObject({ ok: true });
    expect((await outsider.emitWithAck('room:history', { roomId: room.id })).error.code).toBe('ERR_NOT_A_MEMBER');
  });

  test('who may not, and what is wrong', async () => {
    const { client, room, ids, service, url } = await stage(transport, {
      authorize: { history: (user: { id: string }) => user.id !== 'nobody' && 'Not now' },
      history: { maxMessagesPerRoom: 3 },
    });
    const outsider = await connect(url, { transports: [transport] });
    const elsewhere = await service.createRoom('elsewhere');
    const other = await service.sendMessage(elsewhere.id, 'ada', 'secret');
    const code = async (who: Client, payload: unknown) => {
      const { ok, error } = await who.emitWithAck('room:history', payload);
      return ok ? 'ok' : [error.code, error.message];
    };
    expect(await code(outsider, { roomId: room.id })).toEqual(['ERR_NOT_A_MEMBER', 'Not a member of this room']);
    expect(await code(client, { roomId: 'none' })).toEqual(['ERR_NOT_FOUND', 'Room not found']);
    for (const limit of [0, -1, 1001, 1.5, '5', 1e9, {}]) {
      expect([limit, await code(client, { roomId: room.id, limit })]).toEqual([
        limit,
        ['ERR_INVALID_ARGUMENT', 'limit must be an integer from 1 to 1000'],
      ]);
    }
    expect(await code(client, { roomId: room.id, before: 5 })).toEqual(['ERR_INVALID_ARGUMENT', 'before must be the id of a message']);
    expect(await code(client, {})).toEqual(['ERR_INVALID_ARGUMENT', 'roomId must be a string']);
    // The application is asked about what is in order.
    expect(await code(client, { roomId: room.id })).toEqual(['ERR_FORBIDDEN', 'Not now']);
    const free = await stage(transport, { history: { maxMessagesPerRoom: 3 } });
    for (const [name, id] of [['after', free.ids[0]], ['before', other.id], ['after', 'x'], ['after', ids[6]]]) {
      expect(await code(free.client, { roomId: free.room.id, [name!]: id })).toEqual([
        'ERR_NOT_FOUND',
        `${name} names a message that is not kept`,
      ]);
    }
  });
});

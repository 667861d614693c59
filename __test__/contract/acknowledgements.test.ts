// Contract section 5: the client protocol and its acknowledgements.

import {
  connect,
  drained,
  eventsDelivered,
  exactly,
  ISO_DATE,
  members,
  never,
  next,
  received,
  record,
  start,
  transportSettings,
  UUID_V4,
  type Client,
  type Running,
} from '../support/harness';

describe.each(transportSettings)('over %s', (_name, transports) => {
  let running: Running;
  let roomId: string;
  let client: Client;
  let peer: Client;
  beforeEach(async () => {
    running = await start();
    const room = await running.service.createRoom('r');
    roomId = room.id;
    [peer] = (await members(running, room, 1, { transports })) as [Client];
    client = await connect(running, { transports, query: { username: 'Alice' } });
  });

  test('room:join and room:leave', async () => {
    expect(await client.emitWithAck('room:join', { roomId })).toMatchObject({ ok: true });
    expect(running.service.getRoom(roomId)!.members.has(client.id!)).toBe(true);
    expect(await client.emitWithAck('room:leave', { roomId })).toMatchObject({ ok: true });
    expect(running.service.getRoom(roomId)!.members.has(client.id!)).toBe(false);
    await exactly(1, running.service, 'user:joined', peer);
    await exactly(1, running.service, 'user:left', peer);
    await never(running.service, 'error', client, peer);
  });

  test('room:join twice is once', async () => {
    expect(await client.emitWithAck('room:join', { roomId })).toMatchObject({ ok: true });
    expect(await client.emitWithAck('room:join', { roomId })).toMatchObject({ ok: true });
    await exactly(1, running.service, 'user:joined', peer);
  });

  test('message with bytes in its metadata is acknowledged with them', async () => {
    await client.emitWithAck('room:join', { roomId });
    const metadata = { file: Buffer.from('bytes'), more: [Buffer.from('more')] };
    const { message } = await client.emitWithAck('message', { roomId, content: 'hi', metadata });
    expect(message.metadata).toEqual(metadata);
    expect(received(client, 'message')).toEqual([message]);
  });

  test('room:join of an unknown room', async () => {
    expect(await client.emitWithAck('room:join', { roomId: 'unknown' })).toEqual({
      ok: false,
      error: { code: 'ERR_NOT_FOUND', message: expect.any(String) },
    });
    await drained(running.service, client);
    expect(received(client, 'error')).toEqual([
      { message: 'Failed to join room', code: 'ERR_NOT_FOUND', event: 'room:join', roomId: 'unknown' },
    ]);
    await never(running.service, 'error', peer);
  });

  test('room:leave of an unknown room does nothing', async () => {
    expect(await client.emitWithAck('room:leave', { roomId: 'unknown' })).toMatchObject({ ok: true });
    await never(running.service, 'error', client);
  });

  test('message', async () => {
    await client.emitWithAck('room:join', { roomId });
    const answer = await client.emitWithAck('message', { roomId, content: 'hi', type: 'file', metadata: { size: 5 } });
    expect(answer).toMatchObject({ ok: true });
    await exactly(1, running.service, 'message', client, peer);
    expect(received(client, 'message')).toEqual([
      {
        id: expect.stringMatching(UUID_V4),
        roomId,
        userId: client.id,
        username: 'Alice',
        content: 'hi',
        type: 'file',
        metadata: { size: 5 },
        timestamp: expect.stringMatching(ISO_DATE),
      },
    ]);
    expect(received(peer, 'message')).toEqual(received(client, 'message'));
  });

  test('message to an unknown room', async () => {
    expect(await client.emitWithAck('message', { roomId: 'unknown', content: 'hi' })).toEqual({
      ok: false,
      error: { code: 'ERR_NOT_FOUND', message: expect.any(String) },
    });
    await drained(running.service, client);
    expect(received(client, 'error')).toEqual([
      { message: 'Failed to send message', code: 'ERR_NOT_FOUND', event: 'message', roomId: 'unknown' },
    ]);
  });

  test('typing', async () => {
    await client.emitWithAck('room:join', { roomId });
    expect(await client.emitWithAck('typing', { roomId, isTyping: true })).toMatchObject({ ok: true });
    await exactly(1, running.service, 'typing', peer);
    await never(running.service, 'typing', client);
  });

  test('listeners of the socket get the data of all of these, and no acknowledgement to give', async () => {
    const socket = running.service.getSocket(client.id!)!;
    const calls: Array<[string, unknown[]]> = [];
    const sent: Array<[string, object]> = [
      ['room:join', { roomId }],
      ['message', { roomId, content: 'hi' }],
      ['typing', { roomId, isTyping: true }],
      ['document:edit', { roomId, cursor: 1 }],
      ['room:leave', { roomId }],
      ['message', { roomId: 'unknown', content: 'hi' }],
    ];
    for (const event of new Set(sent.map(([name]) => name))) {
      socket.on(event, (...args: unknown[]) => calls.push([event, args]));
    }
    socket.on('own', (data: unknown, ack: (answer: unknown) => void) => ack(data));
    const answers = [];
    for (const [event, data] of sent) answers.push(await client.emitWithAck(event, data));
    expect(answers.map(({ ok }) => ok)).toEqual([true, true, true, true, true, false]);
    expect(await client.emitWithAck('own', 5)).toBe(5);
    expect(calls).toEqual(sent.map(([event, data]) => [event, [data]]));
  });

  test('a relayed event carries the identity that the server knows', async () => {
    await client.emitWithAck('room:join', { roomId });
    const data = { roomId, changes: [{ insert: 'x' }], cursor: 5, userId: 'forged', username: 'Mallory' };
    expect(await client.emitWithAck('document:edit', data)).toMatchObject({ ok: true });
    await exactly(1, running.service, 'document:edit', peer);
    expect(received(peer, 'document:edit')).toEqual([{ ...data, userId: client.id, username: 'Alice' }]);
    await never(running.service, 'document:edit', client);
  });

  test('a relayed event carries binary', async () => {
    await client.emitWithAck('room:join', { roomId });
    await client.emitWithAck('document:edit', { roomId, patch: Buffer.from([1, 2, 3]) });
    await drained(running.service, peer);
    expect(received(peer, 'document:edit')[0]).toMatchObject({ patch: Buffer.from([1, 2, 3]), userId: client.id });
  });

  test('a relayed event stays in its room', async () => {
    const other = await running.service.createRoom('other');
    const [outside] = await members(running, other, 1, { transports });
    expect(await client.emitWithAck('document:edit', { roomId, changes: 1 })).toMatchObject({
      ok: false,
      error: { code: 'ERR_NOT_A_MEMBER' },
    });
    expect(await client.emitWithAck('document:edit', { roomId: 'unknown' })).toMatchObject({
      ok: false,
      error: { code: 'ERR_NOT_FOUND' },
    });
    await never(running.service, 'document:edit', outside!, peer);
  });

  test('what is not answered elsewhere is ignored', async () => {
    client.emit('something:else', { roomId });
    client.emit('user:joined', { roomId });
    client.emit('system:announcement', { roomId });
    await client.emitWithAck('room:join', { roomId });
    await drained(running.service, client, peer);
    expect(client.received.map(({ event }) => event)).toEqual(['suite:marker']);
    expect(peer.received.map(({ event }) => event).sort()).toEqual(['suite:marker', 'user:joined']);
  });

  test('events of one client are served in the order sent', async () => {
    const announced = record(running.service, 'message');
    client.emit('room:join', { roomId });
    for (let index = 0; index < 50; index++) client.emit('message', { roomId, content: `${index}` });
    client.emit('room:leave', { roomId });
    expect(await client.emitWithAck('message', { roomId, content: 'late' })).toMatchObject({ ok: false });
    await drained(running.service, client, peer);
    const expected = Array.from({ length: 50 }, (_, index) => `${index}`);
    for (const each of [client, peer]) expect(received(each, 'message').map(({ content }) => content)).toEqual(expected);
    await eventsDelivered(running.service);
    expect(announced.filter(([message]) => message.roomId === roomId).map(([message]) => message.content)).toEqual(expected);
  });
});

describe('requireMembership', () => {
  test('on: a client outside the room is refused', async () => {
    const running = await start();
    const room = await running.service.createRoom('r');
    const [member] = await members(running, room, 1);
    const outside = await connect(running);
    for (const [event, data] of [
      ['message', { roomId: room.id, content: 'hi' }],
      ['typing', { roomId: room.id, isTyping: true }],
    ] as const) {
      expect(await outside.emitWithAck(event, data)).toMatchObject({ ok: false, error: { code: 'ERR_NOT_A_MEMBER' } });
      await never(running.service, event, member!, outside);
    }
    expect(running.service.getRoomMessages(room.id)).toEqual([]);
    await drained(running.service, outside);
    expect(received(outside, 'error')[0]).toEqual({
      message: 'Failed to send message',
      code: 'ERR_NOT_A_MEMBER',
      event: 'message',
      roomId: room.id,
    });
  });

  test('off: a client outside the room may send', async () => {
    const running = await start({ requireMembership: false });
    const room = await running.service.createRoom('r');
    const [member] = await members(running, room, 1);
    const outside = await connect(running);
    expect(await outside.emitWithAck('message', { roomId: room.id, content: 'hi' })).toMatchObject({ ok: true });
    expect(await outside.emitWithAck('typing', { roomId: room.id, isTyping: true })).toMatchObject({ ok: true });
    await exactly(1, running.service, 'message', member!);
    await exactly(1, running.service, 'typing', member!);
    await never(running.service, 'message', outside);
    expect(await outside.emitWithAck('message', { roomId: 'unknown', content: 'hi' })).toMatchObject({ ok: false });
  });
});

describe('relayEvents', () => {
  test('names the events that are relayed', async () => {
    const running = await start({ relayEvents: ['cursor', 'selection'] });
    const room = await running.service.createRoom('r');
    const [client, peer] = await members(running, room, 2);
    for (const event of ['cursor', 'selection', 'document:edit']) client!.emit(event, { roomId: room.id });
    await client!.emitWithAck('cursor', { roomId: room.id });
    await exactly(2, running.service, 'cursor', peer!);
    await exactly(1, running.service, 'selection', peer!);
    await never(running.service, 'document:edit', peer!);
  });

  test('may be empty', async () => {
    const running = await start({ relayEvents: [] });
    const room = await running.service.createRoom('r');
    const [client, peer] = await members(running, room, 2);
    const heard = next(running.service.getSocket(client!.id!)! as any, 'document:edit');
    client!.emit('document:edit', { roomId: room.id });
    await heard;
    await never(running.service, 'document:edit', peer!);
  });
});

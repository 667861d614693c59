// Contract section 5: a client that sends nonsense gets an answer; the service and the others do not suffer.

import { PacketType } from 'socket.io-parser';
import {
  connect,
  drained,
  exactly,
  members,
  never,
  nextWhere,
  received,
  start,
  type Client,
  type Running,
} from '../support/harness';

let running: Running;
let roomId: string;
let client: Client;
let peer: Client;
beforeEach(async () => {
  running = await start();
  const room = await running.service.createRoom('r');
  roomId = room.id;
  [client, peer] = (await members(running, room, 2)) as [Client, Client];
});

const nonsense: Array<[string, unknown]> = [
  ['null', null],
  ['a string', 'text'],
  ['a number', 5],
  ['an array', []],
  ['an empty object', {}],
  ['a numeric room id', { roomId: 5 }],
  ['a null room id', { roomId: null }],
  ['an object as room id', { roomId: { toString: 'x' } }],
  ['binary', Buffer.from([1])],
  ['a binary room id', { roomId: Buffer.from([1]) }],
  ['a deep object', JSON.parse(`${'{"a":'.repeat(2000)}1${'}'.repeat(2000)}`)],
];

describe.each(['room:join', 'room:leave', 'message', 'typing', 'document:edit'])('%s', (event) => {
  test.each(nonsense)('with %s is refused', async (_name, payload) => {
    expect(await client.emitWithAck(event, payload)).toMatchObject({
      ok: false,
      error: { code: 'ERR_INVALID_ARGUMENT', message: expect.any(String) },
    });
    await drained(running.service, client);
    expect(client.connected).toBe(true);
    expect(received(client, 'error')).toHaveLength(1);
    expect(received(client, 'error')[0]).toMatchObject({ event, code: 'ERR_INVALID_ARGUMENT' });
    await never(running.service, event, peer);
    await never(running.service, 'error', peer);
  });

  test('without a payload is refused', async () => {
    expect(await client.emitWithAck(event)).toMatchObject({ ok: false, error: { code: 'ERR_INVALID_ARGUMENT' } });
    client.emit(event);
    await drained(running.service, client);
    expect(client.connected).toBe(true);
  });
});

test.each([
  ['no content', {}],
  ['a numeric content', { content: 5 }],
  ['a null content', { content: null }],
  ['an unknown type', { content: 'hi', type: 'video' }],
  ['a numeric type', { content: 'hi', type: 5 }],
  ['metadata that is no object', { content: 'hi', metadata: 'text' }],
])('message with %s is refused', async (_name, fields) => {
  expect(await client.emitWithAck('message', { roomId, ...fields })).toMatchObject({
    ok: false,
    error: { code: 'ERR_INVALID_ARGUMENT' },
  });
  await never(running.service, 'message', client, peer);
  expect(running.service.getRoomMessages(roomId)).toEqual([]);
});

test.each([['yes'], [1], [{}]])('typing with isTyping %p is refused', async (isTyping) => {
  expect(await client.emitWithAck('typing', { roomId, isTyping })).toMatchObject({
    ok: false,
    error: { code: 'ERR_INVALID_ARGUMENT' },
  });
  await never(running.service, 'typing', peer);
});

test('fields that a client may not set are not taken from it', async () => {
  await client.emitWithAck('message', {
    roomId,
    content: 'hi',
    id: 'forged',
    userId: 'forged',
    username: 'forged',
    timestamp: '1970-01-01T00:00:00.000Z',
    edited: true,
  });
  await drained(running.service, peer);
  const [message] = received(peer, 'message');
  expect(message.id).not.toBe('forged');
  expect(message).not.toHaveProperty('edited');
  expect(message).toMatchObject({ userId: client.id });
  expect(message.username).not.toBe('forged');
  expect(message.timestamp).not.toBe('1970-01-01T00:00:00.000Z');
});

test('keys with a meaning in JavaScript become own properties', async () => {
  const metadata = JSON.parse('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}');
  await client.emitWithAck('message', { roomId, content: 'hi', metadata });
  const [stored] = running.service.getRoomMessages(roomId);
  expect(Object.keys(stored!.metadata!).sort()).toEqual(['__proto__', 'constructor']);
  expect(({} as any).polluted).toBeUndefined();
  await drained(running.service, peer);
  expect(Object.keys(received(peer, 'message')[0].metadata).sort()).toEqual(['__proto__', 'constructor']);
});

test('a client cannot join rooms that are not in the registry', async () => {
  for (const name of [peer.id, client.id, '', '*', '#', `user:${peer.id}`, '__proto__', '\u0000']) {
    expect(await client.emitWithAck('room:join', { roomId: name })).toMatchObject({ ok: false });
  }
  await running.service.emitToSocket(peer.id!, 'secret', 1);
  await never(running.service, 'secret', client);
});

test.each(['', '0', 'constructor', '__proto__', 'hasOwnProperty', 'a"b\\c\u0000', 'é日😀', 'x'.repeat(10_000), '\ud800', 'a\udfff\ud83d\ude00', '\udc00\ud800'])(
  'an event named %j goes to its listeners and does no harm',
  async (event) => {
    const heard: unknown[] = [];
    running.service.getSocket(client.id!)!.on(event, (data) => heard.push(data));
    client.emit(event, 'data');
    await client.emitWithAck('room:leave', { roomId: 'unknown' });
    await drained(running.service, client, peer);
    expect(client.connected).toBe(true);
    const marker = new Promise<void>((done) => running.service.getSocket(client.id!)!.on('marker', () => done()));
    client.emit('marker');
    await marker;
    expect(heard).toEqual(['data']);
  },
);

test.each([7, -0.5, 1e21, 1e-7, 2 ** 53])('an event with the numeric name %p goes to its listeners', async (name) => {
  const heard = new Promise((done) => running.service.getSocket(client.id!)!.on(`${name}`, done));
  client.emit(name as any, 'data');
  expect(await heard).toBe('data');
});

test('events whose names differ in a lone surrogate are told apart, and relayed if they are to be', async () => {
  const [relayed, other] = ['\ud800', '\udc00'];
  const another = await start({ relayEvents: [relayed] });
  const room = await another.service.createRoom('r');
  const [sender, receiver] = (await members(another, room, 2)) as [Client, Client];
  expect(await sender.emitWithAck(relayed, { roomId: room.id, [other]: relayed })).toMatchObject({ ok: true });
  sender.emit(other, { roomId: room.id });
  await drained(another.service, sender, receiver);
  expect(receiver.received.filter(({ event }) => event.length === 1)).toEqual([
    { event: relayed, args: [expect.objectContaining({ roomId: room.id, [other]: relayed })] },
  ]);
});

test('members of built-in events may have lone surrogates in their keys and values', async () => {
  const odd = { roomId, '\ud800': 1, more: '\udc00' };
  expect(await client.emitWithAck('message', { ...odd, content: '\ud800', metadata: { '\udfff': '\ud800' } })).toMatchObject({
    ok: true,
    message: { content: '\ud800', metadata: { '\udfff': '\ud800' } },
  });
  expect(await client.emitWithAck('typing', { ...odd, isTyping: true })).toMatchObject({ ok: true });
  expect(await client.emitWithAck('document:edit', odd)).toMatchObject({ ok: true });
  expect(await client.emitWithAck('room:join', { roomId: '\ud800' })).toMatchObject({ error: { code: 'ERR_NOT_FOUND' } });
  await drained(running.service, peer);
  expect(received(peer, 'document:edit')).toEqual([expect.objectContaining(odd)]);
  expect(running.service.getRoomMessages(roomId)[0]).toMatchObject({ content: '\ud800', metadata: { '\udfff': '\ud800' } });
});

test.each(['room:join', 'message', 'typing', 'document:edit'])(
  '%s whose payload the others would take for bytes is refused',
  async (event) => {
    const answer = nextWhere(client.io, 'packet', ({ type }) => type === PacketType.ACK);
    const payload = { _placeholder: true, num: 0, roomId, content: 'x', isTyping: true };
    // As `socket.io-client` would never write it.
    client.io.engine.write(`51-7${JSON.stringify([event, payload])}` as any);
    client.io.engine.write(Buffer.from('bytes') as any);
    expect(await answer).toMatchObject({ data: [{ ok: false, error: { code: 'ERR_INVALID_ARGUMENT' } }] });
    await never(running.service, event, peer);
    expect(client.connected).toBe(true);
    // Without attachments it stands for nothing.
    expect(await client.emitWithAck(event, payload)).toMatchObject({ ok: true });
  },
);

describe('more than ten buffers', () => {
  const buffers = (count: number) => Array.from({ length: count }, (_, index) => Buffer.from([index]));
  const refusal = { name: 'TypeError', code: 'ERR_INVALID_ARGUMENT' };

  test('in the metadata of a message are refused, and nothing is stored or sent', async () => {
    const running = await start();
    const { service } = running;
    const room = await service.createRoom('r');
    const [client] = await members(running, room, 1);
    await expect(service.sendMessage(room.id, 'ann', 'hi', 'text', { files: buffers(11) })).rejects.toMatchObject(refusal);
    await never(service, 'message', client!);
    expect(service.getRoomMessages(room.id)).toEqual([]);
    expect(service.getRoomStats(room.id)!.messageCount).toBe(0);
    await service.sendMessage(room.id, 'ann', 'hi', 'text', { files: buffers(10) });
    await exactly(1, service, 'message', client!);
    expect(received(client!, 'message')[0].metadata.files).toEqual(buffers(10));
  });

  test('in the data of a broadcast are refused, and nothing is sent', async () => {
    const running = await start();
    const { service } = running;
    const room = await service.createRoom('r');
    const [client] = (await members(running, room, 1)) as [Awaited<ReturnType<typeof connect>>];
    const data = { deep: buffers(11) };
    for (const call of [
      () => service.broadcastToAll('files', data),
      () => service.broadcastToRoom(room.id, 'files', data),
      () => service.broadcastToUsers([client.id!], 'files', data),
      () => service.emitToSocket(client.id!, 'files', data),
    ]) {
      await expect(call()).rejects.toMatchObject(refusal);
    }
    await never(service, 'files', client);
    await service.broadcastToAll('files', { deep: buffers(10) });
    await exactly(1, service, 'files', client);
    expect(client.connected).toBe(true);
  });
});

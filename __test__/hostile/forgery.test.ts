// Events that pretend, and payloads that break what reads them.

import { connect, drained, members, never, next, record, start, type Client, type Running } from '../support/harness';
import { eventually } from '../support/eventually';
import { frame, FrameWire } from '../support/frames';

let running: Running;
let room: { id: string };
let victim: Client;
beforeEach(async () => {
  running = await start();
  room = await running.service.createRoom('room');
  [victim] = (await members(running, room, 1)) as [Client];
});

test.each(['connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener'])('the reserved name %s ends its sender', async (name) => {
  const wire = await FrameWire.connected(running.port);
  const left = next(running.service, 'disconnect');
  await wire.write(frame('text', `42["${name}",{}]`));
  expect((await left)[1]).toBe('parse error');
  await never(running.service, name, victim);
});

// CVE-2024-38355: an event `error` without a listener ended the process.
test.each(['error', 'user:joined', 'user:left', 'user:status', 'users:changed', 'notification', 'token:expiring', 'connection', 'shutdown'])(
  'the forged event %s is relayed to nobody, and no event of the service',
  async (name) => {
    const told = name === 'error' ? [] : record(running.service, name);
    const sender = await connect(running, { transports: ['websocket'] });
    told.length = 0;
    await running.service.joinRoom(sender.id!, room.id);
    await drained(running.service, victim);
    victim.received.length = 0;
    sender.emit(name, { roomId: room.id, userId: 'admin' });
    await sender.emitWithAck('room:leave', { roomId: 'none' });
    await never(running.service, name, victim);
    expect([told, sender.connected]).toEqual([[], true]);
  },
);

test('what is relayed says who sent it, whatever the sender says', async () => {
  const sender = await connect(running, { query: { username: 'eve' } });
  await running.service.joinRoom(sender.id!, room.id);
  const arrived = next(victim, 'document:edit');
  sender.emit('document:edit', { roomId: room.id, userId: 'admin', username: 'admin', __proto__: { userId: 'x' } });
  expect((await arrived)[0]).toMatchObject({ userId: sender.id, username: 'eve' });
});

test('rooms of the service cannot be guessed', async () => {
  const sender = await connect(running);
  const names = ['', victim.id!, `/#${victim.id}`, `user:${victim.id}`, '/', '*', '#', 'default', `${room.id} `, room.id.toUpperCase(), `${room.id}\u0000`];
  for (const roomId of names) {
    expect((await sender.emitWithAck('room:join', { roomId })).ok).toBe(false);
    expect((await sender.emitWithAck('message', { roomId, content: 'x' })).ok).toBe(false);
    expect((await sender.emitWithAck('typing', { roomId, isTyping: true })).ok).toBe(false);
  }
  await never(running.service, 'message', victim);
});

test('keys with a meaning are own properties, and pollute nothing', async () => {
  const wire = await FrameWire.connected(running.port);
  const socket = running.service.getSocket(running.service.getConnectedUsers().find(({ socketId }) => socketId !== victim.id)!.socketId)!;
  const heard = next(socket as any, 'own');
  await wire.write(frame('text', '42["own",{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"toString":1}]'));
  const [data] = await heard;
  expect(Object.getOwnPropertyNames(data)).toEqual(['__proto__', 'constructor', 'toString']);
  expect(Object.getPrototypeOf(data)).toBe(Object.prototype);
  expect(({} as any).polluted).toBeUndefined();
});

/** Sends it and then asks for something: whether the client is still connected then. */
async function survives(payload: string | Buffer): Promise<boolean> {
  const wire = await FrameWire.connected(running.port);
  await wire.write(frame('text', payload));
  await wire.write(frame('text', '427["room:leave",{"roomId":"none"}]'));
  return wire.has('437[');
}

test.each<[string, () => string]>([
  ['80,000 keys', () => `{${Array.from({ length: 80_000 }, (_, index) => `"k${index}":1`).join()}}`],
  ['80,000 times the same key', () => `{${Array.from({ length: 80_000 }, () => '"k":1').join()}}`],
  ['100,000 levels', () => `${'['.repeat(100_000)}${']'.repeat(100_000)}`],
  ['100,000 levels of objects', () => `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`],
  ['a number of 100,000 digits', () => '9'.repeat(100_000)],
  ['a number with an exponent', () => '1e999999999'],
  ['lone surrogates', () => '"\\ud800 \\udfff"'],
  ['NUL', () => '"\\u0000"'],
])('%s are survived by all, of any event', async (_what, make) => {
  const text = make();
  for (const packet of [`42["own",${text}]`, `42["message",{"roomId":"${room.id}","content":${text}}]`, `42["room:join",{"roomId":${text}}]`, `42["document:edit",{"roomId":"${room.id}","d":${text}}]`, `43["x",${text}]`]) {
    await survives(packet);
  }
  expect(await survives(`42["own",${text}]`)).toBe(true);
  await drained(running.service, victim);
});

test('a name of 1 MB reaches nobody, and its sender stays', async () => {
  expect(await survives(`42["${'n'.repeat(999_000)}"]`)).toBe(true);
  await drained(running.service, victim);
});

test('invalid UTF-8 ends its sender', async () => {
  expect(await survives(Buffer.concat([Buffer.from('42["own","'), Buffer.from([0xff, 0xc0, 0x80]), Buffer.from('"]')]))).toBe(false);
  await eventually(() => expect(running.service.getStats().activeConnections).toBe(1));
});

// CVE-2022-2421, CVE-2023-32695, socketioxide: counts, placeholders, names and truncations that parsers took for good.
test.each([
  '451-["a",{"_placeholder":true,"num":"splice"}]', '451-["a",{"_placeholder":true,"num":-1}]', '451-["a",{"_placeholder":true,"num":1}]',
  '451-["a",{"_placeholder":true,"num":0.5}]', '451-["a",{"_placeholder":true}]', '451-["a",{"_placeholder":true,"num":99999999999999999999}]',
  '452-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]', '451-["a"]', '450-["a",{"_placeholder":true,"num":0}]',
  '4511-["a"]', '45999999999999999999999-["a"]', '45-1-["a"]', '45-["a"]', '45', '451', '451-', '45é-["a"]', '4é', 'é', 'b', 'bé', 'b!!!!', '', '4', '42', '42[', '42[]', '42[null]',
  '42[{"toString":"foo"}]', '42[true]', '42["a"', '42"a"', '42{}', '429999999999999999999999["a"]', '42-1["a"]', '42/é', '42/é,["a"]', '40é', '40/', '40/é', '43[]', '439[', '43', '44{}', '49', '4-', '7', '5', '2probe', '3probe', '42["__proto__"]', '42["hasOwnProperty"]',
])('the packet %j ends its sender at most', async (packet) => {
  const wire = await FrameWire.connected(running.port);
  await wire.write(frame('text', packet));
  await wire.write(frame('binary', Buffer.from([1, 2, 3])));
  await wire.write(frame('binary', Buffer.alloc(0)));
  await wire.write(frame('close', ''));
  await wire.closed;
  await drained(running.service, victim);
  await eventually(() => expect(running.service.getStats().activeConnections).toBe(1));
});

// Floods of frames: what each costs is bounded, and nobody else notices.

import { connect, drained, next, start, type Client, type Running } from '../support/harness';
import { eventually } from '../support/eventually';
import { frame, FrameWire } from '../support/frames';
import { upgradeHead, Wire } from '../support/wire';

let running: Running;
let bystander: Client;

async function begin(config: Parameters<typeof start>[0] = {}, options: Parameters<typeof start>[1] = {}): Promise<void> {
  running = await start(config, options);
  bystander = await connect(running, { transports: ['websocket'] });
}

const gone = (wire: Wire) => Promise.race([wire.closed.then(() => true), new Promise<false>((done) => setImmediate(() => done(false)))]);
const served = () => drained(running.service, bystander);
const exceeded = () => running.service.getStats().exceeded;

/** Sends it again and again until the connection is closed, or so often. */
async function pour(wire: Wire, bytes: Buffer, times: number): Promise<void> {
  for (let turn = 0; turn < times && !(await gone(wire)); turn++) await wire.write(bytes);
}

const many = (count: number, one: Buffer) => Buffer.concat(Array.from({ length: count }, () => one));

test('100,000 pings of a client that reads are answered at last, and it is served', async () => {
  await begin();
  const wire = await FrameWire.connected(running.port);
  await pour(wire, many(1_000, frame('ping', 'ping')), 99);
  await wire.write(many(1_000, frame('ping', 'last')));
  expect(await wire.has('last')).toBe(true);
  await wire.write(frame('text', '420["room:join",{}]'));
  expect(await wire.has('430[')).toBe(true);
  await served();
});

test('100,000 pings of a client that does not read cost no memory, and disturb nobody', async () => {
  await begin();
  const wire = await FrameWire.connected(running.port);
  wire.socket.pause();
  const before = process.memoryUsage().rss;
  await pour(wire, many(1_000, frame('ping', 'x'.repeat(100))), 100);
  await served();
  expect(process.memoryUsage().rss - before).toBeLessThan(64 << 20);
});

test.each([
  ['1 byte', frame('continuation', 'x', { fin: false })],
  ['0 bytes', frame('continuation', '', { fin: false })],
])('fragments of %s without end are ended by messageTimeoutMs', async (_size, fragment) => {
  await begin({ limits: { messageTimeoutMs: 400 } });
  const wire = await FrameWire.connected(running.port);
  const left = next(running.service, 'disconnect');
  await wire.write(frame('text', '', { fin: false }));
  const pouring = setInterval(() => wire.socket.write(many(100, fragment)), 5);
  try {
    expect((await left)[1]).toBe('transport error');
  } finally {
    clearInterval(pouring);
  }
  expect(exceeded()).toEqual({ messageTimeoutMs: 1 });
  await served();
});

test('a message that begins empty and stops there is ended by messageTimeoutMs', async () => {
  await begin({ limits: { messageTimeoutMs: 400 } });
  const wire = await FrameWire.connected(running.port);
  const left = next(running.service, 'disconnect');
  await wire.write(frame('text', '', { fin: false }));
  expect((await left)[1]).toBe('transport error');
  await served();
});

test('fragments that are too much together end the connection before they are kept', async () => {
  await begin({ maxHttpBufferSize: 10_000 });
  const wire = await FrameWire.connected(running.port);
  const left = next(running.service, 'disconnect');
  await wire.write(frame('text', '4', { fin: false }));
  await pour(wire, many(100, frame('continuation', 'x', { fin: false })), 200);
  expect((await left)[1]).toBe('transport error');
  expect(exceeded()).toEqual({ maxHttpBufferSize: 1 });
});

test.each([1_000_001, 2 ** 31, 2 ** 53])('a message declared with %i bytes is refused by its head', async (length) => {
  await begin();
  const wire = await FrameWire.connected(running.port);
  const head = Buffer.alloc(14);
  head.set([0x81, 0xff]);
  head.writeBigUInt64BE(BigInt(length), 2);
  await wire.write(head);
  await wire.closed;
  await eventually(() => expect(exceeded()).toEqual({ maxHttpBufferSize: 1 }));
  await served();
});

test('a second CONNECT ends the connection, as with socket.io', async () => {
  await begin();
  const wire = await FrameWire.connected(running.port);
  await wire.write(frame('text', '40'));
  await wire.closed;
  await served();
});

test('CONNECTs while middleware waits are asked about once', async () => {
  let asked = 0;
  const waiting: Array<() => void> = [];
  await begin({}, { setup: (service) => void service.use((_socket, go) => (asked++ === 0 ? go() : void waiting.push(go))) });
  const wire = new Wire(running.port);
  await wire.write(upgradeHead());
  await wire.has('0{"sid"');
  await wire.write(many(10_000, frame('text', '40{"a":1}')));
  await eventually(() => expect(waiting).toHaveLength(1));
  waiting[0]!();
  expect(await wire.has('40{"sid"')).toBe(true);
  await served();
  expect(asked).toBe(2);
});

test('events before the answer to CONNECT are bounded by bytes, however small', async () => {
  let asked = 0;
  await begin({ limits: { maxEarlyBytes: 100_000 } }, { setup: (service) => void service.use((_socket, go) => (asked++ === 0 ? go() : undefined)) });
  const wire = new Wire(running.port);
  await wire.write(upgradeHead());
  await wire.has('0{"sid"');
  await wire.write(frame('text', '40'));
  await pour(wire, many(1_000, frame('text', '42["e"]')), 100);
  await wire.closed;
  expect(exceeded()).toEqual({ maxEarlyBytes: 1 });
  await served();
});

test('CONNECTs to namespaces that are not there, of a client that does not read, are bounded', async () => {
  await begin({ limits: { maxQueuedBytes: 1 << 20, stallMs: 200 } });
  const wire = await FrameWire.connected(running.port);
  wire.socket.pause();
  await pour(wire, many(20, frame('text', `40/${'x'.repeat(50_000)},`)), 100);
  await eventually(() => expect(exceeded()).toEqual({ maxQueuedBytes: 1 }));
  await served();
});

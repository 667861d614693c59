// Acknowledgements that are owed or awaited: what goes wrong with one leaves the others as they were.

import { PacketType } from 'socket.io-parser';
import { connect, drained, next, start, silentLogger, type Client, type Running } from '../support/harness';
import type { AuthenticatedSocket } from '../../index';

type Asking = AuthenticatedSocket & { emitWithAck(event: string, ...args: unknown[]): Promise<any> };

const MOST = 10_000;
let running: Running;
let client: Client;
let socket: Asking;
let warnings: unknown[][];

beforeEach(async () => {
  warnings = [];
  running = await start({ logger: { ...silentLogger, warn: (...args) => warnings.push(args) } });
  client = await connect(running, { transports: ['websocket'] });
  socket = running.service.getSocket(client.id!) as Asking;
});

const cycle: Record<string, unknown> = {};
cycle.self = cycle;
const wrong: Array<[string, unknown]> = [
  ['a BigInt', 5n],
  ['a cycle', cycle],
  ['eleven buffers', Array.from({ length: 11 }, () => Buffer.from('x'))],
  ['too many levels', JSON.parse(`${'['.repeat(1001)}${']'.repeat(1001)}`)],
];

test.each(wrong)('an event that was answered with %s can still be answered, once', async (_name, value) => {
  socket.on('ask', (answer: (value: unknown) => void) => {
    expect(() => answer(value)).toThrow();
    answer('right');
    answer('too late');
  });
  expect(await client.emitWithAck('ask')).toBe('right');
});

test('an answer that answers while it is read is one answer', async () => {
  const answers: unknown[] = [];
  client.io.on('packet', ({ type, data }) => type === PacketType.ACK && answers.push(data));
  socket.on('ask', (answer: (value: unknown) => void) => answer({ toJSON: () => (answer('inner'), 'outer') }));
  expect(await client.emitWithAck('ask')).toBe('inner');
  await drained(running.service, client);
  expect(answers).toHaveLength(1);
});

test.each(wrong)('an event with %s is not waited for', async (_name, value) => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'queueMicrotask', 'performance'] });
  const answered = jest.fn();
  try {
    expect(() => socket.timeout(50).emit('ask', value, answered)).toThrow();
    expect(jest.getTimerCount()).toBe(0);
  } finally {
    jest.useRealTimers();
  }
  await expect(socket.emitWithAck('ask', value)).rejects.toThrow();
  client.on('ask', (_value, answer) => answer('yes'));
  expect(await socket.emitWithAck('ask', 1)).toBe('yes');
  expect(answered).not.toHaveBeenCalled();
});

test('however many answers are owed, every event is sent and the newest are answered', async () => {
  const plain = jest.fn();
  const withError = jest.fn();
  let asked = 0;
  client.on('silent', () => asked++);
  client.on('ask', (answer) => answer('yes'));
  expect((running.service.getStats() as any).expiredAcks).toBeUndefined();
  socket.emit('silent', plain);
  socket.timeout(60_000).emit('silent', withError);
  const promised = socket.emitWithAck('silent');
  const rejected = expect(promised).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
  for (let index = 3; index < MOST + 3; index++) socket.emit('silent', plain);
  await rejected;
  expect(withError.mock.calls).toEqual([[expect.objectContaining({ code: 'ERR_TIMEOUT' })]]);
  expect(await socket.emitWithAck('ask')).toBe('yes');
  await drained(running.service, client);
  expect(asked).toBe(MOST + 3);
  expect(plain).not.toHaveBeenCalled();
  expect(running.service.getStats()).toMatchObject({ expiredAcks: 4 });
  expect(warnings).toEqual([[expect.stringContaining(client.id!)]]);
});

test('an answer that comes after its callback has expired is ignored', async () => {
  const first = jest.fn();
  const asked = next(client, 'first');
  socket.emit('first', first);
  const [answer] = await asked;
  for (let index = 0; index < MOST; index++) socket.emit('silent', () => {});
  answer('late');
  client.on('ask', (done) => done('yes'));
  expect(await socket.emitWithAck('ask')).toBe('yes');
  expect(first).not.toHaveBeenCalled();
  expect(client.connected).toBe(true);
});

test('join takes all of the rooms or none', () => {
  const unnamed = Object.create(null) as string;
  expect(() => socket.join(['one', unnamed])).toThrow();
  expect([...socket.rooms]).toEqual([socket.id]);
});

describe('the acknowledgements of a socket', () => {
  test('emitWithAck resolves with the answer', async () => {
    const running = await start();
    const client = await connect(running);
    client.on('question', (text, answer) => answer(`${text}!`));
    const socket = running.service.getSocket(client.id!) as any;
    expect(await socket.emitWithAck('question', 'there')).toBe('there!');
  });

  test('of a socket that has disconnected time out', async () => {
    const running = await start();
    const client = await connect(running);
    const socket = running.service.getSocket(client.id!)!;
    const gone = next(running.service, 'disconnect');
    client.disconnect();
    await gone;
    const error = await new Promise<any>((done) => void socket.timeout(10).emit('question', done));
    expect(error.message).toBe('operation has timed out');
    await expect((socket.timeout(10) as any).emitWithAck('question')).rejects.toThrow('operation has timed out');
  });

  test('awaited while a socket disconnects time out', async () => {
    const running = await start();
    const client = await connect(running);
    const socket = running.service.getSocket(client.id!)!;
    const gone = next(running.service, 'disconnect');
    const failed = new Promise<any>((done) => void socket.timeout(200).emit('question', done));
    client.disconnect();
    await gone;
    expect((await failed).message).toBe('operation has timed out');
  });
});

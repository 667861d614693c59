// Contract section 3: every error that a call throws or rejects with has a stable code, whatever it was called with.

import { EventEmitter } from 'node:events';
import { connect, silentLogger, start, track, WebSocketService } from '../support/harness';

const cycle: { self?: unknown } = {};
cycle.self = cycle;
let deep: unknown = {};
for (let level = 0; level < 50_000; level++) deep = { deep };

const values: unknown[] = [
  undefined,
  null,
  0,
  -1,
  NaN,
  Infinity,
  '',
  'connect',
  'x',
  Symbol('s'),
  10n,
  true,
  {},
  [],
  [1],
  [null],
  () => {},
  cycle,
  deep,
  { n: 1n },
  Array(11).fill(Buffer.alloc(1)),
  Object.create(null),
  new Proxy(
    {},
    {
      get() {
        throw Object.assign(new Error('of the value itself'), { code: 'ERR_OF_THE_CALLER' });
      },
    },
  ),
];

/** Methods of Node.js's own, which do with names what they do elsewhere. */
const emitter = new Set([...Object.getOwnPropertyNames(EventEmitter.prototype), 'constructor']);

function methodsOf(object: object): string[] {
  const names = new Set<string>();
  for (let of = object; of && of !== EventEmitter.prototype && of !== Object.prototype; of = Object.getPrototypeOf(of)) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(of))) {
      if (typeof value === 'function' && !emitter.has(name)) names.add(name);
    }
  }
  return [...names];
}

/** Calls a method with each value in each place, and waits for what it promised; returns the errors without a code. */
async function withoutCode(target: any, method: string): Promise<string[]> {
  const found = new Set<string>();
  const promised: Promise<unknown>[] = [];
  for (let place = 0; place < 5; place++) {
    for (const value of values) {
      const args = [...['a', 'b', 'c', 'text'].slice(0, place), value];
      try {
        const returned = target[method](...args);
        if (typeof returned?.then === 'function') promised.push(returned.then(undefined, note));
      } catch (error) {
        note(error);
      }
    }
  }
  await Promise.all(promised);
  return [...found];

  function note(error: any): void {
    if (!/^ERR_/.test(error?.code)) found.add(`${error?.name}: ${error?.message}`);
  }
}

test('of the service and its operators', async () => {
  const service = track(new WebSocketService({ logger: silentLogger }));
  service.initialize();
  const room = await service.createRoom('r');
  const targets: Array<[object, string[]]> = [
    [service, methodsOf(service).filter((name) => name !== 'shutdown')],
    [service.to(room.id).timeout(1), methodsOf(service.local)],
  ];
  for (const [target, methods] of targets) {
    expect(methods.length).toBeGreaterThan(5);
    for (const method of methods) expect([method, await withoutCode(target, method)]).toEqual([method, []]);
  }
  let refused = 0;
  for (const metadata of values) {
    const sent = service.sendMessage(room.id, 'user', 'content', 'text', metadata as object);
    await sent.catch((error) => expect([++refused, error.code]).toEqual([refused, expect.stringMatching(/^ERR_/)]));
  }
  expect(refused).toBeGreaterThan(5);
});

test('of sockets', async () => {
  const running = await start();
  const client = await connect(running);
  // Whoever asks is answered, but for the one at the end.
  client.onAny((event, ...args) => event !== 'question' && args.at(-1) instanceof Function && args.at(-1)());
  const socket = running.service.getSocket(client.id!)!;
  for (const method of ['emit', 'emitWithAck', 'to', 'join', 'leave', 'on', 'once', 'off', 'onAny', 'timeout']) {
    expect([method, await withoutCode(socket, method)]).toEqual([method, []]);
  }
  for (const part of [socket.timeout(1), socket.to('room'), socket.volatile]) {
    expect(await withoutCode(part, 'emit')).toEqual([]);
  }
  await expect((socket.timeout(1) as any).emitWithAck('question')).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
});

test('of sockets given by hand, which change nothing then', async () => {
  const service = track(new WebSocketService({ logger: silentLogger }));
  service.initialize();
  const members = ['id', 'userId', 'user', 'handshake', 'on', 'data', 'rooms'];
  const parts = ['auth', 'headers', 'query', 'address', 'secure', 'issued'];
  let count = 0;
  let refused = 0;
  for (const value of values) {
    for (const socket of [
      ...members.map((name) => ({ id: `socket ${count++}`, [name]: value })),
      ...parts.map((name) => ({ id: `socket ${count++}`, handshake: { [name]: value } })),
    ]) {
      const before = service.getStats().activeConnections;
      await service.handleConnection(socket as any).catch((error) => {
        expect(error.code).toMatch(/^ERR_/);
        expect(service.getStats().activeConnections).toBe(before);
        refused++;
      });
    }
  }
  expect(refused).toBeGreaterThan(values.length);
});

test('of a path that another service serves', async () => {
  const { httpServer } = await start();
  const second = track(new WebSocketService({ logger: silentLogger }));
  expect(() => second.initialize(httpServer)).toThrow(
    expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARGUMENT' }),
  );
});

test('of a native side that cannot be started', () => {
  jest.isolateModules(() => {
    jest.doMock('../../binding.js', () => ({
      ...jest.requireActual('../../binding.js'),
      NativeService: class {
        constructor() {
          throw Object.assign(new Error('Resource temporarily unavailable'), { code: 'GenericFailure' });
        }
      },
    }));
    const isolated = require('../../index.js');
    expect(() => new isolated.WebSocketService()).toThrow(
      expect.objectContaining({
        name: 'WebSocketServiceError',
        code: 'ERR_NATIVE',
        message: expect.stringMatching(/temporarily unavailable$/),
      }),
    );
  });
});

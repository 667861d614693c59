// Contract section 2: what the constructor accepts and how it refuses.

import { connect, received, drained, silentLogger, start, track, WebSocketService } from '../harness';

function refusal(config: unknown): Error & { code?: string } {
  try {
    track(new WebSocketService(config as any));
  } catch (error) {
    return error as Error;
  }
  throw new Error('the configuration was accepted');
}

describe('a refused configuration', () => {
  test.each([
    ['path', 5],
    ['path', ''],
    ['cors', 'https://example.com'],
    ['cors', { origin: 5 }],
    ['cors', { credentials: 'yes' }],
    ['cors', { maxAge: 'long' }],
    ['pingTimeout', '60000'],
    ['pingTimeout', -1],
    ['pingTimeout', NaN],
    ['pingTimeout', Infinity],
    ['pingInterval', 0],
    ['pingInterval', {}],
    ['maxHttpBufferSize', -1],
    ['maxHttpBufferSize', '1MB'],
    ['transports', 'websocket'],
    ['transports', []],
    ['transports', ['carrier-pigeon']],
    ['transports', ['webtransport']],
    ['allowUpgrades', 1],
    ['upgradeTimeout', -5],
    ['connectTimeout', 'soon'],
    ['serveClient', 'no'],
    ['allowEIO3', 3],
    ['allowRequest', true],
    ['cookie', 5],
    ['cookie', { path: '/' }],
    ['history', 100],
    ['history', { maxMessagesPerRoom: -1 }],
    ['history', { maxMessagesPerRoom: 1.5 }],
    ['history', { maxAgeMs: '1h' }],
    ['requireMembership', 'true'],
    ['relayEvents', 'document:edit'],
    ['relayEvents', [5]],
    ['relayEvents', ['']],
    ['presence', true],
    ['presence', { broadcast: 'all' }],
    ['limits', 5],
    ['limits', { maxQueuedBytes: -1 }],
    ['workerThreads', 0],
    ['workerThreads', 1.5],
    ['logger', 'console'],
    ['logger', { warn() {} }],
  ])('%s: %p is a TypeError that names it', (option, value) => {
    const error = refusal({ [option]: value });
    expect(error.name).toBe('TypeError');
    expect(error.message).toContain(option);
  });

  test.each([
    ['cors', { orign: '*' }, 'orign'],
    ['history', { maxMessages: 5 }, 'maxMessages'],
    ['presence', { brodcast: true }, 'brodcast'],
    ['limits', { maxQueued: 5 }, 'maxQueued'],
  ])('%s: %p names the unknown option inside', (option, value, name) => {
    const error = refusal({ [option]: value });
    expect(error.name).toBe('TypeError');
    expect(error.message).toContain(name);
  });

  test.each(['pingIntervall', 'adapter', 'parser', 'wsEngine', 'perMessageDeflate', 'httpCompression'])(
    '%s is refused by name and never ignored',
    (option) => {
      const error = refusal({ [option]: true });
      expect(error).toHaveProperty('message', expect.stringContaining(option));
    },
  );

  test.each([[null], [5], ['text'], [[]], [() => {}]])('%p is no configuration', (config) => {
    expect(refusal(config).name).toBe('TypeError');
  });

  test('the value and what is allowed are in the text', () => {
    const error = refusal({ pingTimeout: -17 });
    expect(error.message).toContain('-17');
    expect(error.message).toMatch(/number|integer|milliseconds|ms/i);
    expect(refusal({ transports: ['carrier-pigeon'] }).message).toMatch(/polling.*websocket/s);
  });

  test('messages cannot be kept in Redis without Redis', () => {
    expect(refusal({ history: { persist: true } }).message).toMatch(/history\.persist.*redis/);
    expect(refusal({ history: { persist: 'yes' }, redis: {} }).message).toContain('history.persist');
  });

  test('leaves nothing behind', async () => {
    refusal({ path: '/socket.io', nonsense: 1 });
    const running = await start();
    await connect(running);
  });
});

describe('an accepted configuration', () => {
  test.each([
    [undefined],
    [{}],
    [{ path: undefined, cors: undefined, redis: undefined, pingTimeout: undefined }],
    [{ path: '/ws', cors: { origin: '*', credentials: true }, pingTimeout: 60000, pingInterval: 25000 }],
    [{ maxHttpBufferSize: 1e6 }],
    [{ cors: { origin: ['https://example.com', /\.example\.org$/], methods: ['GET'], maxAge: 5 } }],
    [{ cors: { origin: true } }],
    [{ cors: { origin: (_: unknown, cb: (e: null, ok: boolean) => void) => cb(null, true) } }],
    [{ transports: ['websocket'] }],
    [{ transports: ['websocket', 'polling'] }],
    [{ cookie: true }],
    [{ cookie: { name: 'io', sameSite: 'strict', httpOnly: false } }],
    [{ history: { maxMessagesPerRoom: Infinity, maxAgeMs: Infinity } }],
    [{ history: { maxMessagesPerRoom: 0 } }],
    [{ history: { persist: false } }],
    [{ relayEvents: [] }],
    [{ workerThreads: 1 }],
    [{ limits: {} }],
    [{ logger: console }],
  ])('%p', (config) => {
    expect(() => track(new WebSocketService(config as any))).not.toThrow();
  });

  test('is not changed by the service, nor is the service by later changes to it', async () => {
    const config = { path: '/first', relayEvents: ['cursor'], logger: silentLogger };
    const frozen = JSON.stringify(config);
    const running = await start(config);
    expect(JSON.stringify(config)).toBe(frozen);
    config.path = '/second';
    config.relayEvents.push('other');
    const client = await connect(running, { path: '/first' });
    const peer = await connect(running, { path: '/first' });
    const room = await running.service.createRoom('r');
    for (const each of [client, peer]) await running.service.joinRoom(each.id!, room.id);
    client.emit('other', { roomId: room.id });
    await client.emitWithAck('cursor', { roomId: room.id });
    await drained(running.service, peer);
    expect(received(peer, 'other')).toEqual([]);
    expect(received(peer, 'cursor')).toHaveLength(1);
  });

  test('the logger gets what the service has to say', () => {
    const warned: unknown[][] = [];
    const service = track(
      new WebSocketService({ logger: { ...silentLogger, warn: (...args: unknown[]) => warned.push(args) } }),
    );
    service.initialize();
    expect(warned).toHaveLength(1);
  });
});

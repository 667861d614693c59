// Contract section 2: what the constructor accepts and how it refuses.

import { createServer } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import express from 'express';
import { Server as SocketIoServer } from 'socket.io';
import { connect, received, drained, silentLogger, start, track, WebSocketService } from '../support/harness';

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
    ['redis', Promise.resolve({})],
    ['history', new Date()],
    ['cors', new Map()],
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
    ['cookie', { name: 'a b' }],
    ['cookie', { name: 'io', domain: 'a;b' }],
    ['cookie', { name: 'io', encode: () => 'a;b' }],
    ['cors', { methods: 'GET\r\nX: 1' }],
    ['cors', { exposedHeaders: ['x-a', 'x-\u1234'] }],
    ['history', 100],
    ['history', { maxMessagesPerRoom: -1 }],
    ['history', { maxMessagesPerRoom: 1.5 }],
    ['history', { maxAgeMs: '1h' }],
    ['requireMembership', 'true'],
    ['deliverMessages', 'no'],
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

  test.each<[string, unknown]>([
    ['adapter', () => {}],
    ['parser', require('socket.io-parser')],
    ['wsEngine', class {}],
    ['perMessageDeflate', true],
    ['perMessageDeflate', { threshold: 1024 }],
    ['httpCompression', true],
    ['initialPacket', ''],
    ['cleanupEmptyChildNamespaces', true],
    ['addTrailingSlash', false],
    ['destroyUpgrade', false],
    ['destroyUpgradeTimeout', 5000],
  ])('%s of Socket.IO is refused as %p, with the reason', (option, value) => {
    const error = refusal({ [option]: value });
    expect(error.code).toBe('ERR_INVALID_ARGUMENT');
    expect(error.message).toMatch(new RegExp(`^${option} is not accepted: .+\\((leave it out|leave it out or write \\w+)\\)$`));
  });

  test.each([
    [{ pingIntervall: 5 }, 'pingInterval'],
    [{ PingInterval: undefined }, 'pingInterval'],
    [{ transport: ['websocket'] }, 'transports'],
    [{ requireMembershipp: false }, 'requireMembership'],
    [{ cors: { orgin: '*' } }, 'cors.origin'],
    [{ redis: { hots: 'localhost' } }, 'redis.host'],
    [{ redis: { pass: 'word' } }, 'redis.password'],
    [{ redis: { tls: { serverName: 'a' } } }, 'redis.tls.servername'],
    [{ redis: { cluster: [{ host: 'a', prot: 1 }] } }, 'redis.cluster[0].port'],
    [{ history: { maxMessages: 5 } }, 'history.maxMessagesPerRoom'],
    [{ cookie: { name: 'io', samesite: 'lax' } }, 'cookie.sameSite'],
    [{ limits: { maxQueued: 1 } }, 'limits.maxQueuedBytes'],
  ])('%j: the nearest known option is suggested', (config, suggestion) => {
    const error = refusal(config);
    expect(error.code).toBe('ERR_INVALID_ARGUMENT');
    expect(error.message).toMatch(/must be left out, it is unknown \(known: /);
    expect(error.message.endsWith(`: did you mean ${suggestion}?`)).toBe(true);
  });

  test('nothing is suggested for what is like no option', () => {
    expect(refusal({ zzzz: 1 }).message).not.toContain('did you mean');
  });

  test.each([
    [{ pingTimeout: '60000' }, 'write 60000 without quotes'],
    [{ allowEIO3: 'true' }, 'write true without quotes'],
    [{ history: { maxMessagesPerRoom: '50' } }, 'write 50 without quotes'],
    [{ redis: { port: '6379' } }, 'redis.port must be an integer from 1 to 65535, got "6379": write 6379 without quotes'],
    [{ redis: { sentinel: { name: 'm', nodes: [{ host: 'a', port: '26379' }] } } }, 'write 26379 without quotes'],
    [{ redis: { host: 'localhost:6379' } }, 'write the port into port'],
    [{ redis: 'redis://:secret@localhost' }, 'redis must be an object, got [hidden]: write a URL into redis.url'],
    [{ relayEvents: ['cursor', 'message'] }, "write it without 'message', which the service handles itself"],
    [{ relayEvents: ['connect'] }, "write it without 'connect', which no client can send"],
  ])('%j: what to write is said', (config, hint) => {
    expect(refusal(config).message).toContain(hint);
  });

  test.each([
    ['https://example.com/', "'https://example.com'"],
    ['https://example.com/chat?a=1', "'https://example.com'"],
    ['https://example.com:443', "'https://example.com'"],
    ['http://example.com:80', "'http://example.com'"],
    ['https://Example.COM', "'https://example.com'"],
    ['https://m\u00fcller.example', "'https://xn--mller-kva.example'"],
    ['https://user@example.com', "'https://example.com'"],
    ['wss://example.com', "'https://example.com'"],
    ['ws://localhost:3000', "'http://localhost:3000'"],
    ['example.com', "'https://example.com'"],
    ['localhost:3000', "'http://localhost:3000'"],
    ['capacitor://localhost/', "'capacitor://localhost'"],
    ['https://a.example, https://b.example/', "an array: ['https://a.example', 'https://b.example']"],
    ['https://a.example https://b.example', "an array: ['https://a.example', 'https://b.example']"],
    ['https://*.example.com', String.raw`a RegExp: /^https:\/\/[^/]+\.example\.com$/`],
    ['*.example.com', String.raw`a RegExp: /^https:\/\/[^/]+\.example\.com$/`],
    ['http://localhost:*', String.raw`a RegExp: /^http:\/\/localhost:[^/]+$/`],
    ['https://*', "'*'"],
    ['', "false to let no other origin in, or '*' to let all in"],
    [['*'], "origin: '*' without the array to let all in"],
    [['https://example.com', '*'], "origin: '*' without the array to let all in"],
    [['https://b.example', 'https://a.example/'], "'https://a.example' in place of 'https://a.example/'"],
    [['https://a.example, https://b.example'], "an array: ['https://a.example', 'https://b.example'] in place of"],
  ])('cors.origin %j can never match, and what to write is said', (origin, hint) => {
    const error = refusal({ cors: { origin } });
    expect(error.code).toBe('ERR_INVALID_ARGUMENT');
    expect(error.message).toMatch(/^cors\.origin must be /);
    expect(error.message).toContain(`: write ${hint}`);
    expect(error.message).not.toContain(': undefined');
  });

  test('who gives a server, a port, an application or a path is told how to call it', () => {
    const io = new SocketIoServer();
    const told: Array<[unknown, RegExp]> = [
      [createServer(), /initialize\(server\)/],
      [createHttpsServer({}), /initialize\(server\)/],
      [3000, /listen\(3000\)/],
      [io, /takes the place of Socket\.IO's Server/],
      [express(), /initialize\(http\.createServer\(app\)\)/],
      ['/chat', /\{ path: "\/chat" \}/],
    ];
    for (const [given, hint] of told) {
      expect(refusal(given).message).toMatch(hint);
      expect(refusal(given).code).toBe('ERR_INVALID_ARGUMENT');
    }
    const service = track(new WebSocketService({ logger: silentLogger }));
    for (const [given, hint] of [
      [io, /give it the HTTP server/],
      [3000, /listen\(3000\) yourself/],
      [express(), /http\.createServer\(app\)/],
      [{ server: createServer() }, /app\.server/],
    ] as Array<[any, RegExp]>) {
      expect(() => service.initialize(given)).toThrow(hint);
    }
  });

  test.each([[null], [5], ['text'], [[]], [() => {}], [Promise.resolve({})], [new Map()]])('%p is no configuration', (config) => {
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
    [{ cors: { origin: [true, 'null', 'capacitor://localhost', /a/g] } }],
    [{ cors: { origin: [] } }],
    [{ perMessageDeflate: false, httpCompression: false }],
    [{ cleanupEmptyChildNamespaces: false, addTrailingSlash: true, destroyUpgrade: true, destroyUpgradeTimeout: 1000 }],
    [{ adapter: undefined, parser: undefined, wsEngine: undefined, initialPacket: undefined, perMessageDeflate: undefined }],
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

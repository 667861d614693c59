// Contract section 2: the option `redis`, as the constructor takes it and as the native side gets it.

import { silentLogger, track, WebSocketService } from '../support/harness';

const { nativeConfig, resolveConfig } = require('../../dist/options/config.js');

const VARIABLES = ['REDIS_HOST', 'REDIS_PORT', 'REDIS_PASSWORD'];
const before = { ...process.env };

beforeEach(() => {
  for (const name of VARIABLES) delete process.env[name];
});

afterAll(() => {
  for (const name of VARIABLES) if (before[name] !== undefined) process.env[name] = before[name];
});

/** What the native side gets. */
function native(redis: unknown): any {
  return JSON.parse(nativeConfig(resolveConfig({ redis }))).redis;
}

function refusal(redis: unknown): TypeError & { code?: string } {
  try {
    native(redis);
  } catch (error) {
    return error as TypeError;
  }
  throw new Error('the option was accepted');
}

const PEM = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
const nodes = [{ host: 'a', port: 1 }];

describe('a refused redis option', () => {
  test.each<[string, unknown]>([
    ['redis', 'redis://:hunter2@localhost'],
    ['redis', null],
    ['redis', true],
    ['redis.host', { host: '' }],
    ['redis.host', { host: 5 }],
    ['redis.host', { host: 'redis://:hunter2@localhost' }],
    ['redis.port', { port: '6379' }],
    ['redis.port', { port: 0 }],
    ['redis.port', { port: 65536 }],
    ['redis.username', { username: '' }],
    ['redis.password', { password: 123456 }],
    ['redis.password', { password: ['hunter2'] }],
    ['redis.db', { db: -1 }],
    ['redis.db', { db: 256 }],
    ['redis.db', { db: 1.5 }],
    ['redis.tls', { tls: 'hunter2' }],
    ['redis.tls.ca', { tls: { ca: 'hunter2' } }],
    ['redis.tls.key', { tls: { key: 5 } }],
    ['redis.tls.key', { tls: { cert: PEM } }],
    ['redis.tls.cert', { tls: { key: PEM } }],
    ['redis.tls.rejectUnauthorized', { tls: { rejectUnauthorized: 0 } }],
    ['redis.tls.servername', { tls: { servername: '' } }],
    ['redis.tls.passphrase', { tls: { passphrase: 'hunter2' } }],
    ['redis.url', { url: 'localhost:6379' }],
    ['redis.url', { url: 'http://:hunter2@localhost' }],
    ['redis.url', { url: 'redis://:hunter2@localhost/room' }],
    ['redis.url', { url: 'redis://:hunter2@localhost/256' }],
    ['redis.url', { url: 'redis://:hunter2@localhost:0' }],
    ['redis.url', { url: 'redis://:hunter2@localhost?db=1' }],
    ['redis.url', { url: 'redis://:%hunter2@localhost' }],
    ['redis.keyPrefix', { keyPrefix: '' }],
    ['redis.cluster', { cluster: [] }],
    ['redis.cluster', { cluster: { host: 'a', port: 1 } }],
    ['redis.cluster[0]', { cluster: ['redis://:hunter2@a:1'] }],
    ['redis.cluster[1].port', { cluster: [{ host: 'a', port: 1 }, { host: 'b' }] }],
    ['redis.cluster[0].password', { cluster: [{ host: 'a', port: 1, password: 'hunter2' }] }],
    ['redis.sentinel', { sentinel: 'mymaster' }],
    ['redis.sentinel.name', { sentinel: { nodes } }],
    ['redis.sentinel.nodes', { sentinel: { name: 'm' } }],
    ['redis.sentinel.nodes[0].host', { sentinel: { name: 'm', nodes: [{ port: 1 }] } }],
    ['redis.sentinel.password', { sentinel: { name: 'm', nodes, password: 123456 } }],
    ['redis.heartbeatInterval', { heartbeatInterval: 99 }],
    ['redis.responseTimeout', { responseTimeout: 0 }],
    ['redis.requestsTimeout', { requestsTimeout: Infinity }],
    ['redis.maxQueuedMessages', { maxQueuedMessages: 0 }],
    ['redis.maxQueuedBytes', { maxQueuedBytes: '64MiB' }],
    ['redis.pasword', { pasword: 'hunter2' }],
    ['redis.pasword', { pasword: 123456 }],
  ])('%s of %j is named, and no password is shown', (field, redis) => {
    const error = refusal(redis);
    expect(error).toBeInstanceOf(TypeError);
    expect(error.code).toBe('ERR_INVALID_ARGUMENT');
    expect(error.message).toContain(`${field} must be`);
    expect(error.message).not.toMatch(/hunter2|123456/);
  });

  test.each<[string, string, unknown]>([
    ['host', 'url', { url: 'redis://a', host: 'b' }],
    ['port', 'url', { url: 'redis://a', port: 1 }],
    ['username', 'url', { url: 'redis://a', username: 'me' }],
    ['password', 'url', { url: 'redis://:hunter2@a', password: 'hunter2' }],
    ['db', 'url', { url: 'redis://a', db: 0 }],
    ['cluster', 'url', { url: 'redis://a', cluster: nodes }],
    ['sentinel', 'url', { url: 'redis://a', sentinel: { name: 'm', nodes, password: 'hunter2' } }],
    ['tls', 'url', { url: 'rediss://:hunter2@a', tls: false }],
    ['sentinel', 'cluster', { cluster: nodes, sentinel: { name: 'm', nodes, password: 'hunter2' } }],
    ['host', 'cluster', { cluster: nodes, host: 'a' }],
    ['port', 'sentinel', { sentinel: { name: 'm', nodes }, port: 1 }],
    ['db', 'Cluster', { cluster: nodes, db: 1 }],
  ])('%s contradicts %s', (field, other, redis) => {
    const error = refusal(redis);
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(new RegExp(`^redis\\.${field} must be .*${other}`));
    expect(error.message).not.toContain('hunter2');
  });
});

describe('an accepted redis option', () => {
  const single = { servers: [{ host: 'localhost', port: 6379 }], mode: 'single', db: 0 };

  test('is absent without it, whatever the environment says', () => {
    process.env.REDIS_HOST = 'elsewhere';
    expect(native(undefined)).toBeUndefined();
  });

  test('takes the defaults, and those of the native side', () => {
    expect(native({})).toEqual(single);
    expect(native({ host: undefined, port: undefined, password: undefined, tls: false })).toEqual(single);
  });

  test('is completed by the environment', () => {
    Object.assign(process.env, { REDIS_HOST: 'elsewhere', REDIS_PORT: '6380', REDIS_PASSWORD: 'word' });
    const there = { ...single, servers: [{ host: 'elsewhere', port: 6380 }], password: 'word' };
    expect(native({})).toEqual(there);
    expect(native({ host: 'here' })).toEqual({ ...there, servers: [{ host: 'here', port: 6380 }] });
    expect(native({ port: 1, password: 'mine' })).toEqual({
      ...there,
      servers: [{ host: 'elsewhere', port: 1 }],
      password: 'mine',
    });
    expect(native({ password: '' }).password).toBeUndefined();
    expect(native({ url: 'redis://here' })).toEqual({ ...there, servers: [{ host: 'here', port: 6379 }] });
    expect(native({ cluster: nodes })).toEqual({ ...there, servers: nodes, mode: 'cluster' });
  });

  test('names the variable that is no port', () => {
    process.env.REDIS_PORT = 'redis';
    expect(refusal({}).message).toMatch(/^REDIS_PORT must be/);
    expect(native({ port: 1 }).servers).toEqual([{ host: 'localhost', port: 1 }]);
  });

  test.each([
    ['redis://localhost', {}],
    ['redis://10.0.0.1:6380/3', { servers: [{ host: '10.0.0.1', port: 6380 }], db: 3 }],
    ['redis://me:p%40ss@localhost/', { username: 'me', password: 'p@ss' }],
    ['redis://:word@[::1]:1', { servers: [{ host: '::1', port: 1 }], password: 'word' }],
    ['rediss://localhost', { tls: {} }],
  ])('%s', (url, expected) => {
    expect(native({ url })).toEqual({ ...single, ...expected });
  });

  test('TLS', () => {
    expect(native({ tls: true }).tls).toEqual({});
    expect(native({ url: 'redis://a', tls: true }).tls).toEqual({});
    expect(native({ tls: { ca: PEM, rejectUnauthorized: true } }).tls).toEqual({ ca: PEM, insecure: false });
    const tls = { cert: Buffer.from(PEM), key: PEM, servername: 'redis.test', rejectUnauthorized: false };
    expect(native({ tls }).tls).toEqual({ cert: PEM, key: PEM, servername: 'redis.test', insecure: true });
  });

  test('sentinels have names and passwords of their own', () => {
    const sentinel = { name: 'mymaster', nodes, username: 'watcher', password: 'other' };
    expect(native({ sentinel, username: 'me', password: 'mine', db: 2 })).toEqual({
      servers: nodes,
      mode: { sentinel: 'mymaster' },
      username: 'me',
      password: 'mine',
      sentinelUsername: 'watcher',
      sentinelPassword: 'other',
      db: 2,
    });
  });

  test('times and bounds are passed on', () => {
    const bounds = {
      keyPrefix: 'chat',
      heartbeatInterval: 100,
      responseTimeout: 1,
      requestsTimeout: 2,
      maxQueuedMessages: 3,
      maxQueuedBytes: 4,
    };
    expect(native(bounds)).toEqual({ ...single, ...bounds });
  });

  test('the native side reads it, and history.persist with it', () => {
    const whole = {
      url: 'rediss://me:word@localhost:6380/1',
      tls: { ca: PEM, cert: PEM, key: PEM, servername: 'redis.test', rejectUnauthorized: false },
      keyPrefix: 'chat',
      heartbeatInterval: 100,
      responseTimeout: 1,
      requestsTimeout: 2,
      maxQueuedMessages: 3,
      maxQueuedBytes: 4,
    };
    const sentinel = { name: 'm', nodes, username: 'w', password: 'p' };
    for (const redis of [{}, whole, { cluster: nodes }, { sentinel }]) {
      const config = { redis, history: { persist: true }, logger: silentLogger };
      expect(JSON.parse(nativeConfig(resolveConfig(config))).history).toEqual({ persist: true });
      expect(() => track(new WebSocketService(config))).not.toThrow();
    }
  });
});

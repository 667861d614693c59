// CORS, cookies and the client bundle: the same headers and bodies as from a real `socket.io` server.

import { connect, open, refused, silentLogger, start, type Running } from '../support/harness';
import { raw, startReference, upgradeHeaders, type Answer } from '../support/http';
import type { CorsConfig, WebSocketConfig } from '../../index';

const POLL = '/socket.io/?EIO=4&transport=polling';

describe('a poll', () => {
  test.each([
    '/socket.io/?sid=unknown&EIO=4&transport=polling',
    `${POLL}&sid=unknown`,
    `${POLL}&sid=`,
    `${POLL}&sid=a&sid=b`,
    `${POLL}&s%69d=unknown`,
    `${POLL}&xsid=1`,
    '/socket.io/?a?sid=1&EIO=4&transport=polling',
  ])('of %s is answered as by Socket.IO', async (url) => {
    const running = await start();
    const reference = await startReference();
    const told = ({ status, body }: Answer) => ({ status, body: status === 200 ? 'opened' : body });
    expect(told(await raw(running.port, url))).toEqual(told(await raw(reference.port, url)));
  });

  test.each<[who: string, end: (running: Running, url: string, id: string) => unknown]>([
    ['its client', ({ port }, url) => raw(port, url, { method: 'POST', body: '1' })],
    ['the server', ({ service }, _url, id) => service.disconnectUser(id)],
  ])('of a session that %s ends is answered, and so is every one after it', async (_who, end) => {
    const running = await start();
    const poll = (url: string) => raw(running.port, url);
    const polledToTheEnd = async () => {
      const url = `${POLL}&sid=${JSON.parse((await poll(POLL)).body.slice(1)).sid}`;
      await raw(running.port, url, { method: 'POST', body: '40' });
      const { sid } = JSON.parse((await poll(url)).body.slice(2));
      let answer = poll(url);
      const ended = end(running, url, sid);
      while ((await answer).status === 200) answer = poll(url);
      await ended;
      return (await answer).status;
    };
    for (let round = 0; round < 5; round++) {
      const statuses = await Promise.all(Array.from({ length: 60 }, polledToTheEnd));
      expect(new Set(statuses)).toEqual(new Set([400]));
    }
  });
});

describe('cors', () => {
  const corsHeaders = ({ status, headers }: Answer) => ({
    status,
    vary: headers.vary,
    ...Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith('access-control-'))),
  });

  const configs: Array<[string, CorsConfig]> = [
    ['the default', { origin: '*', credentials: true }],
    ['a string', { origin: 'https://example.com' }],
    ['a list', { origin: ['https://example.com', 'https://example.org'], credentials: true }],
    ['a RegExp', { origin: /example\.(com|org)$/ }],
    ['a list with a RegExp', { origin: ['https://example.net', /\.example\.com$/] }],
    ['true', { origin: true, credentials: true }],
    ['false', { origin: false }],
    ['a function', { origin: (origin, cb) => cb(null, origin === 'https://example.com') }],
    ['a function with an origin', { origin: (_origin, cb) => cb(null, 'https://example.org') }],
    [
      'everything',
      {
        origin: 'https://example.com',
        methods: ['GET', 'POST'],
        allowedHeaders: ['x-a', 'x-b'],
        exposedHeaders: 'x-c',
        maxAge: 600,
        credentials: true,
      },
    ],
  ];

  test.each(configs)('%s', async (_name, cors) => {
    const running = await start({ cors });
    const reference = await startReference({ cors });
    for (const origin of ['https://example.com', 'https://www.example.com', 'https://evil.test', undefined]) {
      for (const method of ['GET', 'OPTIONS']) {
        const headers: Record<string, string> = origin ? { Origin: origin } : {};
        if (method === 'OPTIONS') {
          headers['Access-Control-Request-Method'] = 'POST';
          headers['Access-Control-Request-Headers'] = 'x-a, content-type';
        }
        const actual = await raw(running.port, POLL, { method, headers });
        const expected = await raw(reference.port, POLL, { method, headers });
        expect(corsHeaders(actual)).toEqual(corsHeaders(expected));
      }
    }
  });

  test('without the option the documented default holds', async () => {
    const running = await start();
    const reference = await startReference({ cors: { origin: '*', credentials: true } });
    const headers = { Origin: 'https://example.com' };
    expect(corsHeaders(await raw(running.port, POLL, { headers }))).toEqual(
      corsHeaders(await raw(reference.port, POLL, { headers })),
    );
  });

  test('errors carry the headers too', async () => {
    const cors = { origin: ['https://example.com'], credentials: true };
    const running = await start({ cors });
    const reference = await startReference({ cors });
    const options = { headers: { Origin: 'https://example.com' } };
    const path = `${POLL}&sid=unknown`;
    expect(corsHeaders(await raw(running.port, path, options))).toEqual(corsHeaders(await raw(reference.port, path, options)));
  });

  const upgrade = '/socket.io/?EIO=4&transport=websocket';
  test.each<[string, CorsConfig, Array<[origin: string | undefined, accepted: boolean]>]>([
    ['*', { origin: '*' }, [['https://evil.test', true], [undefined, true]]],
    ['a list', { origin: ['https://example.com'] }, [['https://example.com', true], ['https://evil.test', false], [undefined, true]]],
    ['a RegExp', { origin: /^https:\/\/example\.com$/ }, [['https://example.com', true], ['https://example.com.evil.test', false], ['null', false], [undefined, true]]],
  ])('%s decides on upgrades', async (_name, cors, cases) => {
    const running = await start({ cors });
    for (const [origin, accepted] of cases) {
      const { status } = await raw(running.port, upgrade, {
        headers: { ...upgradeHeaders, ...(origin && { Origin: origin }) },
      });
      expect([origin, status === 101]).toEqual([origin, accepted]);
    }
  });

  test('a real client with a foreign origin is refused on a websocket', async () => {
    const running = await start({ cors: { origin: ['https://example.com'] } });
    await refused(open(running, { transports: ['websocket'], extraHeaders: { origin: 'https://evil.test' } }));
    await connect(running, { transports: ['websocket'], extraHeaders: { origin: 'https://example.com' } });
  });
});

describe('cookie', () => {
  const cookies: Array<[string, WebSocketConfig['cookie']]> = [
    ['absent', undefined],
    ['false', false],
    ['true', true],
    ['a name', { name: 'session' }],
    ['attributes', { name: 'io', path: '/app', httpOnly: false, sameSite: 'strict', maxAge: 60 }],
    ['all attributes', { name: 'io', domain: 'example.com', secure: true, sameSite: 'none', expires: new Date(1e12), priority: 'high', partitioned: true }],
  ];

  test.each(cookies)('%s', async (_name, cookie) => {
    const running = await start({ cookie });
    const reference = await startReference({ cookie: cookie as any });
    const without = ({ headers, body }: Answer) => {
      const sid = JSON.parse(body.slice(1)).sid;
      return headers['set-cookie']?.map((each) => each.replaceAll(sid, '<sid>'));
    };
    expect(without(await raw(running.port, POLL))).toEqual(without(await raw(reference.port, POLL)));
  });

  test('comes with a websocket handshake if it does with Socket.IO', async () => {
    const running = await start({ cookie: true });
    const reference = await startReference({ cookie: true });
    const path = '/socket.io/?EIO=4&transport=websocket';
    const [actual, expected] = [running.port, reference.port].map((port) => raw(port, path, { headers: upgradeHeaders }));
    const name = (answer: Answer) => answer.headers['set-cookie']?.map((each) => each.split('=')[0]);
    expect(name((await actual)!)).toEqual(name((await expected)!));
  });
});

describe('the client bundle', () => {
  test.each(['socket.io.js', 'socket.io.min.js', 'socket.io.esm.min.js', 'socket.io.msgpack.min.js'])(
    '%s and its map are those of Socket.IO',
    async (file) => {
      const running = await start();
      const reference = await startReference();
      for (const path of [`/socket.io/${file}`, `/socket.io/${file}.map`, `/socket.io/${file}?v=1`]) {
        const [actual, expected] = [await raw(running.port, path), await raw(reference.port, path)];
        expect(actual.status).toBe(expected.status);
        expect(actual.body === expected.body).toBe(true);
        for (const name of ['content-type', 'etag', 'cache-control']) {
          expect(actual.headers[name]).toBe(expected.headers[name]);
        }
      }
    },
  );

  test('is not sent again to who has it', async () => {
    const running = await start();
    const { headers } = await raw(running.port, '/socket.io/socket.io.js');
    const again = await raw(running.port, '/socket.io/socket.io.js', { headers: { 'If-None-Match': headers.etag! } });
    expect([again.status, again.body]).toEqual([304, '']);
  });

  test('is found under another path', async () => {
    const running = await start({ path: '/ws' });
    expect((await raw(running.port, '/ws/socket.io.js')).status).toBe(200);
    expect((await raw(running.port, '/socket.io/socket.io.js')).status).not.toBe(200);
  });

  test('is not served with serveClient: false', async () => {
    const running = await start({ serveClient: false });
    const reference = await startReference({ serveClient: false });
    const path = '/socket.io/socket.io.js';
    const [actual, expected] = [await raw(running.port, path), await raw(reference.port, path)];
    expect([actual.status, actual.body]).toEqual([expected.status, expected.body]);
    await connect(running);
  });

  test.each(['/socket.io/../package.json', '/socket.io/%2e%2e/package.json', '/socket.io/socket.io.js/../x', '/socket.io/other.js'])(
    '%s is no file',
    async (path) => {
      const running = await start({ logger: silentLogger });
      const { status, body } = await raw(running.port, path);
      expect(status).toBeGreaterThanOrEqual(400);
      expect(body).not.toContain('native-websocket-service');
    },
  );
});

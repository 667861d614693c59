// Origins: requests are answered with the headers of `cors`, upgrades of strange pages are refused, by one decision.

import { EventEmitter, once } from 'node:events';
import type { Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { certificate } from '../support/certificate';
import { connect, next, open, refused, silentLogger, start, track, listen, isSecure, WebSocketService } from '../support/harness';
import { raw, requestTo, startReference, upgradeHeaders, type Answer } from '../support/http';
import type { CorsConfig, CorsCustomOrigin, CorsStaticOrigin } from '../../index';

const POLL = '/socket.io/?EIO=4&transport=polling';
const UPGRADE = '/socket.io/?EIO=4&transport=websocket';

const [OURS, ALSO, EVIL] = ['https://example.com', 'https://www.example.com', 'https://evil.test'];

const corsHeaders = ({ status, headers }: Answer) => ({
  status,
  vary: headers.vary,
  ...Object.fromEntries(Object.entries(headers).filter(([name]) => name.startsWith('access-control-'))),
});

async function upgrade(port: number, headers: Record<string, string>): Promise<boolean> {
  const { status, body } = await raw(port, UPGRADE, { headers: { ...upgradeHeaders, ...headers } });
  if (status !== 101) expect([status, body]).toEqual([400, 'Forbidden']);
  return status === 101;
}

const rules: Array<[name: string, origin: CorsStaticOrigin, admitted: string[]]> = [
  ["'*'", '*', [OURS, ALSO, EVIL, 'null']],
  ['true', true, [OURS, ALSO, EVIL, 'null']],
  ['false', false, []],
  ['a string', OURS, [OURS]],
  ["'null'", 'null', ['null']],
  ['a RegExp', /example\.com$/, [OURS, ALSO]],
  ['a RegExp with g', /example\.com$/g, [OURS, ALSO]],
  ['a RegExp with y', /https:\/\/[^/]*example\.com$/y, [OURS, ALSO]],
  ['a RegExp with y that is no beginning', /example\.com$/y, []],
  ['a list', [OURS, ALSO], [OURS, ALSO]],
  ['a list of everything', [OURS, /www\./g, false], [OURS, ALSO]],
  ['a list with true', [false, true], [OURS, ALSO, EVIL, 'null']],
  ['a list with false', [false], []],
  ['an empty list', [], []],
];

const asFunction = (origin: CorsStaticOrigin): CorsCustomOrigin => (_origin, callback) => callback(null, origin);

describe.each([
  ['by itself', (origin: CorsStaticOrigin) => origin],
  ['as the answer of a function', asFunction],
])('%s', (_name, form) => {
  test.each(rules)('%s decides on upgrades, however often it is asked', async (_rule, origin, admitted) => {
    const { port } = await start({ cors: { origin: form(origin) } });
    for (const each of [OURS, ALSO, EVIL, 'null', OURS, OURS, ALSO, ALSO]) {
      expect([each, await upgrade(port, { Origin: each })]).toEqual([each, admitted.includes(each)]);
    }
    expect(await upgrade(port, {})).toBe(true);
  });

  test.each(rules)('%s gives requests the headers of cors', async (_rule, origin) => {
    const { port } = await start({ cors: { origin: form(origin), credentials: true } });
    const theirs = [origin].flat().map((rule) => (rule instanceof RegExp ? new RegExp(rule) : rule));
    const same = Array.isArray(origin) ? theirs : theirs[0]!;
    const reference = await startReference({ cors: { origin: form(same), credentials: true } });
    for (const each of [OURS, ALSO, EVIL, undefined, OURS, OURS]) {
      for (const method of ['GET', 'OPTIONS']) {
        // That of `cors` goes on where it was.
        for (const rule of theirs) if (rule instanceof RegExp) rule.lastIndex = 0;
        const headers = { ...(each && { Origin: each }), 'Access-Control-Request-Method': 'POST' };
        const expected = corsHeaders(await raw(reference.port, POLL, { method, headers }));
        expect(corsHeaders(await raw(port, POLL, { method, headers }))).toEqual(expected);
      }
    }
  });
});

test.each<[name: string, host: string | undefined, origin: string]>([
  ['itself', undefined, 'SCHEME://127.0.0.1:PORT'],
  ['itself behind a proxy that ends TLS', 'chat.example', 'https://chat.example'],
  ['itself behind a proxy that says the default port', 'chat.example:443', 'https://chat.example'],
  ['itself in capitals', 'Chat.Example', 'https://chat.example'],
  ['itself by its address', '[::1]:8080', 'SCHEME://[::1]:8080'],
])('a page of %s is let in, whatever the rule', async (_name, host, origin) => {
  for (const rule of [false, [], 'https://other.example', refuse]) {
    const { port } = await start({ cors: { origin: rule } });
    const scheme = isSecure(port) ? 'https' : 'http';
    const headers = { ...(host && { Host: host }), Origin: origin.replace('SCHEME', scheme).replace('PORT', String(port)) };
    expect(await upgrade(port, headers)).toBe(true);
  }
  function refuse(_origin: string | undefined, callback: (error: Error) => void): void {
    callback(new Error('refused'));
  }
});

test.each([
  ['another port', 'chat.example', 'https://chat.example:8443'],
  ['another host', 'chat.example', 'https://chat.example.evil.test'],
  ['a part of the host', 'chat.example', 'https://example'],
  ['the port of another scheme', 'chat.example:80', 'https://chat.example'],
  ['an app on the device', 'localhost', 'capacitor://localhost'],
  ['no origin', 'null', 'null'],
  ['rubbish', 'chat.example', 'https://chat.example, https://evil.test'],
])('a page of %s is not the own', async (_name, host, origin) => {
  const { port } = await start({ cors: { origin: false } });
  expect(await upgrade(port, { Host: host, Origin: origin })).toBe(false);
});

test('a page without TLS is no part of a server with it', async () => {
  const service = track(new WebSocketService({ cors: { origin: false }, logger: silentLogger }));
  const server = createTlsServer(certificate());
  service.initialize(server);
  const port = await listen(server as unknown as Server);
  const headers = (origin: string) => ({ origin, host: `127.0.0.1:${port}` });
  const url = `https://127.0.0.1:${port}`;
  const options = (origin: string) => ({
    transports: ['websocket'],
    rejectUnauthorized: false,
    extraHeaders: headers(origin),
  });
  await refused(open(url, options(`http://127.0.0.1:${port}`)));
  await connect(url, options(url));
});

test('the page itself polls, upgrades and comes back with every rule', async () => {
  for (const origin of [false, OURS, [/example/g]] as CorsStaticOrigin[]) {
    const running = await start({ cors: { origin } });
    for (let time = 0; time < 2; time++) {
      const client = open(running, { extraHeaders: { origin: running.url } });
      const engine = client.io.engine;
      const upgraded = next(engine, 'upgrade');
      await next(client, 'connect');
      await upgraded;
      expect(client.io.engine.transport.name).toBe('websocket');
    }
  }
});

describe('a function', () => {
  const failing: Array<[name: string, origin: CorsCustomOrigin]> = [
    ['calls back with an error', (_origin, callback) => callback(new Error('out of order'))],
    [
      'throws',
      () => {
        throw new Error('out of order');
      },
    ],
    [
      'rejects',
      async () => {
        await Promise.resolve();
        throw new Error('out of order');
      },
    ],
  ];

  failing.push(['answers with what no header can hold', (_origin, callback) => callback(null, 'https://a\r\nX: 1')]);

  test.each(failing)('that %s refuses, and is logged', async (_name, origin) => {
    const logged: unknown[] = [];
    const logger = { ...silentLogger, error: (...args: unknown[]) => logged.push(args) };
    const { port } = await start({ cors: { origin }, logger });
    expect(await upgrade(port, { Origin: OURS })).toBe(false);
    expect(logged).toEqual([['cors.origin failed', expect.any(Error)]]);
    expect((await raw(port, POLL, { headers: { Origin: OURS } })).status).toBe(400);
    expect(logged).toHaveLength(2);
  });

  test('is asked once for each upgrade, and its first answer holds', async () => {
    const asked: unknown[] = [];
    const origin: CorsCustomOrigin = (requestOrigin, callback) => {
      asked.push(requestOrigin);
      callback(null, requestOrigin === OURS);
      callback(null, requestOrigin !== OURS);
      callback(new Error('too late'));
      throw new Error('too late as well');
    };
    const running = await start({ cors: { origin } });
    expect(await upgrade(running.port, { Origin: OURS })).toBe(true);
    expect(await upgrade(running.port, { Origin: EVIL })).toBe(false);
    expect(asked).toEqual([OURS, EVIL]);
    await connect(running, { transports: ['websocket'] });
    expect(asked).toHaveLength(2);
  });

  test('that never answers refuses after connectTimeout', async () => {
    const { port } = await start({ cors: { origin: () => {} }, connectTimeout: 20 });
    expect(await upgrade(port, { Origin: OURS })).toBe(false);
  });

  test('that answers when the client has gone, or the service has ended, harms nobody', async () => {
    const answers: Array<(error: Error | null, origin?: CorsStaticOrigin) => void> = [];
    const asking = new EventEmitter();
    const origin: CorsCustomOrigin = (_origin, callback) => void asking.emit('asked', answers.push(callback));
    const { port, service } = await start({ cors: { origin } });
    const options = { path: UPGRADE, headers: { ...upgradeHeaders, Origin: OURS } };

    let asked = once(asking, 'asked');
    const gone = requestTo(port, options).on('error', () => {});
    gone.end();
    await asked;
    gone.destroy();
    asked = once(asking, 'asked');
    const waiting = raw(port, UPGRADE, { headers: options.headers });
    await asked;
    answers[0]!(null, true);
    await service.shutdown();
    expect(await waiting).toMatchObject({ status: 503, body: 'Server is shutting down' });
    answers[1]!(null, true);
    expect(service.getStats().activeConnections).toBe(0);
  });
});

test('what is undefined is as good as left out', async () => {
  const members = ['origin', 'credentials', 'methods', 'allowedHeaders', 'exposedHeaders', 'maxAge'];
  const cors = Object.fromEntries([...members, 'preflightContinue', 'optionsSuccessStatus'].map((name) => [name, undefined]));
  const [without, withIt] = [await start({ cors: {} }), await start({ cors: cors as CorsConfig })];
  for (const method of ['GET', 'OPTIONS']) {
    const headers = { Origin: OURS, 'Access-Control-Request-Method': 'POST' };
    const expected = corsHeaders(await raw(without.port, POLL, { method, headers }));
    expect(expected).toMatchObject({ 'access-control-allow-origin': '*' });
    expect(corsHeaders(await raw(withIt.port, POLL, { method, headers }))).toEqual(expected);
  }
});

// Engine.IO handshakes: answers, errors and their codes are those of a real `socket.io` server.

import { connect, drained, open, refused, start, type Running } from '../support/harness';
import { handshake, raw, startReference, upgradeHeaders, type Answer, type RawRequest } from '../support/http';

let running: Running;
let referencePort: number;
beforeEach(async () => {
  running = await start();
  referencePort = (await startReference({ cors: { origin: '*', credentials: true }, pingTimeout: 60000 })).port;
});

async function both(path: string, options?: RawRequest): Promise<[actual: Answer, expected: Answer]> {
  return [await raw(running.port, path, options), await raw(referencePort, path, options)];
}

const comparable = ({ status, headers, body }: Answer) => ({
  status,
  body,
  type: headers['content-type'],
  origin: headers['access-control-allow-origin'],
});

test('the open packet offers what Engine.IO offers', async () => {
  const [actual, expected] = await both('/socket.io/?EIO=4&transport=polling');
  const open = ({ body }: Answer) => ({ ...JSON.parse(body.slice(1)), sid: '' });
  expect(actual.status).toBe(200);
  expect(actual.body[0]).toBe('0');
  expect(open(actual)).toEqual(open(expected));
  expect(Object.keys(open(actual))).toEqual(Object.keys(open(expected)));
  expect(actual.headers['content-type']).toBe(expected.headers['content-type']);
  expect(actual.headers['cache-control']).toBe(expected.headers['cache-control']);
});

const requests: Array<[name: string, path: string, options?: RawRequest]> = [
  ['no query', '/socket.io/'],
  ['no version', '/socket.io/?transport=polling'],
  ['no transport', '/socket.io/?EIO=4'],
  ['an unknown transport', '/socket.io/?EIO=4&transport=carrier-pigeon'],
  ['a transport named like a property', '/socket.io/?EIO=4&transport=constructor'],
  ['webtransport', '/socket.io/?EIO=4&transport=webtransport'],
  ['version 3', '/socket.io/?EIO=3&transport=polling'],
  ['an unknown session', '/socket.io/?EIO=4&transport=polling&sid=unknown'],
  ['two sessions', '/socket.io/?EIO=4&transport=polling&sid=one&sid=two'],
  ['an unknown session by POST', '/socket.io/?EIO=4&transport=polling&sid=unknown', { method: 'POST', body: '4' }],
  ['a handshake by POST', '/socket.io/?EIO=4&transport=polling', { method: 'POST', body: '' }],
  ['a handshake by PUT', '/socket.io/?EIO=4&transport=polling', { method: 'PUT' }],
  ['a handshake by DELETE', '/socket.io/?EIO=4&transport=polling', { method: 'DELETE' }],
  ['websocket without an upgrade', '/socket.io/?EIO=4&transport=websocket'],
  ['the path without a slash', '/socket.io?EIO=4&transport=carrier-pigeon'],
];

test.each(requests.map(([name, path, options = {}]) => [name, path, options] as const))(
  '%s is answered as by Socket.IO',
  async (_name, path, options) => {
    const [actual, expected] = await both(path, options);
    expect(comparable(actual)).toEqual(comparable(expected));
    expect(running.service.getStats().totalConnections).toBe(0);
  },
);

test.each<[string, string]>([
  ['an unknown transport', '/socket.io/?EIO=4&transport=carrier-pigeon'],
  ['an unknown session', '/socket.io/?EIO=4&transport=websocket&sid=unknown'],
])('an upgrade with %s is refused as by Socket.IO', async (_name, path) => {
  const [actual, expected] = await both(path, { headers: upgradeHeaders });
  expect({ status: actual.status, body: actual.body }).toEqual({ status: expected.status, body: expected.body });
});

test.each<[string, Record<string, string>]>([
  ['no key', { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13' }],
  ['another version', { ...upgradeHeaders, 'Sec-WebSocket-Version': '12' }],
  ['a bad key', { ...upgradeHeaders, 'Sec-WebSocket-Key': 'short' }],
])('an upgrade with %s is refused', async (_name, headers) => {
  const path = '/socket.io/?EIO=4&transport=websocket';
  const [actual, expected] = await both(path, { headers });
  expect(actual.status).toBe(expected.status);
  await connect(running);
});

test('an upgrade with version 3 makes no connection', async () => {
  await raw(running.port, '/socket.io/?EIO=3&transport=websocket', { headers: upgradeHeaders });
  await connect(running, { transports: ['websocket'] });
  expect(running.service.getStats().totalConnections).toBe(1);
});

test('a good upgrade is accepted with the right key', async () => {
  const [actual, expected] = await both('/socket.io/?EIO=4&transport=websocket', { headers: upgradeHeaders });
  expect(actual.status).toBe(101);
  expect(actual.headers['sec-websocket-accept']).toBe(expected.headers['sec-websocket-accept']);
});

test.each(['GET', 'POST'])('a session that is closed is unknown to %s', async (method) => {
  const [here, there] = [await handshake(running.port), await handshake(referencePort)];
  const path = (sid: string) => `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
  await raw(running.port, path(here), { method: 'POST', body: '1' });
  await raw(referencePort, path(there), { method: 'POST', body: '1' });
  const body = method === 'POST' ? '40' : undefined;
  const actual = await raw(running.port, path(here), { method, body });
  const expected = await raw(referencePort, path(there), { method, body });
  expect(comparable(actual)).toEqual(comparable(expected));
});

test('two polls at once end that session as in Engine.IO', async () => {
  const answers = async (port: number) => {
    const sid = await handshake(port);
    const path = `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
    const first = raw(port, path);
    await raw(port, path, { method: 'POST', body: '40' });
    await first;
    const second = raw(port, path);
    // The order in which the two arrive does not matter: one of them is the second.
    const third = raw(port, path);
    return (await Promise.all([second, third])).map(({ status }) => status).sort();
  };
  expect(await answers(running.port)).toEqual(await answers(referencePort));
});

test('a POST is answered ok, a rubbish POST closes the session as in Engine.IO', async () => {
  for (const body of ['40', '9rubbish', '']) {
    const answers = [];
    for (const port of [running.port, referencePort]) {
      const path = `/socket.io/?EIO=4&transport=polling&sid=${await handshake(port)}`;
      const { status, body: text, headers } = await raw(port, path, { method: 'POST', body });
      answers.push({ status, text, type: headers['content-type'] });
    }
    expect(answers[0]).toEqual(answers[1]);
  }
});

test('a transport other than that of the session is refused', async () => {
  const websocket = await connect(running, { transports: ['websocket'] });
  const actual = await raw(running.port, `/socket.io/?EIO=4&transport=polling&sid=${websocket.io.engine.id}`);
  expect(actual.status).toBe(400);
  expect(JSON.parse(actual.body).code).toBe(3);
  await drained(running.service, websocket);
});

test('a socket id is no session id', async () => {
  const client = await connect(running, { transports: ['polling'] });
  const stolen = await raw(running.port, `/socket.io/?EIO=4&transport=polling&sid=${client.id}`);
  expect(JSON.parse(stolen.body)).toEqual({ code: 1, message: 'Session ID unknown' });
  await drained(running.service, client);
});

test('an unknown namespace is refused with connect_error', async () => {
  const reference = await refused(open(`http://127.0.0.1:${referencePort}/admin`));
  const error = await refused(open(`${running.url}/admin`));
  expect(error.message).toBe(reference.message);
  expect(error.data).toEqual(reference.data);
  expect(running.service.getConnectedUsers()).toEqual([]);
  await connect(running);
});

test.each(['polling', 'websocket'] as const)('transports: only %s is let in', async (allowed) => {
  const other = allowed === 'polling' ? 'websocket' : 'polling';
  const only = await start({ transports: [allowed] });
  const reference = await startReference({ transports: [allowed] });
  await connect(only, { transports: [allowed] });
  await refused(open(only, { transports: [other] }));
  const path = `/socket.io/?EIO=4&transport=${other}`;
  const options = other === 'websocket' ? { headers: upgradeHeaders } : {};
  const [actual, expected] = [await raw(only.port, path, options), await raw(reference.port, path, options)];
  expect([actual.status, actual.body]).toEqual([expected.status, expected.body]);
});

test('a polling-only service offers no upgrade', async () => {
  const only = await start({ transports: ['polling'] });
  const client = await connect(only);
  await drained(only.service, client);
  expect(client.io.engine.transport.name).toBe('polling');
});

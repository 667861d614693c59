// What fails around a service does not end it: the application's own code, the machine's sleep, the end in a storm.

import { once } from 'node:events';
import { eventually, within } from '../support/eventually';
import { afterTest, open, type Client } from '../support/harness';
import { Program, run } from '../support/program';

const { RawClient } = require('../support/raw-client');

test('code of the application that throws wherever it is called ends nothing', async () => {
  const { lines, end } = await run('faulty.js');
  const refusals = lines.filter((line) => / by (next|throw): /.test(line));
  expect(refusals).toHaveLength(11);
  expect(refusals.filter((line) => !line.endsWith(': string'))).toEqual([]);
  expect(lines.slice(-2)).toEqual(['joined: true', 'warnings: 1']);
  expect(end).toBe(0);
});

/** How often each listener of `failing.js` fails. */
const FAILURES = {
  ...{ connection: 3, disconnect: 2, message: 2, 'room:join': 2, 'room:leave': 2, 'room:create': 2, 'room:delete': 2, typing: 4 },
  ...{ 'token:expiring': 2, connection_error: 2, handleDisconnection: 3, ack: 6 },
  ...{ 'socket.on': 2, 'socket.onAny': 2, 'socket.once': 2, 'disconnecting of a socket': 3, 'disconnect of a socket': 3 },
};

test.each([
  ['throw', 'readable'],
  ['throw', 'unreadable'],
  ['reject', 'readable'],
  ['reject', 'unreadable'],
])('listeners that %s, with %s errors, are reported once each, and all others are served', async (how, what) => {
  const { lines, end, errors } = await run('failing.js', how, what);
  const reported = Object.fromEntries(Object.entries(FAILURES).map(([kind, times]) => [kind, { failed: times, reported: times }]));
  expect({ lines: lines.map((line) => JSON.parse(line)), end, errors }).toEqual({ lines: [reported], end: 0, errors: '' });
});

/** Longer than a heartbeat and its answer may take. */
const SLEEP_MS = 2_000;

test('a client whose answer came while the process slept is not taken for dead', async () => {
  const server = new Program('sleeper.js');
  const port = (await server.said('port ')).split(' ')[1];
  const clients = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const client = new RawClient(`http://127.0.0.1:${port}`);
      await client.connect();
      await client.next('2');
      return client;
    }),
  );
  for (let round = 0; round < 3; round++) {
    server.child.kill('SIGSTOP');
    await new Promise((done) => setTimeout(done, SLEEP_MS));
    const pings = clients.map((client) => client.next('2'));
    server.child.kill('SIGCONT');
    await Promise.all(pings);
  }
  expect(server.lines.filter((line) => line.startsWith('disconnect'))).toEqual([]);
  for (const client of clients) client.terminate();
  await eventually(() => expect(server.lines.filter((line) => line.startsWith('disconnect'))).toHaveLength(20));
}, 30_000);

test('one that is really gone is found out after the sleep', async () => {
  const server = new Program('sleeper.js');
  const client = new RawClient(`http://127.0.0.1:${(await server.said('port ')).split(' ')[1]}`);
  await client.connect();
  server.child.kill('SIGSTOP');
  client.ws.removeAllListeners('message');
  await new Promise((done) => setTimeout(done, SLEEP_MS));
  server.child.kill('SIGCONT');
  expect(await server.said('disconnect')).toBe('disconnect ping timeout');
  client.terminate();
}, 30_000);

test.each([0, 500])('SIGTERM in a storm of connections and messages ends the process in time, by itself, over %i ms', async (drainMs) => {
  const server = new Program('sleeper.js', drainMs);
  const [, port, roomId] = (await server.said('port ')).split(' ');
  const url = `http://127.0.0.1:${port}`;
  const clients = new Set<Client>();
  let isStorm = true;
  let answered = 0;
  afterTest(() => (isStorm = false));
  /** Each message follows the answer to the one before. */
  const talk = (client: Client) => {
    if (!isStorm || !client.connected) return;
    client.emit('message', { roomId, content: 'x'.repeat(1_000) }, () => (answered++, talk(client)));
  };
  const storm = async (transport: 'polling' | 'websocket') => {
    while (isStorm) {
      const client = open(url, { transports: [transport] });
      clients.add(client);
      client.once('connect', () => talk(client));
      await new Promise<void>((done) => {
        for (const event of ['connect', 'connect_error'] as const) client.once(event, () => done());
        // One whose transport was open and that was not let in any more tells its manager alone.
        client.io.once('close', () => done());
      });
      if (clients.size % 3 === 0) client.disconnect();
    }
  };
  const storms = Array.from({ length: 8 }, (_, index) => storm(index % 2 ? 'polling' : 'websocket'));
  await eventually(() => {
    expect(server.lines.filter((line) => line.startsWith('connection')).length).toBeGreaterThan(50);
    expect(answered).toBeGreaterThan(50);
  });
  const exited = once(server.child, 'exit');
  server.child.kill('SIGTERM');
  // `shutdown` gives up on whoever is stuck after ten seconds.
  expect(await within(drainMs + 8_000, 'the end of the process', exited)).toEqual([0, null]);
  expect(server.lines).toContain('ended');
  const count = (kind: string) => server.lines.filter((line) => line.startsWith(kind)).length;
  expect(count('disconnect')).toBe(count('connection'));
  isStorm = false;
  await Promise.all(storms);
  expect([...clients].filter(({ connected }) => connected)).toEqual([]);
}, 30_000);

// What a process with a service lives for, and what it keeps in memory; each case in a process of its own.

import { connect, next, start } from '../support/harness';
import { Program, run } from '../support/program';

test.each([
  ['shutdown in mock mode', ['after']],
  ['shutdown before initialize', ['after']],
  ['shutdown after the server was closed', ['after']],
  ['shutdown with a client after the server was closed', ['after']],
  ['joinRoom of a socket made by hand', ['joined 1', 'after']],
])('%s is waited for, and the process ends afterwards', async (name, lines) => {
  expect(await run('ending.js', name)).toEqual({ lines, end: 0, errors: '' });
});

test('a refusal with circular data is a connect_error and nothing else', async () => {
  expect(await run('ending.js', 'refusal with circular data')).toMatchObject({
    lines: ['connect_error: not you', 'connect_error: not you'],
    end: 0,
  });
});

test('a process whose HTTP server was closed stays until the last websocket client leaves', async () => {
  const server = new Program('ending.js', 'closed server with a client');
  const port = await server.said('');
  const exited = next(server.child, 'close');
  const client = await connect(`http://127.0.0.1:${port}`, { transports: ['websocket'] });
  const lost = next(client, 'disconnect').then(() => 'lost');
  for (let round = 0; round < 100; round++) {
    expect(await Promise.race([client.emitWithAck('question'), lost])).toBe('here');
  }
  client.disconnect();
  expect((await exited)[0]).toBe(0);
  expect(server.lines).toEqual([port, 'connected at exit: 0']);
});

test('a polling client whose process is killed is gone at once, with transport error', async () => {
  const running = await start();
  const gone = next(running.service, 'disconnect');
  const client = new Program('waiting-poller.js', running.url);
  expect(await client.said('polling')).toBe('polling');
  client.child.kill('SIGKILL');
  // The next heartbeat would fail only after the time that this test has.
  expect((await gone)[1]).toBe('transport error');
});

test.each([
  ['messages that history has dropped', 'messages'],
  ['services that have been shut down in mock mode', 'services in mock mode'],
  ['services that have been shut down on a server', 'services on a server'],
  ['sockets that middleware never let in, after connectTimeout', 'refused sockets'],
  ['sockets that middleware never let in, whose clients are gone', 'abandoned sockets'],
])('%s are garbage', async (_name, scenario) => {
  expect(await run('garbage.js', scenario)).toEqual({ lines: ['true'], end: 0, errors: '' });
});

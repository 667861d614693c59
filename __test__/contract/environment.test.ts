// Contract section 2: options that the environment fills in when they are absent.

import { connect, open, refused, start, track, WebSocketService } from '../support/harness';

const VARIABLES = ['WEBSOCKET_PATH', 'WEBSOCKET_PING_TIMEOUT', 'WEBSOCKET_PING_INTERVAL', 'REDIS_HOST', 'REDIS_PORT'];
const before = { ...process.env };

afterEach(() => {
  for (const name of VARIABLES) {
    if (before[name] === undefined) delete process.env[name];
    else process.env[name] = before[name];
  }
});

async function handshake(url: string, path: string): Promise<{ pingTimeout: number; pingInterval: number }> {
  const answer = await fetch(`${url}${path}/?EIO=4&transport=polling`);
  return JSON.parse((await answer.text()).slice(1));
}

test('without options and environment the documented defaults hold', async () => {
  for (const name of VARIABLES) delete process.env[name];
  const { url } = await start();
  expect(await handshake(url, '/socket.io')).toMatchObject({
    pingTimeout: 60000,
    pingInterval: 25000,
    maxPayload: 1000000,
    upgrades: ['websocket'],
  });
});

test('WEBSOCKET_PATH sets the path', async () => {
  process.env.WEBSOCKET_PATH = '/from-environment';
  const running = await start();
  await connect(running, { path: '/from-environment' });
  await refused(open(running, { path: '/socket.io' }));
});

test('WEBSOCKET_PING_TIMEOUT and WEBSOCKET_PING_INTERVAL set the heartbeat', async () => {
  process.env.WEBSOCKET_PING_TIMEOUT = '1234';
  process.env.WEBSOCKET_PING_INTERVAL = '5678';
  const { url } = await start();
  expect(await handshake(url, '/socket.io')).toMatchObject({ pingTimeout: 1234, pingInterval: 5678 });
});

test('an option wins over the environment', async () => {
  process.env.WEBSOCKET_PATH = '/from-environment';
  process.env.WEBSOCKET_PING_TIMEOUT = '1234';
  process.env.WEBSOCKET_PING_INTERVAL = '5678';
  const { url } = await start({ path: '/option', pingTimeout: 4321, pingInterval: 8765 });
  expect(await handshake(url, '/option')).toMatchObject({ pingTimeout: 4321, pingInterval: 8765 });
});

test.each(['abc', '-1', '1.5e'])('WEBSOCKET_PING_TIMEOUT=%s is refused by name', (value) => {
  process.env.WEBSOCKET_PING_TIMEOUT = value;
  expect(() => track(new WebSocketService())).toThrow(/WEBSOCKET_PING_TIMEOUT|pingTimeout/);
});

test('the environment alone never switches Redis on', async () => {
  process.env.REDIS_HOST = '203.0.113.1';
  process.env.REDIS_PORT = '1';
  const running = await start();
  await connect(running);
});

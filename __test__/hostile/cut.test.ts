// Connections that are cut at every byte of what a client says: nothing of them is left.

import { eventually } from '../support/eventually';
import { handshake, raw } from '../support/http';
import { Victim } from '../support/victim';
import { frame, FrameWire } from '../support/frames';
import { upgradeHead, Wire } from '../support/wire';

const PING = Buffer.from([0x81, 1, 0x32]);
const POLL = '/socket.io/?EIO=4&transport=polling';

/** Says so much of it, and goes, in one of two ways. */
async function cut(port: number, bytes: Buffer, at: number): Promise<void> {
  const wire = new Wire(port);
  await wire.write(bytes.subarray(0, at));
  if (at % 2 === 0) wire.socket.destroy();
  else wire.reset();
  await wire.closed;
}

test.each<[string, (port: number) => Promise<Buffer>]>([
  ['a handshake by polling', async () => Buffer.from(`GET ${POLL} HTTP/1.1\r\nHost: a\r\n\r\n`)],
  ['a POST with CONNECT', async (port) => Buffer.from(`POST ${POLL}&sid=${await handshake(port)} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n40`)],
  ['a WebSocket, CONNECT and an event', async () => Buffer.concat([Buffer.from(upgradeHead()), frame('text', '40'), frame('text', '420["room:join",{"roomId":"x"}]')])],
  ['an upgrade', async (port) => Buffer.concat([Buffer.from(upgradeHead(`&sid=${await handshake(port)}`)), frame('text', '2probe'), frame('text', '5'), frame('text', '40')])],
])('%s', async (_what, make) => {
  const victim = await Victim.start({ pingInterval: 200, pingTimeout: 300, connectTimeout: 500, upgradeTimeout: 200 });
  const bystander = await FrameWire.connected(victim.port);
  void answerPings(bystander);
  const before = await victim.descriptors();
  const { length } = await make(victim.port);
  for (let at = 0; at <= length; at++) await cut(victim.port, await make(victim.port), at);
  await eventually(async () => {
    expect(await victim.stats()).toMatchObject({ activeConnections: 1 });
    expect(await victim.descriptors()).toBeLessThanOrEqual(before);
  }, 10_000);
  expect((await raw(victim.port, '/socket.io/health')).body).toContain('"connections":1');
}, 40_000);

/** Keeps a client alive that does nothing else. */
async function answerPings(wire: Wire): Promise<void> {
  wire.socket.on('data', (data: Buffer) => data.includes(PING) && wire.socket.write(frame('text', '3')));
}

// A proxy that cuts the connections of real clients, after any number of bytes, either way: nothing of them is left.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterTest, connect, isSecure, nextWhere, open, secure, urlOf, type TransportName } from '../support/harness';
import { certificate } from '../support/certificate';
import { CuttingProxy, type Cut, type Direction } from '../support/cutting-proxy';
import { eventually } from '../support/eventually';
import { Victim } from '../support/victim';

/** Short: what a cut client leaves to a timeout is seen within the test. */
const OPTIONS = { pingInterval: 1_000, pingTimeout: 2_000, connectTimeout: 2_000, upgradeTimeout: 1_000 };
/** How many conversations there are at a time, each by a proxy of its own. */
const AT_ONCE = 8;

interface Setting {
  transports: TransportName[];
  /** Each so many bytes there is a cut. */
  every: number;
}

/** A client that connects, upgrades if it may, and sends a message: until it has its answer, or is cut off. */
async function converse(port: number, roomId: string, transports: TransportName[]): Promise<'whole' | 'cut'> {
  const client = open(urlOf(port), { transports, timeout: 5_000, rejectUnauthorized: false });
  // Which may never be answered.
  const cut = new Promise<'cut'>((done) => {
    client.once('connect_error', () => done('cut'));
    client.once('disconnect', () => done('cut'));
    client.io.engine.once('close', () => done('cut'));
  });
  const upgraded = new Promise<void>((done) => {
    if (transports.length === 1) done();
    else client.io.engine.once('upgrade', () => done());
  });
  const whole = (async () => {
    await Promise.all([new Promise<void>((done) => void client.once('connect', done)), upgraded]);
    const answer = await client.emitWithAck('message', { roomId, content: 'x' });
    expect(answer.ok).toBe(true);
    return 'whole' as const;
  })();
  const how = await Promise.race([whole, cut]);
  client.disconnect();
  return how;
}

const settings: Array<[name: string, setting: Setting]> = [
  ['websocket', { transports: ['websocket'], every: 2 }],
  ['polling, then upgrade', { transports: ['polling', 'websocket'], every: 13 }],
];

async function cutEverywhere(victim: Victim, { transports, every }: Setting): Promise<void> {
  const bystander = await connect(urlOf(victim.port), { transports: ['websocket'], rejectUnauthorized: false });
  const before = await settledDescriptors(victim);
  const proxies = await Promise.all(Array.from({ length: AT_ONCE }, () => CuttingProxy.to(victim.port)));
  for (const { port } of proxies) secure(port, isSecure(victim.port) ? 'tls' : 'node');
  proxies[0]!.begin();
  expect(await converse(proxies[0]!.port, victim.roomId, transports)).toBe('whole');
  const { passed } = proxies[0]!;
  const cuts: Cut[] = [];
  for (const direction of ['up', 'down'] as Direction[]) {
    for (let after = 0; after < passed[direction]; after += every) cuts.push({ after, direction, way: cuts.length % 2 ? 'end' : 'reset' });
  }
  let isCut = 0;
  await Promise.all(
    proxies.map(async (proxy) => {
      for (let cut = cuts.pop(); cut !== undefined; cut = cuts.pop()) {
        proxy.begin(cut);
        if ((await converse(proxy.port, victim.roomId, transports)) === 'cut') isCut++;
      }
    }),
  );
  expect(isCut).toBeGreaterThan((passed.up + passed.down) / every / 2);
  await eventually(async () => {
    expect(await victim.stats()).toMatchObject({ activeConnections: 1 });
    expect(await victim.members()).toBe(1);
    expect(await victim.descriptors()).toBeLessThanOrEqual(before);
  }, 15_000);
  const arrived = nextWhere(bystander, 'bulk', ({ number }) => number === 0);
  await victim.bulk(1, 10);
  await arrived;
  expect(bystander.connected).toBe(true);
}

async function settledDescriptors(victim: Victim): Promise<number> {
  await victim.descriptors();
  return victim.descriptors();
}

test.each(settings)('over %s', async (_name, setting) => {
  await cutEverywhere(await Victim.start(OPTIONS), setting);
}, 60_000);

test.each(['https', 'tls'])('over TLS, its handshake included, by the door %s', async (by) => {
  const directory = mkdtempSync(join(tmpdir(), 'proxy-'));
  afterTest(() => rmSync(directory, { recursive: true }));
  const { key, cert } = certificate();
  writeFileSync(join(directory, 'key.pem'), key);
  writeFileSync(join(directory, 'cert.pem'), cert);
  const victim = await Victim.start(OPTIONS, { env: { DOOR_CERTIFICATE: directory } }, by);
  await cutEverywhere(victim, { transports: ['websocket'], every: 7 });
}, 60_000);

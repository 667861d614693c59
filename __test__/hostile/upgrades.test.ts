// Upgrades that are none, that come twice, or that come for somebody else's session.

import { connect, drained, record, start, type Client, type Running } from '../support/harness';
import { handshake, raw, startReference, upgradeHeaders } from '../support/http';
import { eventually } from '../support/eventually';
import { frame } from '../support/frames';
import { exchange, upgradeHead, Wire } from '../support/wire';

let running: Running;
let bystander: Client;
beforeEach(async () => {
  running = await start();
  bystander = await connect(running, { transports: ['websocket'] });
});

const served = async () => {
  await drained(running.service, bystander);
  expect(running.service.getStats().activeConnections).toBe(1);
};

const statusOf = (answer: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1] ?? 0);

test.each(['POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS'])('by %s with the id of a session is answered 405, and the session polls on', async (method) => {
  const sid = await handshake(running.port);
  expect(statusOf(await exchange(running.port, upgradeHead(`&sid=${sid}`, '', method)))).toBe(405);
  expect((await raw(running.port, `/socket.io/?EIO=4&transport=polling&sid=${sid}`, { method: 'POST', body: '40' })).status).toBe(200);
});

test.each(['h2c', 'TLS/1.0', 'websocket, h2c', 'web\tsocket'])('to %s makes no session', async (protocol) => {
  const head = upgradeHead('', 'Content-Length: 0\r\n').replace('Upgrade: websocket', `Upgrade: ${protocol}`);
  const wire = new Wire(running.port);
  await wire.write(head);
  await wire.has('HTTP/1.1 ');
  expect(wire.text).not.toContain('101 Switching');
  await served();
});

// CVE-2024-37890: ws dereferenced a header that Node.js had dropped because there were too many.
test.each([100, 2_000])('with %i more headers ends no process', async (count) => {
  const many = Array.from({ length: count }, (_, index) => `X${index}: 1\r\n`).join('');
  const head = upgradeHead().replace('Connection: Upgrade\r\n', `${many}Connection: Upgrade\r\n`);
  const wire = new Wire(running.port);
  await wire.write(head);
  await wire.has('HTTP/1.1 ');
  wire.socket.destroy();
  await eventually(served);
});

// CVE-2021-32640: a protocol list of many spaces took ws a time that grew with the square of it.
test('with a list of protocols that is nearly all blanks is answered', async () => {
  const wire = new Wire(running.port);
  await wire.write(upgradeHead('', `Sec-WebSocket-Protocol: a${' '.repeat(12_000)}b,,,, c\r\n`));
  expect(await wire.has('HTTP/1.1 ')).toBe(true);
  wire.socket.destroy();
  await eventually(served);
});

// CVE-2022-41940: an upgrade request that was cut off, or followed by an error, ended the process.
test.each(['sid=none', 'sid=', 'sid=a&sid=b', 'x=%', 'x=%E0%A4%A'])('that is reset at once, with %s, ends no process', async (query) => {
  for (let turn = 0; turn < 20; turn++) {
    const wire = new Wire(running.port);
    await wire.write(upgradeHead(`&${query}`));
    wire.reset();
    await wire.closed;
  }
  await eventually(served);
});

test('a second one for a session is closed as with socket.io, and the first completes', async () => {
  const reference = await startReference();
  for (const port of [running.port, reference.port]) {
    const sid = await handshake(port);
    const [first, second] = [new Wire(port), new Wire(port)];
    await first.write(Buffer.concat([Buffer.from(upgradeHead(`&sid=${sid}`)), frame('text', '2probe')]));
    expect(await first.has('3probe')).toBe(true);
    // `socket.io` says close and waits for the answer.
    await second.write(Buffer.concat([Buffer.from(upgradeHead(`&sid=${sid}`)), frame('text', '2probe'), frame('close', '')]));
    await second.closed;
    expect(second.text).not.toContain('3probe');
    await first.write(frame('text', '5'));
    await first.write(frame('text', '40'));
    expect(await first.has('40{"sid"')).toBe(true);
    first.socket.destroy();
  }
  await eventually(served);
});

test('both at once leave at most one, and when they go nothing', async () => {
  for (let turn = 0; turn < 20; turn++) {
    const sid = await handshake(running.port);
    const both = [new Wire(running.port), new Wire(running.port)];
    const bytes = Buffer.concat([Buffer.from(upgradeHead(`&sid=${sid}`)), frame('text', '2probe'), frame('text', '5'), frame('text', '40')]);
    await Promise.all(both.map((wire) => wire.write(bytes)));
    await Promise.all([Promise.race(both.map((wire) => wire.has('40{"sid"'))), Promise.race(both.map((wire) => wire.closed))]);
    expect(both.filter((wire) => wire.text.includes('40{"sid"')).length).toBeLessThanOrEqual(1);
    for (const wire of both) wire.socket.destroy();
  }
  await eventually(served);
});

test('while the session is closed leaves nothing', async () => {
  const gone = record(running.service, 'disconnect');
  for (let turn = 0; turn < 20; turn++) {
    const sid = await handshake(running.port);
    const path = `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
    await raw(running.port, path, { method: 'POST', body: '40' });
    await raw(running.port, path);
    const wire = new Wire(running.port);
    await Promise.all([
      wire.write(Buffer.concat([Buffer.from(upgradeHead(`&sid=${sid}`)), frame('text', '2probe'), frame('text', '5')])),
      raw(running.port, path, { method: 'POST', body: '1' }).catch(() => {}),
    ]);
    wire.socket.destroy();
  }
  await eventually(served);
  await eventually(() => expect(gone).toHaveLength(20));
});

test('a stolen socket id opens nothing, neither by polling nor by an upgrade', async () => {
  const path = (sid: string) => `/socket.io/?EIO=4&transport=polling&sid=${sid}`;
  expect((await raw(running.port, path(bystander.id!))).status).toBe(400);
  expect((await raw(running.port, path(bystander.id!), { method: 'POST', body: '1' })).status).toBe(400);
  const upgrade = await raw(running.port, path(bystander.id!).replace('polling', 'websocket'), { headers: upgradeHeaders });
  expect([upgrade.status, upgrade.body.includes('Session ID unknown')]).toEqual([400, true]);
  await served();
});

test('a page of another site opens no WebSocket, and the application is not asked', async () => {
  let asked = 0;
  const guarded = await start({ cors: { origin: ['https://ours.test'], credentials: true }, allowRequest: (_req, decide) => (asked++, decide(null, true)) });
  const ask = (Origin: string) => raw(guarded.port, '/socket.io/?EIO=4&transport=websocket', { headers: { ...upgradeHeaders, Origin, Cookie: 'session=victim' } });
  for (const origin of ['https://evil.test', 'null', 'https://ours.test.evil.test', 'https://ours.test@evil.test', 'https://OURS.test:8443']) {
    expect((await ask(origin)).status).toBe(400);
  }
  expect([asked, guarded.service.getStats().totalConnections]).toEqual([0, 0]);
  expect((await ask('https://ours.test')).status).toBe(101);
});

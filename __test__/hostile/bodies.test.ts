// Bodies and heads that are too many, too large or say two things.

import { connect, drained, record, start, type Client, type Running } from '../support/harness';
import { handshake, raw, startReference } from '../support/http';
import { eventually } from '../support/eventually';
import { Victim } from '../support/victim';
import { exchange, Wire } from '../support/wire';

const POLL = '/socket.io/?EIO=4&transport=polling';
const MEGABYTE = 'x'.repeat(1_000_000);
const head = (path: string, more: string, method = 'POST') => `${method} ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;

// CVE-2020-36048: bodies were gathered before anybody asked whose they were.
test.each([
  ['Content-Length', head(`${POLL}&sid=none`, 'Content-Length: 1000000\r\n'), MEGABYTE.slice(1)],
  ['chunks', head(`${POLL}&sid=none`, 'Transfer-Encoding: chunked\r\n'), `f423f\r\n${MEGABYTE.slice(1)}\r\n`],
])('200 bodies of 1 MB by %s for no session are answered before they are read', async (_how, start, body) => {
  const victim = await Victim.start();
  const send = async (bytes: string | Buffer) => {
    const wires = Array.from({ length: 200 }, () => new Wire(victim.port));
    for (const wire of wires) {
      await wire.write(start);
      wire.socket.write(bytes);
    }
    expect(await Promise.all(wires.map((wire) => wire.has('HTTP/1.1 400 ')))).toEqual(wires.map(() => true));
    for (const wire of wires) wire.socket.destroy();
  };
  // What so many connections take is there.
  await send(body.slice(0, 10));
  const before = await victim.memory();
  await send(body);
  // Of 200 MB; TLS of Node.js has some of what it has discarded until that is collected.
  expect((await victim.memory()) - before).toBeLessThan(100 << 20);
});

describe('requests', () => {
  let running: Running;
  let bystander: Client;
  beforeEach(async () => {
    running = await start();
    bystander = await connect(running, { transports: ['polling'] });
  });

  test('a second POST at a time is answered as by socket.io before it is read, and ends its session', async () => {
    const { port: reference } = await startReference();
    const statuses = [];
    for (const port of [running.port, reference]) {
      const sid = await handshake(port);
      const first = new Wire(port);
      // One after the other: the first is asked to go on when it is the session's.
      await first.write(head(`${POLL}&sid=${sid}`, 'Content-Length: 1000\r\nExpect: 100-continue\r\n'));
      await first.has('HTTP/1.1 100 ');
      await first.write('4');
      const second = new Wire(port);
      await second.write(head(`${POLL}&sid=${sid}`, 'Content-Length: 1000\r\n'));
      await second.has('HTTP/1.1 ');
      statuses.push(second.text.slice(0, 12));
      expect((await raw(port, `${POLL}&sid=${sid}`)).status).toBe(400);
    }
    expect(statuses[0]).toBe(statuses[1]);
    await drained(running.service, bystander);
  });

  // Two ways to see where a request ends are two requests to whoever stands in front.
  test.each([
    ['a length and chunks', head(POLL, 'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n') + '0\r\n\r\n'],
    ['two lengths', head(POLL, 'Content-Length: 4\r\nContent-Length: 5\r\n') + 'abcd'],
    ['lengths in a list', head(POLL, 'Content-Length: 4, 5\r\n') + 'abcd'],
    ['a negative length', head(POLL, 'Content-Length: -1\r\n')],
    ['a length with a sign', head(POLL, 'Content-Length: +4\r\n') + 'abcd'],
    ['a blank before the colon', head(POLL, 'Content-Length : 4\r\n') + 'abcd'],
    ['no host', `GET ${POLL} HTTP/1.1\r\n\r\n`],
    ['chunks of another coding', head(POLL, 'Transfer-Encoding: chunked, identity\r\n') + '0\r\n\r\n'],
    ['a version that is none', `GET ${POLL} HTTP/9.9\r\nHost: a\r\n\r\n`],
    ['NUL in a header', head(POLL, 'X: a\0b\r\n', 'GET')],
    ['a folded line', head(POLL, 'X: a\r\n b: c\r\n', 'GET')],
    ['bare line feeds', `GET ${POLL} HTTP/1.1\nHost: a\n\n`],
    ['a header of 100,000 bytes', head(POLL, `X: ${'x'.repeat(100_000)}\r\n`, 'GET')],
  ])('with %s open no session and hide no request', async (_what, bytes) => {
    const wire = new Wire(running.port);
    await wire.write(bytes);
    // Whatever was refused, what follows it on its connection is not another request.
    await wire.write('GET /socket.io/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    await wire.closed;
    expect(wire.text.match(/HTTP\/1\.1 200 /g) ?? []).toEqual([]);
    expect(running.service.getStats().totalConnections).toBe(1);
    await drained(running.service, bystander);
  });

  test('to another server open no session', async () => {
    // Servers of Node.js leave it to the application.
    expect(await exchange(running.port, `GET http://other${POLL} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)).toMatch(/^HTTP\/1\.1 40[04] /);
    expect(running.service.getStats().totalConnections).toBe(1);
  });

  test('with a header that says who they are for others are not believed', async () => {
    const guarded = await start({ limits: { connectionsPerAddress: 2 } });
    const told = record(guarded.service, 'connection_error');
    const ask = (address: string) => raw(guarded.port, POLL, { headers: { 'X-Forwarded-For': address, Forwarded: `for=${address}`, 'X-Real-IP': address } });
    const answers = [await ask('192.0.2.1'), await ask('192.0.2.2'), await ask('192.0.2.3')];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 429]);
    await eventually(() => expect(told[0]![0].context.address).toBe('127.0.0.1'));
  });

  test('of the polling transport that are rubbish end their session at most', async () => {
    for (const body of ['', '\u001e', '\u001e\u001e\u001e', '4', 'b', 'b!', 'bé', '4é', '42["a"', '451-["a",{"_placeholder":true,"num":7}]\u001ebAA==', '4:x', '\0', '9'.repeat(10_000), '4\u001e'.repeat(10_000)]) {
      const sid = await handshake(running.port);
      await raw(running.port, `${POLL}&sid=${sid}`, { method: 'POST', body: '40' });
      const { status } = await raw(running.port, `${POLL}&sid=${sid}`, { method: 'POST', body });
      expect([200, 400]).toContain(status);
      await raw(running.port, `${POLL}&sid=${sid}`, { method: 'POST', body: '1' });
    }
    await drained(running.service, bystander);
  });
});

test('nothing is left of requests that were pipelined and cut', async () => {
  const running = await start();
  for (let turn = 0; turn < 20; turn++) {
    const wire = new Wire(running.port);
    await wire.write(`GET ${POLL} HTTP/1.1\r\nHost: a\r\n\r\n`.repeat(10));
    wire.socket.destroy();
  }
  expect(await exchange(running.port, `GET ${POLL}x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)).toContain('HTTP/1.1 400 ');
  expect(running.service.getStats().totalConnections).toBe(0);
});

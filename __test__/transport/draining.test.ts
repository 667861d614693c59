// How a service ends for its clients and for a balancer: health, and a shutdown that is spread.

import { connect, next, record, singleTransports, start, testWhileBusy } from '../support/harness';
import { raw, upgradeHeaders } from '../support/http';
import { sharedRedis } from '../support/redis';
import { at, joined, newPrefix, startMember } from '../support/fleet';
import { eventually } from '../support/eventually';

const HEALTH = '/socket.io/health';

test('a service says that it is well', async () => {
  const running = await start();
  await connect(running);
  const answer = await raw(running.port, HEALTH);
  expect([answer.status, answer.headers['content-type'], JSON.parse(answer.body)]).toEqual([200, 'application/json', { status: 'ok', connections: 1 }]);
  expect((await raw(running.port, HEALTH, { method: 'HEAD' })).status).toBe(200);
});

test.each(['/ws/chat', '/a'])('under the path %s', async (path) => {
  const running = await start({ path });
  expect((await raw(running.port, `${path}/health?probe=1`)).status).toBe(200);
  expect((await raw(running.port, `${path}/healthy`)).status).not.toBe(200);
});

const redis = sharedRedis();

test('a service whose Redis is away is well, and says so', async () => {
  const member = await startMember(at(redis().address, newPrefix()));
  await joined([member]);
  const health = async () => {
    const { status, body } = await raw(member.port, HEALTH);
    return [status, JSON.parse(body).cluster];
  };
  expect(await health()).toEqual([200, 'ready']);
  await redis().kill();
  await eventually(async () => expect(await health()).toEqual([200, 'degraded']), 20_000);
  await redis().launch();
}, 60_000);

describe.each(singleTransports)('over %s', (transport) => {
  test('clients are let go one after the other, and serve as before until then', async () => {
    const drainMs = 1_000;
    const running = await start();
    const { service } = running;
    const room = await service.createRoom('room');
    const clients = await Promise.all(Array.from({ length: 10 }, () => connect(running, { transports: [transport] })));
    for (const client of clients) await service.joinRoom(client.id!, room.id);
    const times: number[] = [];
    for (const client of clients) client.on('disconnect', () => times.push(Date.now()));
    const began = Date.now();
    const ending = service.shutdown({ drainMs });
    expect((await raw(running.port, HEALTH)).status).toBe(503);
    expect(JSON.parse((await raw(running.port, HEALTH)).body).status).toBe('draining');
    const path = `/socket.io/?EIO=4&transport=${transport}`;
    const refusal = await raw(running.port, path, { headers: transport === 'websocket' ? upgradeHeaders : {} });
    expect([refusal.status, refusal.headers['retry-after']]).toEqual([503, '1']);
    // Somebody is always the last.
    const last = clients.at(-1)!;
    const heard = next(last, 'message');
    expect((await last.emitWithAck('message', { roomId: room.id, content: 'still here' })).ok).toBe(true);
    expect((await heard)[0].content).toBe('still here');
    await ending;
    await eventually(() => expect(times).toHaveLength(10));
    expect(times.at(-1)! - began).toBeGreaterThanOrEqual(drainMs - 50);
    // One after the other, not all at the end.
    expect(times.at(-1)! - times[0]!).toBeGreaterThan(drainMs / 4);
  });
});

test('each client is told of once, and comes back by itself', async () => {
  const running = await start();
  const ends = record(running.service, 'disconnect');
  const clients = await Promise.all(Array.from({ length: 5 }, () => connect(running, { transports: ['websocket'] })));
  const reasons = clients.map((client) => next(client, 'disconnect'));
  await running.service.shutdown({ drainMs: 100 });
  expect((await Promise.all(reasons)).map(([reason]) => reason)).toEqual(Array(5).fill('transport close'));
  expect(ends.map(([, reason]) => reason)).toEqual(Array(5).fill('server_shutdown'));
});

testWhileBusy('what is no time is refused, and ends nothing', async () => {
  const running = await start();
  for (const bad of [{ drainMs: -1 }, { drainMs: '1' }, { drain: 1 }, 5, { recover: 1 }, { recover: true }]) {
    await expect(running.service.shutdown(bad as never)).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
  }
  await expect(running.service.shutdown({ recover: true })).rejects.toThrow(/recover.*redis and connectionStateRecovery/);
  await connect(running);
});

// A token's end closes its socket, after a notice, unless a later one is set.

import { connect, never, next, record, singleTransports, start, type Running } from '../support/harness';
import { eventually } from '../support/eventually';

const NOTICE = 400;

describe.each(singleTransports)('over %s', (transport) => {
  const begin = (expiresAt: () => number | undefined) =>
    start({ limits: { expiryNoticeMs: NOTICE } }, {
      setup: (service) =>
        void service.use((socket, go) => {
          socket.userId = 'ada';
          socket.expiresAt = expiresAt();
          go();
        }),
    });
  const enter = (running: Running) => connect(running, { transports: [transport] });

  test('the client and the service are told, then the socket is disconnected', async () => {
    const at = Date.now() + 2 * NOTICE;
    const running = await begin(() => at);
    const [toService, ends] = [record(running.service, 'token:expiring'), record(running.service, 'disconnect')];
    const client = await enter(running);
    const user = running.service.getUser(client.id!);
    expect(running.service.getSocket(client.id!)!.expiresAt).toBe(at);
    const [[notice], [reason]] = await Promise.all([next(client, 'token:expiring'), next(client, 'disconnect')]);
    expect([notice, reason]).toEqual([{ expiresAt: at }, 'io server disconnect']);
    expect(Date.now()).toBeGreaterThanOrEqual(at);
    await eventually(() => expect(ends).toEqual([[user, 'token expired']]));
    expect(toService).toEqual([[{ user, expiresAt: at }]]);
    expect(running.service.isUserOnline('ada')).toBe(false);
  });

  test('a later end keeps the socket, and none at all does', async () => {
    const running = await begin(() => Date.now() + NOTICE + 100);
    const ends = record(running.service, 'disconnect');
    const notices = record(running.service, 'token:expiring');
    running.service.on('token:expiring', ({ user, expiresAt }) => {
      const socket = running.service.getSocket(user.socketId)!;
      socket.expiresAt = notices.length < 3 ? expiresAt + NOTICE : undefined;
    });
    const client = await enter(running);
    await eventually(() => expect(notices).toHaveLength(3));
    const last = notices[2]![0].expiresAt;
    await eventually(() => expect(Date.now()).toBeGreaterThan(last + 2 * NOTICE));
    expect([ends, client.connected, notices.length]).toEqual([[], true, 3]);
  });

  test('one that has passed ends the socket at once', async () => {
    const running = await begin(() => undefined);
    const client = await enter(running);
    await never(running.service, 'token:expiring', client);
    const gone = next(running.service, 'disconnect');
    running.service.getSocket(client.id!)!.expiresAt = 1;
    expect((await gone)[1]).toBe('token expired');
  });

  test('one that is brought forward counts', async () => {
    const running = await begin(() => Date.now() + 3_600_000);
    const client = await enter(running);
    const gone = next(running.service, 'disconnect');
    running.service.getSocket(client.id!)!.expiresAt = Date.now() + 100;
    expect((await gone)[1]).toBe('token expired');
  });
});

test('other sockets of the same user stay', async () => {
  const running = await start({}, { setup: (service) => void service.use((socket, go) => ((socket.userId = 'ada'), go())) });
  const [one, other] = [await connect(running), await connect(running)];
  running.service.getSocket(one.id!)!.expiresAt = Date.now();
  await next(one, 'disconnect');
  expect(running.service.getUserSockets('ada')).toEqual([other.id]);
});

test('what is no time is refused by name', async () => {
  const running = await start();
  const socket = running.service.getSocket((await connect(running)).id!)!;
  for (const bad of ['tomorrow', -1, 1.5, NaN, new Date(), null]) {
    expect(() => (socket.expiresAt = bad as number)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT', message: expect.stringContaining('expiresAt') }));
  }
  expect(socket.expiresAt).toBeUndefined();
});

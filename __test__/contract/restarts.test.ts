// Contract section 3: after `shutdown()` and `cleanup()` clients come back by themselves; only a kick keeps them away.

import { fork } from 'node:child_process';
import { connect as connectTo, createServer as createTcpServer, type AddressInfo, type Socket as TcpSocket } from 'node:net';
import { join } from 'node:path';
import {
  afterTest,
  connect,
  drained,
  next,
  nextWhere,
  open,
  record,
  received,
  start,
  transportSettings,
  type Client,
  type ClientOptions,
  type Running,
  type Service,
} from '../support/harness';
import type { AuthenticatedSocket } from '../../index';

/** Clients as users have them, only quicker. */
const returning: ClientOptions = { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 50 };

/** A port in front of services, of which one at a time gets the connections. */
async function startFront(): Promise<{ port: number; leadTo(port: number): void }> {
  let target = 0;
  const sockets = new Set<TcpSocket>();
  const front = createTcpServer((socket) => {
    const onward = connectTo(target, '127.0.0.1');
    for (const [one, other] of [[socket, onward], [onward, socket]] as const) {
      sockets.add(one);
      one.on('error', () => {});
      one.on('close', () => other.destroy());
      one.pipe(other);
    }
  });
  await new Promise<void>((done) => front.listen(0, '127.0.0.1', done));
  afterTest(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise((done) => front.close(done));
  });
  return { port: (front.address() as AddressInfo).port, leadTo: (port) => (target = port) };
}

/** Asserts that a client that was left without a server waits for one, and not with Socket.IO's word for a kick. */
function expectWaiting(client: Client, reasons: any[][]): void {
  expect(reasons.map(([reason]) => reason)).toEqual([expect.stringMatching(/^transport (close|error)$/)]);
  expect(client.active).toBe(true);
}

/** Waits until a client is connected to this service; it may still believe that it is to the one before. */
async function isBack(service: Service, client: Client): Promise<void> {
  while (!client.connected || service.getUser(client.id!) === undefined) await next(client, 'connect');
}

async function serves(service: Service, client: Client): Promise<void> {
  await drained(service, client);
  expect(service.getUser(client.id!)).toBeDefined();
}

describe.each(transportSettings)('over %s', (_name, transports) => {
  const options = { ...returning, transports };

  test('a client gets what was sent, and comes back when a server is back on the port', async () => {
    const first = await start();
    const client = await connect(first, options);
    const reasons = record(client, 'disconnect');
    const told = record(first.service, 'disconnect');
    const gone = next(client, 'disconnect');
    for (let index = 0; index < 20; index++) void first.service.broadcastToAll('step', index);
    await first.service.shutdown();
    await gone;
    expect(received(client, 'step')).toEqual(Array.from({ length: 20 }, (_, index) => index));
    expectWaiting(client, reasons);
    expect(told.map(([, reason]) => reason)).toEqual(['server_shutdown']);
    const back = next(client, 'connect');
    const second = await start({}, { port: first.port });
    await back;
    await serves(second.service, client);
  });

  test('a client goes over to another instance', async () => {
    const [front, one, other] = [await startFront(), await start(), await start()];
    front.leadTo(one.port);
    const client = await connect(one.url.replace(String(one.port), String(front.port)), options);
    await serves(one.service, client);
    const reasons = record(client, 'disconnect');
    front.leadTo(other.port);
    const back = next(client, 'connect');
    await one.service.shutdown();
    await back;
    expectWaiting(client, reasons);
    await serves(other.service, client);
  });

  test('a client that only listens comes back after cleanup', async () => {
    const { service, url } = await start();
    const client = await connect(url, options);
    const reasons = record(client, 'disconnect');
    const told = record(service, 'disconnect');
    const [first, back] = [client.id, next(client, 'connect')];
    await service.broadcastToAll('last', 1);
    expect(await service.cleanup(0)).toBe(1);
    expect(service.getUser(first!)).toBeUndefined();
    await back;
    expect(received(client, 'last')).toEqual([1]);
    expectWaiting(client, reasons);
    expect(told.map(([user, reason]) => [user.socketId, reason])).toEqual([[first, 'inactive']]);
    await serves(service, client);
  });

  test('a client whose packet cannot be read comes back', async () => {
    const { service, url } = await start();
    service.on('connection', (user) => service.getSocket(user.socketId)!.on('own', () => {}));
    const client = await connect(url, options);
    const reasons = record(client, 'disconnect');
    const back = next(client, 'connect');
    // As no parser of Socket.IO writes it: a placeholder of an attachment that is not there.
    client.io.engine.write('2["own",{"_placeholder":true,"num":7}' as any);
    await back;
    expectWaiting(client, reasons);
  });

  test('a kick keeps a client away', async () => {
    const { service, url } = await start();
    const client = await connect(url, options);
    const gone = next(client, 'disconnect');
    await service.disconnectUser(client.id!);
    expect((await gone)[0]).toBe('io server disconnect');
    expect(client.active).toBe(false);
  });

  test.each<[what: string, admit: (service: Service, socket: AuthenticatedSocket, answer: (error?: Error) => void) => void]>([
    ['never answers', () => {}],
    ['lets it in when the service ends', (_service, _socket, answer) => answer()],
    ['refuses it when the service ends', (_service, _socket, answer) => answer(new Error('no'))],
  ])('a client whose middleware %s comes to the next server', async (_what, admit) => {
    const first = await start();
    const asked = new Promise<() => void>((done) =>
      first.service.use((socket, answer) => done(() => admit(first.service, socket, answer))),
    );
    const client = open(first, options);
    const decide = await asked;
    const ended = first.service.shutdown();
    decide();
    await ended;
    const second = await start({}, { port: first.port });
    await isBack(second.service, client);
    await serves(second.service, client);
  });

  test('a client whose CONNECT waits for listeners comes to the next server', async () => {
    const first = await start();
    const ended = new Promise<void>((done) => {
      first.service.once('connection', () => done(first.service.shutdown()));
    });
    const client = open(first, options);
    await ended;
    const second = await start({}, { port: first.port });
    await nextWhere(second.service, 'connection', () => true);
    await isBack(second.service, client);
    await serves(second.service, client);
  });

  test('in a storm of connections nobody is turned away for good', async () => {
    const first = await start();
    const begun = next(first.service, 'connection');
    const clients = Array.from({ length: 30 }, () => open(first, options));
    await begun;
    await first.service.shutdown();
    const second = await start({}, { port: first.port });
    await Promise.all(clients.map((client) => isBack(second.service, client)));
    await drained(second.service, ...clients);
    expect(clients.every((client) => client.active)).toBe(true);
  });
});

test('a process that gets SIGTERM as README has it leaves its clients waiting, and they find the next one', async () => {
  const script = join(__dirname, '../support/programs/restarted.js');
  const run = async (port: number) => {
    const child = fork(script, [String(port)]);
    afterTest(() => child.kill('SIGKILL'));
    return { child, port: (await next(child, 'message'))[0] as number };
  };
  const first = await run(0);
  const url = `http://127.0.0.1:${first.port}`;
  const clients = await Promise.all(transportSettings.map(([, transports]) => connect(url, { ...returning, transports })));
  const reasons = clients.map((client) => record(client, 'disconnect'));
  const [ended, gone] = [next(first.child, 'exit'), Promise.all(clients.map((client) => next(client, 'disconnect')))];
  first.child.kill('SIGTERM');
  await gone;
  expect((await ended)[0]).toBe(0);
  clients.forEach((client, index) => expectWaiting(client, reasons[index]!));
  const back = Promise.all(clients.map((client) => next(client, 'connect')));
  await run(first.port);
  await back;
});

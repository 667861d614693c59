// Support for the suite: real HTTP servers on port 0, real clients, and waiting for events instead of time.

import { readFileSync } from 'node:fs';
import { createServer, type Server as HttpServer, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import type { EventEmitter } from 'node:events';
import { io, type ManagerOptions, type Socket, type SocketOptions } from 'socket.io-client';
import type * as Api from '../../index';
import type { WebSocketConfig } from '../../index';

// The suite describes the API, not one implementation of it: SERVICE_MODULE names another module to try it on.
const servicePath = process.env.SERVICE_MODULE ? resolve(process.env.SERVICE_MODULE) : '../../index.js';
const api: typeof Api = require(servicePath);
export const { WebSocketService, WebSocketServiceError } = api;

export type Service = Api.WebSocketService;
export type TransportName = 'polling' | 'websocket';
export type ClientOptions = Partial<ManagerOptions & SocketOptions>;

/** A client, and everything that it has received so far. */
export interface Client extends Socket {
  received: Array<{ event: string; args: any[] }>;
}

export interface Running {
  service: Service;
  httpServer: HttpServer;
  port: number;
  url: string;
}

/** For `describe.each`: every way in which a client can hold its connection. */
export const transportSettings: Array<[name: string, transports: TransportName[]]> = [
  ['polling, then upgrade', ['polling', 'websocket']],
  ['websocket only', ['websocket']],
  ['polling only', ['polling']],
];

export const singleTransports: TransportName[] = ['websocket', 'polling'];

export const silentLogger: Api.Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** Ports behind which clients have to speak TLS. */
const securePorts = new Set<number>();
const openClients = new Set<Client>();
const openServices = new Set<{ shutdown(): Promise<void> }>();
const openServers = new Set<HttpServer>();
const finalSteps: Array<() => unknown> = [];

/** Something else to undo after the test, last in first out. */
export function afterTest(step: () => unknown): void {
  finalSteps.push(step);
}

export function track<S extends { shutdown(): Promise<void> }>(service: S): S {
  openServices.add(service);
  return service;
}

export function trackServer<S extends HttpServer>(server: S): S {
  openServers.add(server);
  return server;
}

export async function listen(server: HttpServer, wanted = 0): Promise<number> {
  trackServer(server);
  await new Promise<void>((done) => server.listen(wanted, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  // The system may give a port again.
  securePorts.delete(port);
  return port;
}

/** Ends the clients, services and servers of a test. Registered for each file that imports the harness. */
export async function endAll(): Promise<void> {
  const closed = [...openClients].map(end);
  openClients.clear();
  await Promise.all([...openServices].map((service) => service.shutdown()));
  openServices.clear();
  for (const server of openServers) {
    server.closeAllConnections();
    if (server.listening) await new Promise((done) => server.close(done));
  }
  openServers.clear();
  await Promise.all(closed);
  for (const step of finalSteps.splice(0).reverse()) await step();
}

/** Disconnects a client; resolves when its transport is closed, too. */
async function end(client: Client): Promise<void> {
  const { engine } = client.io;
  const closed =
    engine && (engine.readyState as string) !== 'closed'
      ? new Promise<void>((done) => void engine.once('close', () => done()))
      : undefined;
  client.disconnect();
  // An engine.io-client whose probe was answered and then cut off waits for its upgrade for ever, with any server: at once,
  // or when it has sent what it had to.
  const stuck = engine as unknown as { readyState: string; upgrading?: boolean; emit(event: string): void };
  const free = () => {
    if (stuck.readyState === 'closing' && stuck.upgrading) stuck.emit('upgradeError');
  };
  if (closed) {
    free();
    engine.on('drain', free);
    // Nor does it get rid of that when its upgrade fails meanwhile: what it polled by is paused.
    engine.on('upgradeError', (error?: Error) => {
      if (error && stuck.upgrading) stuck.emit('drain');
    });
  }
  await closed;
}

afterEach(endAll);

/** A service behind the door of the suite, at this port if one is given. */
export async function start(
  config: WebSocketConfig = {},
  { Service = WebSocketService, setup, port: wanted = 0 }: { Service?: typeof WebSocketService; setup?: (service: Service) => void; port?: number } = {},
): Promise<Running> {
  const service = track(new Service({ logger: silentLogger, ...config }));
  setup?.(service);
  const notFound = (_req: unknown, res: ServerResponse) => void res.writeHead(404).end();
  const httpServer = door === 'https' ? createHttpsServer(credentials(), notFound) : createServer(notFound);
  const port = await enter(service, httpServer as HttpServer, wanted);
  return { service, httpServer: httpServer as HttpServer, port, url: urlOf(port) };
}

/**
 * The door by which clients of the suite come in: `node` or `https`, a server of Node.js, or `native` or `tls`, one of the
 * service's own.
 */
export const door = process.env.DOOR ?? 'node';

/**
 * A test in which something comes from a client while JavaScript runs. Behind an HTTPS server of Node.js nothing does: every
 * byte is decrypted there.
 */
export const testWhileBusy = door === 'https' ? test.skip : test;

/** A service in another process is at the port, behind the door of the suite. */
export const secure = (port: number, by = door) => void (by === 'https' || by === 'tls' ? securePorts.add(port) : securePorts.delete(port));

export const isSecure = (port: number) => securePorts.has(port);
export const urlOf = (port: number) => `${isSecure(port) ? 'https' : 'http'}://127.0.0.1:${port}`;

/** The certificate that `scripts/test-door.mjs` makes, which every client of the suite trusts. */
function credentials(): { key: Buffer; cert: Buffer } {
  const directory = process.env.DOOR_CERTIFICATE;
  if (directory === undefined) throw new Error(`run: npm run test:door -- ${door}`);
  return { key: readFileSync(join(directory, 'key.pem')), cert: readFileSync(join(directory, 'cert.pem')) };
}

async function enter(service: Service, httpServer: HttpServer, wanted: number): Promise<number> {
  service.initialize(httpServer);
  let port: number;
  if (door === 'native' || door === 'tls') {
    trackServer(httpServer);
    const tls = door === 'tls' ? credentials() : undefined;
    ({ port } = await service.listen({ port: wanted, host: '127.0.0.1', server: httpServer, tls }));
  } else {
    port = await listen(httpServer, wanted);
  }
  if (door === 'https' || door === 'tls') securePorts.add(port);
  return port;
}

/** A service whose clients say in `auth` who they are: `{ userId, user }`. */
export class TrustingService extends WebSocketService {
  override async handleConnection(socket: Api.AuthenticatedSocket): Promise<void> {
    const { userId, user } = socket.handshake.auth;
    if (userId !== undefined) socket.userId = userId;
    if (user !== undefined) socket.user = user;
    return super.handleConnection(socket);
  }
}

/** A client that has not connected yet, or never will. */
export function open(target: { url: string } | string, options: ClientOptions = {}): Client {
  const url = typeof target === 'string' ? target : target.url;
  const client = io(url, { forceNew: true, reconnection: false, ...options }) as Client;
  client.received = [];
  client.onAny((event, ...args) => client.received.push({ event, args }));
  openClients.add(client);
  return client;
}

/** A connected client. */
export async function connect(target: { url: string } | string, options: ClientOptions = {}): Promise<Client> {
  const client = open(target, options);
  await new Promise<void>((done, fail) => {
    client.once('connect', done);
    client.once('connect_error', fail);
  });
  return client;
}

/** The error of a client that is refused. */
export async function refused(client: Client): Promise<Error & { data?: any; description?: any; context?: any }> {
  return new Promise((done, fail) => {
    client.once('connect_error', done as any);
    client.once('connect', () => fail(new Error('the client was let in')));
  });
}

interface Emitting {
  once(event: any, listener: (...args: any[]) => void): unknown;
}

/** The arguments of the next event. Call it before whatever causes the event. */
export function next(emitter: Emitting | EventEmitter, event: string): Promise<any[]> {
  return new Promise((done) => (emitter as Emitting).once(event, (...args) => done(args)));
}

/** The first argument of the next event that fits. */
export function nextWhere(
  emitter: { on(event: any, listener: (...args: any[]) => void): unknown; off(event: any, listener: any): unknown },
  event: string,
  fits: (...args: any[]) => boolean,
): Promise<any> {
  return new Promise((done) => {
    const listener = (...args: any[]) => {
      if (!fits(...args)) return;
      emitter.off(event, listener);
      done(args[0]);
    };
    emitter.on(event, listener);
  });
}

/** All arguments of an event from now on, in order. */
export function record(emitter: { on(event: any, listener: any): unknown }, event: string): any[][] {
  const calls: any[][] = [];
  emitter.on(event, (...args: any[]) => calls.push(args));
  return calls;
}

/** The payloads of one event that a client has received so far. */
export function received(client: Client, event: string): any[] {
  return client.received.filter((entry) => entry.event === event).map((entry) => entry.args[0]);
}

const MARKER = 'suite:marker';
let markers = 0;

/**
 * Sends each client a marker and waits for it. What the service had sent a client before is then in `received`; what is
 * not there was never sent.
 */
export async function drained(service: Service, ...clients: Client[]): Promise<void> {
  await Promise.all(
    clients.map(async (client) => {
      const number = ++markers;
      const arrived = nextWhere(client, MARKER, (seen) => seen === number);
      await service.emitToSocket(client.id!, MARKER, number);
      await arrived;
    }),
  );
}

/** Asserts, by the order of events, that none of the clients has been sent the event. */
export async function never(service: Service, event: string, ...clients: Client[]): Promise<void> {
  await drained(service, ...clients);
  for (const client of clients) expect(received(client, event)).toEqual([]);
}

/** Asserts, by the order of events, that each of the clients has been sent the event exactly so often. */
export async function exactly(times: number, service: Service, event: string, ...clients: Client[]): Promise<void> {
  await drained(service, ...clients);
  for (const client of clients) expect(received(client, event)).toHaveLength(times);
}

/**
 * Waits until the service has emitted all events that lie before this call: a message sent now, in a room of its own,
 * is announced after them.
 */
export async function eventsDelivered(service: Service): Promise<void> {
  const room = await service.createRoom('marker', 'suite');
  const announced = nextWhere(service, 'message', (message) => message.roomId === room.id);
  await service.sendMessage(room.id, 'suite', 'marker');
  await announced;
  await service.deleteRoom(room.id);
}

/** Clients that are connected and members of the room. */
export async function members(
  running: Running,
  room: { id: string },
  count: number,
  options: ClientOptions = {},
): Promise<Client[]> {
  const clients: Client[] = [];
  for (let index = 0; index < count; index++) {
    const client = await connect(running, options);
    await running.service.joinRoom(client.id!, room.id);
    clients.push(client);
  }
  await drained(running.service, ...clients);
  for (const client of clients) client.received.length = 0;
  return clients;
}

export const UUID_V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
export const ISO_DATE = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/;

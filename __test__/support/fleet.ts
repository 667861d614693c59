// Several services of one process on one Redis: for everything but the end of a process.

import { randomUUID } from 'node:crypto';
import {
  connect,
  drained,
  eventsDelivered,
  start,
  TrustingService,
  type Client,
  type ClientOptions,
  type Running,
  type Service,
} from './harness';
import type { ClusterState, RedisConfig, WebSocketConfig } from '../../index';
import { eventually, within } from './eventually';

/** Milliseconds between the heartbeats of an instance, unless a test says otherwise. */
export const BEAT = 200;

/** A key space of its own: tests share a Redis without seeing each other. */
export function newPrefix(): string {
  return `test-${randomUUID().slice(0, 8)}`;
}

/** A member of a cluster, which it has perhaps not joined yet. Its clients say in `auth` who they are. */
export function startMember(redis: RedisConfig, config: WebSocketConfig = {}): Promise<Running> {
  return start({ redis: { heartbeatInterval: BEAT, ...redis }, ...config }, { Service: TrustingService });
}

/** Members that have joined and know each other. */
export async function startFleet(count: number, redis: RedisConfig, config: WebSocketConfig = {}): Promise<Running[]> {
  const named = { keyPrefix: newPrefix(), ...redis };
  const fleet = await Promise.all(Array.from({ length: count }, () => startMember(named, config)));
  await joined(fleet);
  return fleet;
}

export async function joined(fleet: Running[], inTime = 10_000): Promise<void> {
  await Promise.all(fleet.map(({ service }, index) => within(inTime, `ready() of ${index}`, service.ready())));
  await eventually(() => {
    for (const member of fleet) expect(statsOf(member).instances).toBe(fleet.length);
  }, inTime);
}

export function statsOf({ service }: { service: Service }): ClusterState {
  const { cluster } = service.getStats();
  if (!cluster) throw new Error('the service has no cluster');
  return cluster;
}

/** How an address and a key space are given to a service. */
export function at(address: RedisConfig, keyPrefix: string): RedisConfig {
  return { ...address, keyPrefix };
}

/** A client of a person, by websocket: the other transport is a matter of one instance. */
export function connectAs(member: Running, userId: string, options: ClientOptions = {}): Promise<Client> {
  return connect(member, { transports: ['websocket'], auth: { userId }, ...options });
}

/** Waits until every member knows the room. */
export async function known(fleet: Running[], roomId: string): Promise<void> {
  await eventually(() => {
    for (const { service } of fleet) expect(service.getRoom(roomId)?.id).toBe(roomId);
  });
}

/** Waits until the room has these members, on every instance. */
export async function populated(fleet: Running[], roomId: string, clients: Client[]): Promise<void> {
  const ids = clients.map((client) => client.id!).sort();
  await eventually(() => {
    for (const { service } of fleet) expect([...(service.getRoom(roomId)?.members ?? [])].sort()).toEqual(ids);
  });
}

/** Joins by the client's own event, once its instance knows the room. */
export async function enter(client: Client, roomId: string): Promise<void> {
  await eventually(async () => {
    expect(await client.timeout(5000).emitWithAck('room:join', { roomId })).toMatchObject({ ok: true });
  });
}

/**
 * Waits until whatever any member had sent any of the clients has arrived: messages of one sender keep their order, and
 * each member sends each client one more.
 */
export async function settled(fleet: Running[], ...clients: Client[]): Promise<void> {
  await Promise.all(
    fleet.map(({ service }, index) => within(10_000, `a marker of member ${index}`, drained(service, ...clients))),
  );
  for (const { service } of fleet) await within(10_000, 'the events of a member', eventsDelivered(service));
}

export const SERVICE_EVENTS = [
  'connection',
  'disconnect',
  'message',
  'room:join',
  'room:leave',
  'typing',
  'room:create',
  'room:delete',
] as const;

export interface Happened {
  /** Index of the member. */
  at: number;
  event: string;
  args: any[];
}

/** Events of all members from now on, without those of the suite's own markers. */
export function watch(fleet: Running[], events: readonly string[] = SERVICE_EVENTS): Happened[] {
  const happened: Happened[] = [];
  fleet.forEach(({ service }, at) => {
    for (const event of events) {
      service.on(event, (...args: any[]) => {
        if (args[0]?.namespace !== 'suite' && args[0]?.userId !== 'suite') happened.push({ at, event, args });
      });
    }
  });
  return happened;
}

/** On which members an event happened, for each time. */
export function placesOf(happened: Happened[], event: string): number[] {
  return happened.filter((entry) => entry.event === event).map((entry) => entry.at);
}

export function forget(...clients: Client[]): void {
  for (const client of clients) client.received.length = 0;
}

// Whether what was observed in a calm is what the model says.

import type { Heard, Message, NoteFact, RoomFact, SocketFact, Stay, World } from './contract';

/** What an instance says, and what it has emitted. */
export interface Instance {
  users: Array<{ id: string; socketId: string }>;
  rooms: Array<{ id: string; name: string; namespace: string; members: string[] }>;
  /** By room, oldest first. */
  histories: Map<string, Message[]>;
  roomStats: Map<string, { memberCount: number; messageCount: number }>;
  stats: { totalConnections: number; activeConnections: number; totalRooms: number };
  /** Absent when nobody listens. */
  emitted?: Array<{ event: string; socketId: string; roomId: string; messageId: string }>;
}

const sorted = (values: Iterable<string>) => [...values].sort();

export function verifyRegistry(world: World, instances: Instance[]): void {
  const users = sorted(world.connected.map(({ id, userId }) => `${id} is ${userId}`));
  const rooms = world.openRooms.map((room) => ({
    id: room.id,
    name: room.name,
    namespace: room.namespace,
    members: sorted(world.members(room).map(({ id }) => id)),
  }));
  instances.forEach((instance, at) => {
    expect(sorted(instance.users.map(({ id, socketId }) => `${socketId} is ${id}`))).toEqual(users);
    const byId = (a: { id: string }, b: { id: string }) => (a.id < b.id ? -1 : 1);
    const told = instance.rooms.map((room) => ({ ...room, members: sorted(room.members) }));
    expect(told.sort(byId)).toEqual([...rooms].sort(byId));
    const here = world.sockets.filter((socket) => socket.at === at);
    expect(instance.stats).toMatchObject({
      totalConnections: here.length,
      activeConnections: here.filter(({ gone }) => !gone).length,
      totalRooms: rooms.length,
    });
  });
}

export function verifyHistories(world: World, instances: Instance[]): void {
  const facts = new Map(world.messages.map((fact) => [fact.content, fact]));
  for (const room of world.openRooms) {
    const ids: string[][] = [];
    instances.forEach((instance, at) => {
      const history = instance.histories.get(room.id)!;
      ids.push(history.map(({ id }) => id));
      expect(new Set(ids[at]).size).toBe(history.length);
      expect(instance.roomStats.get(room.id)).toMatchObject({
        memberCount: world.members(room).length,
        messageCount: history.length,
      });
      for (const message of history) {
        const fact = facts.get(message.content);
        expect(fact && [fact.room.id, fact.outcome !== 'refused']).toEqual([room.id, true]);
        expect(message).toMatchObject(fact!.told ?? { userId: fact!.userId, type: fact!.type });
      }
      const kept = new Set(history.map(({ content }) => content));
      for (const fact of world.messages) {
        if (fact.room === room && fact.outcome === 'done' && !kept.has(fact.content)) {
          throw new Error(`instance ${at} has no ${fact.content} in ${room.name}`);
        }
      }
      // On one instance what was answered before something else was sent comes before it; and elsewhere in the same order.
      for (const origin of instances.keys()) {
        const there = history.map(({ content }) => facts.get(content)!).filter((fact) => fact.at === origin);
        for (const [index, fact] of there.entries()) {
          const later = there.slice(0, index).find(({ span, by }) => {
            return fact.span.until < span.from || (fact.by && fact.by === by && fact.span.from < span.from);
          });
          if (later) throw new Error(`instance ${at} has ${fact.content} after ${later.content}`);
        }
        const atOrigin = instances[origin]!.histories.get(room.id)!.filter(({ content }) => facts.get(content)!.at === origin);
        expect(there.map(({ content }) => content)).toEqual(atOrigin.map(({ content }) => content));
      }
    });
    for (const each of ids) expect(sorted(each)).toEqual(sorted(ids[0]!));
  }
}

/** Of one room. */
interface Received extends Heard {
  data: Message;
}

export function verifyReceived(world: World, instances: Instance[]): void {
  for (const room of world.rooms) {
    const logs = instances.map((): Array<[socket: SocketFact, ids: string[]]> => []);
    for (const socket of world.sockets) {
      const all = socket.heard.filter((entry): entry is Received => {
        return entry.event === 'message' && (entry.data as Message).roomId === room.id;
      });
      const history = room.deleted ? undefined : instances[socket.at]!.histories.get(room.id)!;
      const stays = socket.stays.filter((stay) => stay.room === room);
      for (const stay of stays) verifyStay(world, socket, stay, all.filter(({ tick }) => covers(stay, tick)), history);
      for (const { tick, data } of all) {
        if (!stays.some((stay) => covers(stay, tick))) throw new Error(`${socket.name} was no member and got ${data.content}`);
      }
      verifyNotes(world, socket, room, stays);
      logs[socket.at]!.push([socket, all.map(({ data }) => data.id)]);
    }
    for (const log of logs) verifyOneOrder(room, log);
  }
  for (const socket of world.connected) {
    const errors = socket.heard.filter(({ event }) => event === 'error').map(({ data }) => data);
    expect([socket.name, errors]).toEqual([socket.name, socket.failures.map((failure) => expect.objectContaining(failure))]);
  }
}

const covers = ({ join, leave }: Stay, tick: number) => join.from < tick && (!leave || tick < leave.until);

/** Received between one join and one leave: what lies next to each other in the history, no less than it has to be. */
function verifyStay(world: World, socket: SocketFact, stay: Stay, received: Received[], history?: Message[]): void {
  const got = new Set(received.map(({ data }) => data.content));
  const where = `${socket.name} in ${stay.room.name}`;
  for (const fact of world.messages) {
    if (fact.room !== stay.room) continue;
    const reaches = world.reaches(fact, socket, stay);
    if (reaches === 'yes' && !got.has(fact.content)) throw new Error(`${where} did not get ${fact.content}`);
    if (reaches === 'no' && got.has(fact.content)) throw new Error(`${where} got ${fact.content}, which was not for it`);
    if (fact.outcome === 'refused' && got.has(fact.content)) throw new Error(`${where} got ${fact.content}, which was refused`);
  }
  if (!history || received.length === 0) return;
  const first = history.findIndex(({ id }) => id === received[0]!.data.id);
  const slice = history.slice(first, first + received.length);
  expect([where, received.map(({ data }) => data)]).toEqual([where, slice]);
}

/** Of a room that is gone nobody can say in which order its messages came; but all have seen the same. */
function verifyOneOrder(room: RoomFact, logs: Array<[SocketFact, string[]]>): void {
  for (const [one, ids] of logs) {
    expect([one.name, new Set(ids).size]).toEqual([one.name, ids.length]);
    for (const [other, otherIds] of logs) {
      const common = new Set(ids.filter((id) => otherIds.includes(id)));
      const what = `${room.name}: ${one.name} and ${other.name}`;
      expect([what, ids.filter((id) => common.has(id))]).toEqual([what, otherIds.filter((id) => common.has(id))]);
    }
  }
}

function verifyNotes(world: World, socket: SocketFact, room: RoomFact, stays: Stay[]): void {
  const got = new Map<number, number>();
  const order: NoteFact[] = [];
  for (const { event, data } of socket.heard) {
    if (event !== 'document:edit' && event !== 'news') continue;
    const { roomId, number } = data as { roomId: string; number: number };
    if (roomId !== room.id) continue;
    got.set(number, (got.get(number) ?? 0) + 1);
    order.push(world.notes[number]!);
  }
  for (const note of world.notes) {
    if (note.room !== room) continue;
    const times = got.get(note.number) ?? 0;
    const what = `${socket.name} got ${note.event} ${note.number} ${times} times`;
    if (times > 1) throw new Error(what);
    const reaches = stays.map((stay) => world.reaches(note, socket, stay));
    const forIt = note.by !== socket && note.except !== socket && note.outcome !== 'refused';
    if (times === 1 && (!forIt || reaches.every((each) => each === 'no'))) throw new Error(what);
    if (times === 0 && forIt && reaches.includes('yes')) throw new Error(what);
  }
  for (const [index, note] of order.entries()) {
    const later = order.slice(0, index).find(({ at, span }) => at === note.at && note.span.until < span.from);
    if (later) throw new Error(`${socket.name} got ${note.event} ${note.number} after ${later.event} ${later.number}`);
  }
}

/** What members are told of the others. */
export function verifyMovements(world: World): void {
  for (const observer of world.connected) {
    for (const stay of observer.stays) {
      if (stay.leave || stay.room.deleted) continue;
      const told = observer.heard.filter(({ event, tick, data }) => {
        return /^user:(joined|left)$/.test(event) && tick > stay.join.from && (data as { roomId: string }).roomId === stay.room.id;
      });
      for (const subject of world.sockets) {
        const mine = told.filter(({ data }) => (data as { socketId: string }).socketId === subject.id).map(({ event }) => event);
        const what = `${observer.name} in ${stay.room.name} of ${subject.name}: ${mine.join(' ')}`;
        if (subject === observer) {
          if (mine.length > 0) throw new Error(what);
          continue;
        }
        const others = subject.stays.filter(({ room }) => room === stay.room);
        const here = subject.at === observer.at;
        for (const [event, spans] of [
          ['user:joined', others.map(({ join }) => join)],
          ['user:left', others.flatMap(({ leave }) => leave ?? [])],
        ] as const) {
          const least = spans.filter((span) => stay.join.until < span.from).length;
          const most = spans.filter((span) => !world.precedes(span, stay.join, here)).length;
          const times = mine.filter((each) => each === event).length;
          if (times < least || times > most) throw new Error(`${what} (${event}: ${least} to ${most})`);
        }
        if (mine.some((event, index) => index > 0 && event === mine[index - 1])) throw new Error(what);
        const member = others.some(({ leave }) => !leave);
        if (mine.length > 0 && (mine.at(-1) === 'user:joined') !== member) throw new Error(what);
      }
    }
  }
}

/** Each happening is emitted once in the cluster, on the instance of its socket. */
export function verifyEmitted(world: World, instances: Instance[]): void {
  const messages: string[] = [];
  instances.forEach(({ emitted }, at) => {
    if (!emitted) return;
    const of = (name: string) => emitted.filter(({ event }) => event === name);
    const here = world.sockets.filter((socket) => socket.at === at);
    expect(sorted(of('connection').map(({ socketId }) => socketId))).toEqual(sorted(here.map(({ id }) => id)));
    const gone = here.filter((socket) => socket.gone);
    expect(sorted(of('disconnect').map(({ socketId }) => socketId))).toEqual(sorted(gone.map(({ id }) => id)));
    for (const room of world.openRooms) {
      const stays = here.flatMap((socket) => socket.stays.filter((stay) => stay.room === room).map((stay) => ({ socket, stay })));
      const ids = (found: typeof stays) => sorted(found.map(({ socket }) => socket.id));
      const inRoom = (name: string) => sorted(of(name).flatMap(({ roomId, socketId }) => (roomId === room.id ? socketId : [])));
      expect(inRoom('room:join')).toEqual(ids(stays));
      expect(inRoom('room:leave')).toEqual(ids(stays.filter(({ stay }) => stay.leave)));
      const stored = new Set(instances[at]!.histories.get(room.id)!.map(({ id }) => id));
      for (const { roomId, messageId } of of('message')) {
        if (roomId !== room.id) continue;
        expect(stored).toContain(messageId);
        messages.push(messageId);
      }
    }
    // A socket's own events come in the order in which they happened.
    for (const { id } of here) {
      const own = emitted.filter(({ socketId, event }) => socketId === id && event !== 'message').map(({ event }) => event);
      if (own.length > 0 && own[0] !== 'connection') throw new Error(`${id}: ${own.join(', ')}`);
      if (own.includes('disconnect') && own.at(-1) !== 'disconnect') throw new Error(`${id}: ${own.join(', ')}`);
    }
  });
  if (instances[0]!.emitted) {
    expect(sorted(messages)).toEqual(
      sorted(world.openRooms.flatMap((room) => instances[0]!.histories.get(room.id)!.map(({ id }) => id))),
    );
  }
}

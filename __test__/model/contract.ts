// The contract as a model: what happened, when, and what follows from it. It knows neither services nor clients.
//
// Steps overlap, so each has a span of ticks: from before it was begun until after its outcome was known. What lies wholly
// before something else came before it, on one instance; on another one, when a calm lies between the two, in which
// everything had arrived everywhere. What overlaps may have come in either order, and either is right.

export interface Span {
  from: number;
  /** Infinity as long as the outcome is not known. */
  until: number;
}

export interface RoomFact {
  id: string;
  name: string;
  namespace: string;
  /** Index of the instance. */
  at: number;
  created: Span;
  deleted?: Span & { at: number };
}

/** A membership. */
export interface Stay {
  room: RoomFact;
  join: Span;
  leave?: Span;
}

export interface Heard {
  tick: number;
  event: string;
  data: unknown;
}

export interface SocketFact {
  name: string;
  /** Of the person behind it. */
  userId: string;
  id: string;
  at: number;
  came: Span;
  gone?: Span;
  /** By the server, so that whatever it was sent before has reached it. */
  kicked: boolean;
  stays: Stay[];
  heard: Heard[];
  /** What it has to be told of events that failed, in order. */
  failures: Array<{ event: string; code: string; roomId: string }>;
}

export interface Sent {
  room: RoomFact;
  /** Nobody: the application. */
  by?: SocketFact;
  at: number;
  span: Span;
  /** `unknown`: its sender was gone before it could be told. */
  outcome: 'done' | 'refused' | 'unknown';
}

export interface MessageFact extends Sent {
  content: string;
  type: string;
  userId: string;
  /** As its sender was told. */
  told?: Message;
}

/** An event that members get and nobody keeps. */
export interface NoteFact extends Sent {
  event: string;
  number: number;
  except?: SocketFact;
}

export interface Message {
  id: string;
  roomId: string;
  userId: string;
  content: string;
  type: string;
  timestamp: string;
}

type Sureness = 'yes' | 'no' | 'maybe';

export const UNKNOWN_ROOM = 'no such room';

export class World {
  readonly rooms: RoomFact[] = [];
  readonly sockets: SocketFact[] = [];
  readonly messages: MessageFact[] = [];
  readonly notes: NoteFact[] = [];
  /** Moments at which everything had arrived everywhere. */
  readonly calms: number[] = [0];
  #tick = 0;

  tick(): number {
    return ++this.#tick;
  }

  begin(): Span {
    return { from: this.tick(), until: Infinity };
  }

  end(span: Span): void {
    span.until = this.tick();
  }

  /** Nothing is under way: what has been left open has happened by now. */
  calm(): void {
    const now = this.tick();
    for (const socket of this.sockets) {
      if (socket.gone?.until === Infinity) socket.gone.until = now;
      for (const { leave } of socket.stays) if (leave?.until === Infinity) leave.until = now;
    }
    for (const sent of [...this.messages, ...this.notes]) if (sent.span.until === Infinity) sent.span.until = now;
    this.calms.push(this.tick());
  }

  /** Whether the earlier one had surely happened, where it matters, before the later one began. */
  precedes(earlier: Span, later: Span, samePlace: boolean): boolean {
    if (earlier.until >= later.from) return false;
    return samePlace || this.calms.some((calm) => earlier.until < calm && calm < later.from);
  }

  roomExists(room: RoomFact, at: number, during: Span): Sureness {
    if (room.deleted && this.precedes(room.deleted, during, room.deleted.at === at)) return 'no';
    const there = this.precedes(room.created, during, room.at === at);
    return there && (!room.deleted || during.until < room.deleted.from) ? 'yes' : 'maybe';
  }

  stayIn(socket: SocketFact, room: RoomFact): Stay | undefined {
    return socket.stays.find((stay) => stay.room === room && !stay.leave);
  }

  members(room: RoomFact): SocketFact[] {
    return this.sockets.filter((socket) => !socket.gone && this.stayIn(socket, room));
  }

  get connected(): SocketFact[] {
    return this.sockets.filter(({ gone }) => !gone);
  }

  get openRooms(): RoomFact[] {
    return this.rooms.filter(({ deleted }) => !deleted);
  }

  /** What an event of the client about this room may be answered with: codes, and `ok`. */
  answers(socket: SocketFact, room: RoomFact | undefined, event: string, during: Span): string[] {
    if (event === 'room:leave') return ['ok'];
    const exists = room ? this.roomExists(room, socket.at, during) : 'no';
    if (exists === 'no') return ['ERR_NOT_FOUND'];
    if (event === 'room:join') return exists === 'yes' ? ['ok'] : ['ok', 'ERR_NOT_FOUND'];
    // A deletion under way has taken away the room, the membership, or nothing yet.
    if (exists === 'maybe') return ['ok', 'ERR_NOT_FOUND', 'ERR_NOT_A_MEMBER'];
    return [room && this.stayIn(socket, room) ? 'ok' : 'ERR_NOT_A_MEMBER'];
  }

  joined(socket: SocketFact, room: RoomFact, join: Span): void {
    if (this.stayIn(socket, room)) return;
    const stay: Stay = { room, join };
    // It came in while the room was being deleted.
    if (room.deleted) stay.leave = { from: room.deleted.from, until: Infinity };
    socket.stays.push(stay);
  }

  left(socket: SocketFact, room: RoomFact, leave: Span): void {
    const stay = this.stayIn(socket, room);
    if (stay) stay.leave = leave;
  }

  deleting(room: RoomFact, at: number): Span {
    room.deleted = { ...this.begin(), at };
    for (const socket of this.sockets) this.left(socket, room, { from: room.deleted.from, until: Infinity });
    return room.deleted;
  }

  /** It goes now; its end arrives whenever it does. */
  going(socket: SocketFact, kicked = false): Span {
    const gone = this.begin();
    socket.gone = gone;
    socket.kicked = kicked;
    for (const stay of socket.stays) stay.leave ??= { ...gone };
    return gone;
  }

  /** Whether a stay covers what was sent: it has to have been received, must not have been, or either. */
  reaches(sent: Sent, socket: SocketFact, stay: Stay): Sureness {
    const here = sent.at === socket.at;
    const { join, leave } = stay;
    if (this.precedes(sent.span, join, here)) return 'no';
    if (leave && leave.until < sent.span.from) return 'no';
    if (sent.outcome !== 'done' || stay.room.deleted || join.until >= sent.span.from) return 'maybe';
    if (leave) {
      const heardOut = !socket.gone || socket.kicked || leave.until < socket.gone.from;
      return heardOut && this.precedes(sent.span, leave, here) ? 'yes' : 'maybe';
    }
    return 'yes';
  }
}

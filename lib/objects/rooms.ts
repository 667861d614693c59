// The room objects: one for each room, with a live set of members.

import { inspect } from 'node:util';
import type { Room, RoomOptions } from '../../index.js';
import type { NativeService } from '../../binding.js';
import { invalidArgument } from '../errors.js';
import { Fields } from '../native/fields.js';
import type { Reads } from '../native/reads.js';
import type { Encoding } from '../socketio/payload.js';
import type { RoomRecord } from './record.js';

export class Rooms {
  readonly #native: NativeService;
  readonly #reads: Reads;
  readonly #encoding: Encoding;
  readonly #rooms = new Map<string, Room>();
  /** Deleted here; of what happened before that, something may have yet to be read. */
  readonly #deleted = new Map<string, Room>();
  /** Whether other instances make and delete rooms as well: then the native side knows which there are. */
  readonly #isShared: boolean;

  constructor(native: NativeService, reads: Reads, encoding: Encoding) {
    this.#native = native;
    this.#reads = reads;
    this.#encoding = encoding;
    this.#isShared = native.isClustered();
  }

  create(name: string, namespace: string, createdBy: string | undefined, metadata: object | undefined, options: RoomOptions): Room {
    // It may be sent, even where no other instance is told of it.
    this.#encoding.assertDepth('metadata', metadata);
    const told = this.#isShared && metadata !== undefined ? metadataText(metadata) : undefined;
    const made = new Fields(this.#native.createRoom(name, namespace, this.#isShared ? createdBy : undefined, told, options.membershipEvents, options.private ?? false));
    return this.#make(made.text(), name, namespace, made.number(), createdBy, metadata);
  }

  #make(
    id: string,
    name: string,
    namespace: string,
    createdAt: number,
    createdBy: string | undefined,
    metadata: object | undefined,
  ): Room {
    const room: Room = {
      id,
      name,
      namespace,
      members: liveMembers(this.#reads, id),
      ...(metadata !== undefined && { metadata }),
      createdAt: new Date(createdAt),
      ...(createdBy !== undefined && { createdBy }),
    };
    this.#rooms.set(id, room);
    return room;
  }

  get(id: string): Room | undefined {
    if (!this.#isShared) return this.#rooms.get(id);
    return this.#reads.hasRoom(id) ? this.of(id) : undefined;
  }

  /** The room of an event, even if it has been deleted since. */
  of(id: string): Room | undefined {
    const room = this.#rooms.get(id) ?? this.#deleted.get(id);
    if (room !== undefined || !this.#isShared) return room;
    const record = new Fields(this.#native.room(id));
    return record.done ? undefined : this.remember(roomRecord(record));
  }

  /** The room of an event: the native side has told of it before. */
  told(id: string): Room {
    const room = this.of(id);
    if (room === undefined) throw new Error('the native side tells of a room that it has not described');
    return room;
  }

  /** Makes the object of a room of which the native side gives the record. */
  remember({ id, name, namespace, createdAt, createdBy, metadata }: RoomRecord): Room {
    const given = metadata === null ? undefined : (JSON.parse(metadata) as object);
    return this.#rooms.get(id) ?? this.#make(id, name, namespace, createdAt, createdBy ?? undefined, given);
  }

  list(namespace: string | undefined): Room[] {
    if (this.#isShared) {
      const rooms = this.#reads.roomIds(namespace).map((id) => this.of(id));
      return rooms.filter((room) => room !== undefined);
    }
    const rooms = [...this.#rooms.values()];
    return namespace === undefined ? rooms : rooms.filter((room) => room.namespace === namespace);
  }

  delete(id: string): Room | undefined {
    const room = this.get(id);
    if (room !== undefined && this.#native.deleteRoom(id)) {
      this.#rooms.delete(id);
      this.#deleted.set(id, room);
    }
    return room;
  }

  /** Everything that happened before the room was deleted has been told. */
  release(id: string): void {
    this.#deleted.delete(id);
  }

  /** Another instance has deleted a room. */
  forget(id: string): void {
    this.#rooms.delete(id);
  }
}

/** Metadata as other instances are told of it. */
/** The record of a room, as the native side writes it. */
export function roomRecord(fields: Fields): RoomRecord {
  const [id, name, namespace, createdAt] = [fields.text(), fields.text(), fields.text(), fields.number()];
  return { id, name, namespace, createdAt, createdBy: fields.optionalText(), metadata: fields.optionalText() };
}

function metadataText(metadata: object): string {
  try {
    return JSON.stringify(metadata);
  } catch {
    throw invalidArgument('metadata', metadata, 'an object that JSON can hold');
  }
}

/** Which room a live set shows, and where its changes come from. */
const sources = new WeakMap<Set<string>, { reads: Reads; roomId: string }>();

/** Brings a live set up to date; every way of reading it goes through here first. */
function sync(set: Set<string>): Set<string> {
  const source = sources.get(set);
  for (const change of source?.reads.memberChanges(source.roomId) ?? []) {
    const id = change.slice(1);
    if (change === '*') Set.prototype.clear.call(set);
    else if (change[0] === '+') Set.prototype.add.call(set, id);
    else Set.prototype.delete.call(set, id);
  }
  return set;
}

/** What a `Set` reads by; what writes, and what its constructor is, stays as it is. */
const readers = Object.getOwnPropertyNames(Set.prototype).filter(
  (name) => !['constructor', 'size', 'add', 'delete', 'clear'].includes(name),
);
const liveProperties: PropertyDescriptorMap & ThisType<Set<string>> = {
  size: {
    get(): number {
      return Reflect.get(Set.prototype, 'size', sync(this));
    },
  },
  ...Object.fromEntries([...readers, Symbol.iterator].map((name) => [name, { value: readerOf(name) }])),
  [inspect.custom]: {
    value() {
      return new Set(this);
    },
  },
};

function readerOf(name: string | symbol): (this: Set<string>, ...args: unknown[]) => unknown {
  const read = Reflect.get(Set.prototype, name) as (...args: unknown[]) => unknown;
  return function (...args) {
    return read.apply(sync(this), args);
  };
}

/**
 * A real `Set` of socket ids, kept up to date: its own, hidden methods fetch what changed before they read, also for
 * `util.inspect` and `console.log`. What looks past them, at the set's internals, sees the state of the last read.
 */
function liveMembers(reads: Reads, roomId: string): Set<string> {
  const set = new Set<string>();
  sources.set(set, { reads, roomId });
  return Object.defineProperties(set, liveProperties);
}

// The room objects: one for each room, with a live set of members.

'use strict';

const { inspect } = require('node:util');
const { invalidArgument } = require('../errors.js');

class Rooms {
  #native;
  #reads;
  #encoding;
  #rooms = new Map();
  /** Whether other instances make and delete rooms as well: then the native side knows which there are. */
  #isShared;

  constructor(native, reads, encoding) {
    this.#native = native;
    this.#reads = reads;
    this.#encoding = encoding;
    this.#isShared = native.isClustered();
  }

  create(name, namespace, createdBy, metadata) {
    // It may be sent, even where no other instance is told of it.
    this.#encoding.assertDepth('metadata', metadata);
    const told = this.#isShared && metadata !== undefined ? metadataText(metadata) : undefined;
    const [id, createdAt] = this.#native.createRoom(name, namespace, this.#isShared ? createdBy : undefined, told);
    return this.#make(id, name, namespace, createdAt, createdBy, metadata);
  }

  #make(id, name, namespace, createdAt, createdBy, metadata) {
    const room = {
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

  get(id) {
    if (!this.#isShared) return this.#rooms.get(id);
    return this.#reads.hasRoom(id) ? this.of(id) : undefined;
  }

  /** The room of an event, even if it has been deleted since. */
  of(id) {
    const room = this.#rooms.get(id);
    if (room !== undefined || !this.#isShared) return room;
    const record = this.#native.room(id);
    return record.length > 0 ? this.remember(...record) : undefined;
  }

  /** Makes the object of a room of which the native side gives the record. */
  remember(id, name, namespace, createdAt, createdBy, metadata) {
    const given = metadata === null ? undefined : JSON.parse(metadata);
    return this.#rooms.get(id) ?? this.#make(id, name, namespace, createdAt, createdBy ?? undefined, given);
  }

  list(namespace) {
    if (this.#isShared) return this.#reads.roomIds(namespace).map((id) => this.of(id)).filter(Boolean);
    const rooms = [...this.#rooms.values()];
    return namespace === undefined ? rooms : rooms.filter((room) => room.namespace === namespace);
  }

  delete(id) {
    const room = this.get(id);
    if (room !== undefined && this.#native.deleteRoom(id)) this.#rooms.delete(id);
    return room;
  }

  /** Another instance has deleted a room. */
  forget(id) {
    this.#rooms.delete(id);
  }
}

/** Metadata as other instances are told of it. */
function metadataText(metadata) {
  try {
    return JSON.stringify(metadata);
  } catch {
    throw invalidArgument('metadata', metadata, 'an object that JSON can hold');
  }
}

/** Which room a live set shows, and where its changes come from. */
const sources = new WeakMap();

/** Brings a live set up to date; every way of reading it goes through here first. */
function sync(set) {
  const { reads, roomId } = sources.get(set);
  for (const change of reads.memberChanges(roomId)) {
    const id = change.slice(1);
    if (change === '*') Set.prototype.clear.call(set);
    else if (change[0] === '+') Set.prototype.add.call(set, id);
    else Set.prototype.delete.call(set, id);
  }
  return set;
}

const size = Object.getOwnPropertyDescriptor(Set.prototype, 'size').get;
const readers = Object.getOwnPropertyNames(Set.prototype).filter(
  (name) => !['constructor', 'size', 'add', 'delete', 'clear'].includes(name),
);
const liveProperties = {
  size: {
    get() {
      return size.call(sync(this));
    },
  },
  ...Object.fromEntries(
    [...readers, Symbol.iterator].map((name) => [
      name,
      {
        value(...args) {
          return Set.prototype[name].apply(sync(this), args);
        },
      },
    ]),
  ),
  [inspect.custom]: {
    value() {
      return new Set(this);
    },
  },
};

/**
 * A real `Set` of socket ids, kept up to date: its own, hidden methods fetch what changed before they read, also for
 * `util.inspect` and `console.log`. What looks past them, at the set's internals, sees the state of the last read.
 */
function liveMembers(reads, roomId) {
  const set = new Set();
  sources.set(set, { reads, roomId });
  return Object.defineProperties(set, liveProperties);
}

module.exports = { Rooms };

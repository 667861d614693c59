// The room objects: one for each room, with a live set of members.

'use strict';


class Rooms {
  #native;
  #rooms = new Map();

  constructor(native) {
    this.#native = native;
  }

  create(name, namespace, createdBy, metadata) {
    const [id, createdAt] = this.#native.createRoom(name, namespace);
    const room = {
      id,
      name,
      namespace,
      members: liveMembers(this.#native, id),
      ...(metadata !== undefined && { metadata }),
      createdAt: new Date(createdAt),
      ...(createdBy !== undefined && { createdBy }),
    };
    this.#rooms.set(id, room);
    return room;
  }

  get(id) {
    return this.#rooms.get(id);
  }

  list(namespace) {
    const rooms = [...this.#rooms.values()];
    return namespace === undefined ? rooms : rooms.filter((room) => room.namespace === namespace);
  }

  delete(id) {
    const room = this.#rooms.get(id);
    if (room !== undefined && this.#native.deleteRoom(id)) this.#rooms.delete(id);
    return room;
  }
}

/** Which room a live set shows, and where its changes come from. */
const sources = new WeakMap();

/** Brings a live set up to date; every way of reading it goes through here first. */
function sync(set) {
  const { native, roomId } = sources.get(set);
  for (const change of native.memberChanges(roomId)) {
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
};

/**
 * A real `Set` of socket ids, kept up to date: its own, hidden methods fetch what changed before they read. What
 * looks past them, at the set's internals, sees the state of the last read.
 */
function liveMembers(native, roomId) {
  const set = new Set();
  sources.set(set, { native, roomId });
  return Object.defineProperties(set, liveProperties);
}

module.exports = { Rooms };

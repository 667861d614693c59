// What callers read of the native side. It shows at once what has happened there, which JavaScript may not have been told
// of yet; so each read has that told before its caller's next `await` continues.

import type { Figures, NativeService, RoomFigures } from '../../binding.js';

/** Who tells what has happened. */
interface Teller {
  /** A caller has read how things are. */
  noticed(): void;
}

export class Reads {
  readonly #native: NativeService;
  #hearing: Teller | undefined;

  constructor(native: NativeService) {
    this.#native = native;
  }

  /** Says who tells what has happened. */
  heardBy(hearing: Teller): void {
    this.#hearing = hearing;
  }

  hasRoom(roomId: string): boolean {
    return this.#shown(this.#native.hasRoom(roomId));
  }

  isConnected(socketId: string): boolean {
    return this.#shown(this.#native.isConnected(socketId));
  }

  /** Whether the client of a socket has lost its connection, and may come back. */
  isAway(socketId: string): boolean {
    return this.#shown(this.#native.isAway(socketId));
  }

  /** Whether the client of a socket has lost its connection and come back. */
  hasReturned(socketId: string): boolean {
    return this.#shown(this.#native.hasReturned(socketId));
  }

  /** Positions of the oldest kept message and of the next one to come; undefined for an unknown room. */
  keptMessages(roomId: string): [first: number, next: number] | undefined {
    const [first, next] = this.#shownNow(() => this.#native.keptMessages(roomId));
    return first === undefined || next === undefined ? undefined : [first, next];
  }

  lastActivity(socketId: string): number {
    return this.#shown(this.#native.lastActivity(socketId));
  }

  memberChanges(roomId: string): string[] {
    return this.#shown(this.#native.memberChanges(roomId));
  }

  onlineSocket(userId: string): string | null {
    return this.#shown(this.#native.onlineSocket(userId));
  }

  roomIds(namespace: string | undefined): string[] {
    return this.#shown(this.#native.roomIds(namespace));
  }

  roomMembers(roomId: string): string[] {
    return this.#shown(this.#native.roomMembers(roomId));
  }

  roomNames(): string[] {
    return this.#shown(this.#native.roomNames());
  }

  /** Null for an unknown room. */
  roomStats(roomId: string): RoomFigures | null {
    return this.#shownNow(() => this.#native.roomStats(roomId));
  }

  selected(rooms: string[], except: string[]): string[] {
    return this.#shown(this.#native.selected(rooms, except));
  }

  socketRooms(socketId: string): string[] {
    return this.#shown(this.#native.socketRooms(socketId));
  }

  socketsOf(userId: string): string[] {
    return this.#shown(this.#native.socketsOf(userId));
  }

  /** Figures of this instance. */
  stats(): Figures {
    return this.#shownNow(() => this.#native.stats());
  }

  /** Figures of each of the other instances. */
  otherStats(): Figures[] {
    return this.#shown(this.#native.otherStats());
  }

  user(socketId: string): ReturnType<NativeService['user']> {
    return this.#shown(this.#native.user(socketId));
  }

  users(): string[] {
    return this.#shown(this.#native.users());
  }

  watch(socketId: string): boolean {
    return this.#shown(this.#native.watch(socketId));
  }

  /** What was read; what happened before is told soon. */
  #shown<T>(shown: T): T {
    this.#hearing?.noticed();
    return shown;
  }

  /** The same of what depends on the time. */
  #shownNow<T>(read: () => T): T {
    this.#native.setTime(Date.now());
    return this.#shown(read());
  }
}

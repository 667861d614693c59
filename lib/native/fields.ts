// Reads the flat arrays in which the native side tells things; `src/node/field.rs` writes them.

import type { Field } from '../../binding.js';
import type { UserRecord } from '../objects/record.js';

/**
 * A cursor over a flat array. What comes next, and of which type, is settled by the event that is read; both sides are
 * written to agree on it, so nothing is checked here, where each event passes.
 */
export class Fields {
  readonly #fields: Field[];
  #at = 0;

  constructor(fields: Field[]) {
    this.#fields = fields;
  }

  get done(): boolean {
    return this.#at >= this.#fields.length;
  }

  text(): string {
    return this.#fields[this.#at++] as string;
  }

  optionalText(): string | null {
    return this.#fields[this.#at++] as string | null;
  }

  number(): number {
    return this.#fields[this.#at++] as number;
  }

  bytes(): Buffer {
    return this.#fields[this.#at++] as Buffer;
  }

  textOrBytes(): string | Buffer {
    return this.#fields[this.#at++] as string | Buffer;
  }

  flag(): boolean {
    return this.number() === 1;
  }

  /** How many texts, then each. */
  texts(): string[] {
    return Array.from({ length: this.number() }, () => this.text());
  }

  /** How many buffers, then each. */
  attachments(): Buffer[] {
    const count = this.number();
    const buffers = this.#fields.slice(this.#at, this.#at + count) as Buffer[];
    this.#at += count;
    return buffers;
  }

  /** A socket id and, the first time it is told, the record of its user, which `users` remembers. */
  socketId(users: { remember(record: UserRecord): void }): string {
    const socketId = this.text();
    const userId = this.optionalText();
    if (userId !== null) {
      const username = this.optionalText() ?? undefined;
      const [handshake, connectedAt, profile] = [this.text(), this.number(), profileOf(this.optionalText())];
      users.remember({ socketId, userId, username, handshake, connectedAt, profile });
    }
    return socketId;
  }
}

/** What the native side knows of a user besides; undefined for users of this instance. */
export function profileOf(text: string | null): UserRecord['profile'] {
  return text === null ? undefined : JSON.parse(text);
}

// Asks the application whether a client may do something, and tells the native side what it says.

import type { Authorizer, AuthorizeConfig, Logger, Room, SocketUser } from '../index.js';
import { clearTimeout, setTimeout } from './timers.js';

const NOT_ALLOWED = 'Not allowed';

/** What is asked: who wants to do what, where, and with what. */
export interface Question {
  verb: keyof AuthorizeConfig;
  user: SocketUser;
  room: Room | undefined;
  data: unknown;
}

export class Authorization {
  readonly #authorize: AuthorizeConfig;
  readonly #logger: Logger;
  readonly #patience: number;

  /** `patience`: milliseconds in which a function has to answer. */
  constructor(authorize: AuthorizeConfig, { logger, patience }: { logger: Logger; patience: number }) {
    this.#authorize = authorize;
    this.#logger = logger;
    this.#patience = patience;
  }

  /** Whether something of this kind is asked about. */
  asks(verb: keyof AuthorizeConfig): boolean {
    return this.#authorize[verb] !== undefined;
  }

  /** Calls back once: with nothing when it is allowed, or with why not; at once when the function is synchronous. */
  ask({ verb, user, room, data }: Question, decided: (refusal: string | undefined) => void): void {
    const authorizer: Authorizer | undefined = this.#authorize[verb];
    if (authorizer === undefined) return decided(undefined);
    const fail = (error: unknown) => {
      this.#logger.error(`authorize.${verb} failed: the client is refused`, error);
      decided(NOT_ALLOWED);
    };
    let answer: ReturnType<Authorizer>;
    try {
      answer = authorizer(user, room, data);
    } catch (error) {
      return fail(error);
    }
    if (typeof (answer as PromiseLike<unknown> | null | undefined)?.then !== 'function') return decided(refusalOf(answer));
    let isOver = false;
    const once = (settle: () => void) => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      settle();
    };
    const timer = setTimeout(() => once(() => fail(new Error(`it has not answered within ${this.#patience} ms`))), this.#patience);
    Promise.resolve(answer).then(
      (value) => once(() => decided(refusalOf(value))),
      (error: unknown) => once(() => fail(error)),
    );
  }
}

/** Only what says yes is one. */
function refusalOf(answer: unknown): string | undefined {
  if (answer === true) return undefined;
  return typeof answer === 'string' && answer !== '' ? answer : NOT_ALLOWED;
}

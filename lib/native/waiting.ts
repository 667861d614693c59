// What waits for an answer of the native side, under a number.

/** Places; a number says the place and which of its users, and stays exact. */
const PLACES = 2 ** 20;
const USES = 2 ** 32;

/**
 * As a `Map` from a counter, but no table of its is ever replaced. A `Map` to which much is added and from which much
 * is deleted copies itself again and again, and its old copies keep what they held until the next full collection.
 */
export class Waiting<T> {
  readonly #numbers: number[] = [];
  readonly #values: (T | undefined)[] = [];
  readonly #free: number[] = [];
  #uses = 0;

  /** Keeps a value; returns its number. */
  add(value: T): number {
    const place = this.#free.pop() ?? this.#values.length;
    this.#uses = (this.#uses + 1) % USES;
    const number = this.#uses * PLACES + place;
    this.#numbers[place] = number;
    this.#values[place] = value;
    return number;
  }

  /** Removes what is kept under a number and returns it; undefined when nothing is. */
  take(number: number): T | undefined {
    const place = number % PLACES;
    if (this.#numbers[place] !== number) return undefined;
    const value = this.#values[place];
    this.#numbers[place] = -1;
    this.#values[place] = undefined;
    this.#free.push(place);
    return value;
  }

  /** Removes everything; returns numbers with their values. */
  takeAll(): [number: number, value: T][] {
    const all: [number, T][] = [];
    for (const number of this.#numbers.filter((each) => each >= 0)) {
      const value = this.take(number);
      if (value !== undefined) all.push([number, value]);
    }
    return all;
  }
}

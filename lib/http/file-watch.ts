// Tells when files have changed. By looking at them: links that are put elsewhere, as certbot and Kubernetes do it, cause no
// event of the system at the path that was given.

import { statSync } from 'node:fs';
import { clearInterval, setInterval } from '../timers.js';

/** Files that belong together may take as long to change. */
const LOOK_MS = 1000;

/** What tells a file from what it was before. */
export function stampOf(paths: readonly string[]): string {
  const stamps = paths.map((path) => {
    try {
      const { ctimeMs, ino, size } = statSync(path);
      return `${ctimeMs} ${ino} ${size}`;
    } catch (error) {
      return String(error); // whoever reads it says so
    }
  });
  return stamps.join();
}

export class FileWatch {
  readonly #paths: readonly string[];
  readonly #changed: () => void;
  readonly #timer: ReturnType<typeof setInterval>;
  #seen: string;
  #isChanging = false;

  /** `seen` is the stamp that the files had before they were read. */
  constructor(paths: readonly string[], seen: string, changed: () => void) {
    this.#paths = paths;
    this.#seen = seen;
    this.#changed = changed;
    this.#timer = setInterval(() => this.#look(), LOOK_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const now = stampOf(this.#paths);
    const hasChanged = now !== this.#seen;
    this.#seen = now;
    const isDone = this.#isChanging && !hasChanged;
    this.#isChanging = hasChanged;
    if (isDone) this.#changed();
  }
}

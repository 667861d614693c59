// Tells when files have changed. By looking at them: links that are put elsewhere, as certbot and Kubernetes do it, cause no
// event of the system at the path that was given.

import { type StatsListener, unwatchFile, watchFile } from 'node:fs';
import { clearTimeout, setTimeout } from '../timers.js';

const LOOK_MS = 2000;
/** How long files that belong together may take to change. */
const SETTLED_MS = 500;

export class FileWatch {
  readonly #paths: readonly string[];
  readonly #changed: () => void;
  #settling: ReturnType<typeof setTimeout> | undefined;

  constructor(paths: readonly string[], changed: () => void) {
    this.#paths = paths;
    this.#changed = changed;
    for (const path of paths) watchFile(path, { interval: LOOK_MS, persistent: false }, this.#look);
  }

  close(): void {
    for (const path of this.#paths) unwatchFile(path, this.#look);
    clearTimeout(this.#settling);
  }

  readonly #look: StatsListener = (now, before) => {
    if (now.mtimeMs === before.mtimeMs && now.ino === before.ino) return;
    clearTimeout(this.#settling);
    this.#settling = setTimeout(this.#changed, SETTLED_MS).unref();
  };
}

// A process whose wall clock jumps while it runs. For it a few lines of C are made into a library that is loaded first.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterTest } from './harness';

export class MovedClock {
  readonly #file: string;
  #isThere = false;
  readonly env: NodeJS.ProcessEnv;

  constructor() {
    const directory = mkdtempSync(join(tmpdir(), 'clock-'));
    afterTest(() => rmSync(directory, { recursive: true }));
    const library = join(directory, 'moved-clock.so');
    execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, join(__dirname, 'programs', 'moved-clock.c')]);
    this.#file = join(directory, 'seconds');
    this.env = { LD_PRELOAD: library, MOVED_CLOCK: this.#file };
    this.move(0);
  }

  /** Sets how far the clock is off, at once. */
  move(seconds: number): void {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(seconds));
    // In place: the process has the file in its memory.
    writeFileSync(this.#file, bytes, { flag: this.#isThere ? 'r+' : 'w' });
    this.#isThere = true;
  }
}

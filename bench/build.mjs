// Builds the load generator and floor server.

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Builds `bench/load` in release mode into `target/bench`; cargo's messages go to standard error. */
export function buildLoad() {
  execFileSync(
    'cargo',
    ['build', '--release', '--locked', '--manifest-path', 'bench/load/Cargo.toml', '--target-dir', 'target/bench'],
    { cwd: fileURLToPath(new URL('..', import.meta.url)), stdio: ['ignore', 'inherit', 'inherit'] },
  );
}

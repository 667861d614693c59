// Builds the native programs of the benchmark.

import { execFileSync } from 'node:child_process';
import { copyFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));

function cargo(args, env = {}) {
  execFileSync('cargo', ['build', '--release', '--locked', ...args], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
}

/** Builds `bench/load` in release mode into `target/bench`; cargo's messages go to standard error. */
export function buildLoad() {
  cargo(['--manifest-path', 'bench/load/Cargo.toml', '--target-dir', 'target/bench']);
}

/** Builds the addon with the names of its functions, beside the ordinary one; returns its path. */
export function buildAddonWithSymbols() {
  cargo(['--lib', '--target-dir', 'target/symbols'], {
    CARGO_PROFILE_RELEASE_DEBUG: '1',
    CARGO_PROFILE_RELEASE_STRIP: 'none',
  });
  const library = path.join(root, 'target/symbols/release/libnative_websocket_service.so');
  const addon = path.join(root, 'target/symbols/native-websocket-service.node');
  copyFileSync(library, addon);
  return addon;
}

// Installs what only the benchmark needs, the peers and the plotting library, into `bench/node_modules`.

import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('..', import.meta.url));
const changed = (file) => statSync(new URL(`../${file}`, import.meta.url), { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** Runs `npm ci` here unless what is installed is at least as new as the lock file. */
export function installPeers() {
  if (changed('node_modules/.package-lock.json') >= changed('package-lock.json')) return;
  console.log('installing the peers (bench/package-lock.json)');
  try {
    execFileSync('npm', ['ci', '--silent'], { cwd: here, stdio: ['ignore', 'ignore', 'inherit'] });
  } catch (error) {
    throw new Error('npm ci in bench/ failed; the peers and the plots need it', { cause: error });
  }
}

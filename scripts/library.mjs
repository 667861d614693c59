// Compiles `lib/` to `dist/`, which is what the package exports. The types of the native side are those of
// `binding.d.ts`, so the addon is built before. Runs after each build of the addon, before `npm pack`, and with the
// commands that prepare a clone.

import { spawnSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import process from 'node:process';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { fail } from './terminal.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Compiles, or says why it cannot be done and ends the process. */
export function buildLibrary() {
  if (!existsSync(join(root, 'binding.d.ts'))) {
    fail('lib/ is compiled against binding.d.ts, which the build of the addon writes: run `npm run build` first.');
  }
  // What was compiled of files that are gone would go on being shipped.
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const { status } = spawnSync(process.execPath, [compiler, '-p', join(root, 'lib')], { stdio: 'inherit' });
  if (status !== 0) fail('lib/ could not be compiled: see the messages of the TypeScript compiler above.');
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) buildLibrary();

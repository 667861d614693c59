// Which file of a folder of TypeScript imports which other, types included.

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative, sep } from 'node:path';

/** Maps each file, relative to `folder`, to `{ uses }`, the files of the folder that it imports. */
export function readFolder(folder) {
  const files = new Map();
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  for (const entry of entries.filter((one) => one.isFile() && one.name.endsWith('.ts'))) {
    const path = join(entry.parentPath ?? entry.path, entry.name);
    files.set(nameOf(folder, path), { uses: importsOf(folder, path) });
  }
  return new Map([...files].sort(([one], [other]) => (one < other ? -1 : 1)));
}

const IMPORT = /(?:\bfrom|\bimport|\brequire\s*\(|\bimport\s*\()\s*(['"])(\.{1,2}\/[^'"]+)\1/g;

function importsOf(folder, path) {
  const code = readFileSync(path, 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/[^\n]*/gm, ' ');
  const targets = [...code.matchAll(IMPORT)].map(([, , request]) => fileOf(join(dirname(path), request)));
  const inside = targets.filter((target) => target !== undefined && !relative(folder, target).startsWith('..'));
  return [...new Set(inside.map((target) => nameOf(folder, target)))].sort();
}

/** The source that an import of a compiled file stands for. */
function fileOf(request) {
  const base = request.replace(/\.js$/, '');
  return [`${base}.ts`, join(base, 'index.ts')].find(existsSync);
}

const nameOf = (folder, path) => relative(folder, path).split(sep).join('/');

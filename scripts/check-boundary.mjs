// Checks who uses whom: in src/ each module only what is below it, and a library only the module that it is for; no
// circle of files in src/ or lib/. `--root DIR` checks another tree.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { circles } from './boundary/circles.mjs';
import { readCrate } from './boundary/rust.mjs';
import { readFolder } from './boundary/typescript.mjs';
import { root as here } from './prepare.mjs';

/** Module of the crate → the modules it may use, besides those that everyone may. */
const mayUse = {
  wire: [],
  link: ['wire'],
  selection: [],
  hub: ['link', 'wire'],
  ports: ['hub', 'wire', 'selection'],
  fanout: ['hub', 'link', 'wire'],
  service: ['fanout', 'ports', 'hub', 'link', 'wire', 'selection'],
  adapter: ['wire', 'selection'],
  cluster: ['service', 'ports', 'hub', 'link', 'adapter', 'wire', 'selection'],
  redis: ['cluster::bus'],
  transport: ['service', 'ports', 'hub', 'link', 'wire'],
  memory: ['service'],
  server: ['transport', 'cluster', 'redis', 'service', 'fanout', 'ports', 'hub', 'link', 'memory'],
  fuzzing: ['transport', 'cluster', 'adapter', 'wire', 'selection'],
  node: ['server', 'transport', 'cluster', 'service', 'fanout', 'ports', 'hub', 'link', 'selection', 'wire'],
};
const everyone = ['config', 'error', 'disconnect', 'clock', 'metrics', 'backpressure', 'keyed_rate', 'lasting', 'sync'];

/** Library → the module that alone may name it. */
const onlyIn = {
  napi: 'node',
  napi_derive: 'node',
  tracing_subscriber: 'node',
  fred: 'redis',
  redis_protocol: 'redis',
  socketioxide: 'transport',
  socketioxide_core: 'transport',
  engineioxide: 'transport',
};

const { values } = parseArgs({ options: { root: { type: 'string', default: here } } });
const findings = [...checkRust(join(values.root, 'src')), ...checkTypeScript(join(values.root, 'lib'))];
for (const finding of findings) console.error(finding);
console.log(findings.length === 0 ? 'Module boundaries hold.' : `${findings.length} violations of the module boundaries.`);
process.exitCode = findings.length === 0 ? 0 : 1;

function checkRust(folder) {
  const files = readCrate(folder, Object.keys(onlyIn));
  const found = circlesOf(files, 'src');
  for (const [name, { module, uses, crates }] of files) {
    const [top] = module;
    if (top === undefined) continue;
    if (!Object.hasOwn(mayUse, top) && !everyone.includes(top)) {
      found.push(`src/${name}: the module \`${top}\` has no entry in scripts/check-boundary.mjs`);
      continue;
    }
    for (const used of uses.map((file) => files.get(file).module)) {
      if (used[0] !== top && !isAllowed(top, used)) found.push(`src/${name}: \`${top}\` may not use \`${used.join('::')}\``);
    }
    for (const library of crates.filter((one) => onlyIn[one] !== top)) {
      found.push(`src/${name}: names ${library}, which only src/${onlyIn[library]} may`);
    }
  }
  return found;
}

function isAllowed(top, used) {
  const path = used.join('::');
  return [...(mayUse[top] ?? []), ...everyone].some((allowed) => path === allowed || path.startsWith(`${allowed}::`));
}

function checkTypeScript(folder) {
  return existsSync(folder) ? circlesOf(readFolder(folder), 'lib') : [];
}

function circlesOf(files, folder) {
  return circles(files).map((circle) => `${folder}: a circle of files: ${[...circle, circle[0]].join(' → ')}`);
}

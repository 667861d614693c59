// Checks in src/ that napi is named only inside src/node, and that each module uses only the modules below it.
import { readFileSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { root } from './prepare.mjs';

/** Module of the crate → the modules it may use, besides those that everyone may. */
const mayUse = {
  lib: [],
  config: [],
  error: [],
  clock: [],
  backpressure: [],
  json: [],
  packet: [],
  event: ['hub'], // the shapes it carries
  hub: ['event'],
  fanout: ['hub', 'event'],
  service: ['fanout', 'hub', 'event'],
  cluster: ['service', 'hub', 'event'], // as a transport: what peers send becomes calls of the service
  transport: ['service', 'hub', 'event'],
  memory: ['service'],
  server: ['transport', 'cluster', 'service', 'event', 'memory'],
  node: ['server', 'cluster', 'transport', 'service', 'hub', 'event'],
};
const everyone = ['config', 'error', 'clock', 'json', 'packet', 'backpressure'];

const source = join(root, 'src');
const findings = [];

for (const file of rustFiles(source)) {
  const name = relative(root, file);
  const path = relative(source, file).replace(/\.rs$/, '').split(sep);
  const module = path[0];
  const code = withoutCommentsAndText(readFileSync(file, 'utf8'));

  if (!Object.hasOwn(mayUse, module)) {
    findings.push(`${name}: the module \`${module}\` has no entry in scripts/check-boundary.mjs`);
    continue;
  }
  if (module !== 'node' && /\bnapi(_derive)?\b/.test(code)) {
    findings.push(`${name}: names napi, which only src/node may`);
  }
  for (const used of usedModules(code, depth(path))) {
    if (Object.hasOwn(mayUse, used) && used !== module && ![...mayUse[module], ...everyone].includes(used)) {
      findings.push(`${name}: \`${module}\` may not use \`${used}\``);
    }
  }
}

for (const finding of findings) {
  console.error(finding);
}
console.log(findings.length === 0 ? 'Module boundaries hold.' : `${findings.length} violations of the module boundaries.`);
process.exitCode = findings.length === 0 ? 0 : 1;

function rustFiles(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.rs'))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

/** How many `super` lead from a file to the root of the crate: `src/hub.rs` and `src/hub/mod.rs` 1, `src/hub/room.rs` 2. */
function depth(path) {
  return path.at(-1) === 'mod' ? path.length - 1 : path.length;
}

/** First names of all paths that start at the root of the crate: `crate::hub::Hub`, `crate::{event, hub::Hub}`. */
function usedModules(code, supers) {
  const names = new Set();
  for (const match of code.matchAll(/\b(?:crate|((?:super\s*::\s*)*super))\s*::\s*(\w+|\{)/g)) {
    const climbed = match[1] === undefined ? supers : match[1].split('::').length;
    if (climbed < supers) {
      continue;
    }
    const rest = match[2] === '{' ? groupHeads(code, match.index + match[0].length) : [match[2]];
    rest.forEach((name) => names.add(name));
  }
  return names;
}

/** The first name of each item of a `{…}` group whose brace opened just before `start`. */
function groupHeads(code, start) {
  const heads = [];
  let level = 1;
  let item = '';
  for (let at = start; at < code.length && level > 0; at += 1) {
    const character = code[at];
    if (character === '{') level += 1;
    if (character === '}') level -= 1;
    if (level === 0 || (level === 1 && character === ',')) {
      heads.push(/\w+/.exec(item)?.[0]);
      item = '';
    } else {
      item += character;
    }
  }
  return heads.filter(Boolean);
}

function withoutCommentsAndText(code) {
  const token = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|r(#*)"[\s\S]*?"\1|"(?:\\[\s\S]|[^"\\])*"|'(?:\\.|[^'\\])'/g;
  return code.replace(token, (found) => (found.startsWith('/') ? ' ' : '""'));
}

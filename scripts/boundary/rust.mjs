// Which file of a Rust crate names what is defined in which other: from `use` and from paths, without tests.

import { readFileSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';

/**
 * Reads the crate whose sources are in `folder`. `files` maps each file, relative to it, to `{ module, uses, crates }`:
 * `module` its path from the root, `uses` the files in which what it names is defined, and `crates` the other crates that
 * it names. That a file declares a module or passes on what one defines (`pub use`) is no use.
 */
export function readCrate(folder, crates) {
  const sources = new Map();
  for (const path of rustFiles(folder)) {
    const name = relative(folder, path).split(sep).join('/');
    if (!isTest(name)) sources.set(name, withoutTests(withoutCommentsAndText(readFileSync(path, 'utf8'))));
  }
  const fileOf = new Map([...sources.keys()].map((name) => [moduleOf(name).join('::'), name]));
  const crate = { fileOf, passedOn: new Map() };
  for (const [name, code] of sources) crate.passedOn.set(name, passedOn(crate, moduleOf(name), code));
  const files = new Map();
  for (const [name, code] of sources) {
    const module = moduleOf(name);
    const uses = new Set(pathsIn(crate, module, code).map((path) => definedIn(crate, path)));
    uses.delete(undefined);
    uses.delete(name);
    const named = crates.filter((used) => new RegExp(`\\b${used}\\b\\s*(::|;|!)`).test(code));
    files.set(name, { module, uses: [...uses].sort(), crates: named });
  }
  return files;
}

function rustFiles(folder) {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.rs'))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

const isTest = (name) => /(^|\/)tests(\.rs$|\/)/.test(name);

/** `hub/room.rs` and `hub/room/mod.rs`: hub, room. The root of the crate: none. */
function moduleOf(name) {
  const path = name.replace(/\.rs$/, '').split('/');
  if (path.at(-1) === 'mod') path.pop();
  return path.length === 1 && path[0] === 'lib' ? [] : path;
}

/** The file in which the item at this path from the root is defined, followed through modules that pass it on. */
function definedIn(crate, path, seen = new Set()) {
  let module = [];
  for (const [index, segment] of path.entries()) {
    if (crate.fileOf.has([...module, segment].join('::'))) {
      module = [...module, segment];
      continue;
    }
    const file = crate.fileOf.get(module.join('::'));
    const target = crate.passedOn.get(file)?.get(segment);
    const key = path.join('::');
    if (target === undefined || seen.has(key)) return file;
    return definedIn(crate, [...target, ...path.slice(index + 1)], seen.add(key));
  }
  return crate.fileOf.get(module.join('::'));
}

/** Name → path of what a module passes on. */
function passedOn(crate, module, code) {
  const found = new Map();
  for (const { isPublic, tree } of useStatements(code)) {
    if (!isPublic) continue;
    for (const { path, name } of leaves(tree)) {
      const target = fromRoot(crate, module, path);
      if (target !== undefined) found.set(name, target);
    }
  }
  return found;
}

/** All paths that start in this crate, from its root. */
function pathsIn(crate, module, code) {
  const found = [];
  const imported = new Map();
  const rest = code.replaceAll(USE, '');
  for (const { isPublic, tree } of useStatements(code)) {
    for (const { path, name } of leaves(tree)) {
      const target = fromRoot(crate, module, path);
      if (target === undefined || (isPublic && !new RegExp(`\\b${name}\\b`).test(rest))) continue;
      if (crate.fileOf.has(target.join('::'))) imported.set(name, target);
      else found.push(target);
    }
  }
  for (const [, text] of rest.matchAll(/(?<![\w:])((?:\w+\s*::\s*)+\w+)/g)) {
    const path = text.split('::').map((segment) => segment.trim());
    const module_ = imported.get(path[0]);
    const target = module_ ? [...module_, ...path.slice(1)] : fromRoot(crate, module, path);
    if (target !== undefined) found.push(target);
  }
  return found;
}

/** A path as written in a module, from the root of the crate; undefined when it leads to another crate. */
function fromRoot(crate, module, [first, ...rest]) {
  if (first === 'crate') return rest;
  if (first === 'self') return [...module, ...rest];
  if (first === 'super') return rest[0] === 'super' ? fromRoot(crate, module.slice(0, -1), rest) : [...module.slice(0, -1), ...rest];
  return crate.fileOf.has([...module, first].join('::')) ? [...module, first, ...rest] : undefined;
}

const USE = /(?<!\w)(pub(?:\s*\([^)]*\))?\s+)?use\s+([^;]+);/g;

function useStatements(code) {
  return [...code.matchAll(USE)].map(([, visibility, tree]) => ({ isPublic: visibility !== undefined, tree }));
}

/** `a::{b, c::D as E}`: the paths `a::b` and `a::c::D`, and the names that they get. */
function leaves(tree, prefix = []) {
  const text = tree.trim();
  const brace = text.indexOf('{');
  if (brace === -1) {
    const [path, alias] = text.split(/\s+as\s+/);
    const segments = [...prefix, ...path.split('::').map((segment) => segment.trim())];
    if (segments.at(-1) === 'self') segments.pop();
    return [{ path: segments, name: alias?.trim() ?? segments.at(-1) }];
  }
  const before = text.slice(0, brace).split('::').map((segment) => segment.trim()).filter(Boolean);
  const items = itemsOf(text.slice(brace + 1, text.lastIndexOf('}')));
  return items.flatMap((item) => leaves(item, [...prefix, ...before]));
}

/** The items of a list, at whose commas no brace is open. */
function itemsOf(text) {
  const items = [''];
  let level = 0;
  for (const character of text) {
    if (character === '{') level += 1;
    if (character === '}') level -= 1;
    if (character === ',' && level === 0) items.push('');
    else items[items.length - 1] += character;
  }
  return items.filter((item) => item.trim() !== '');
}

function withoutCommentsAndText(code) {
  const token = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|r(#*)"[\s\S]*?"\1|"(?:\\[\s\S]|[^"\\])*"|'(?:\\.|[^'\\])'/g;
  return code.replace(token, (found) => (found.startsWith('/') ? ' ' : '""'));
}

/** Without the modules and items that are there for tests alone. */
function withoutTests(code) {
  let rest = code;
  for (let at = rest.search(TEST); at !== -1; at = rest.search(TEST)) rest = rest.slice(0, at) + rest.slice(endOfItem(rest, at));
  return rest;
}

const TEST = /#\[cfg\(test\)\]/;

/** Behind the item that begins here: its `;` or the end of its braces. */
function endOfItem(code, start) {
  let level = 0;
  for (let at = start; at < code.length; at += 1) {
    if (code[at] === '{') level += 1;
    if (code[at] === '}') level -= 1;
    if (level === 0 && (code[at] === '}' || code[at] === ';')) return at + 1;
  }
  return code.length;
}

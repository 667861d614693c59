// What package.json and Cargo.toml promise about each other and about what is locked.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const root = join(__dirname, '../..');
const manifest = readFileSync(join(root, 'Cargo.toml'), 'utf8');
const { scripts, keywords, description, engines } = require('../../package.json') as {
  scripts: Record<string, string>;
  keywords: string[];
  description: string;
  engines: { node: string };
};

const parts = (version: string) => [...version.split('.').map(Number), 0, 0].slice(0, 3);
const compare = (a: string, b: string) => {
  const [left, right] = [parts(a), parts(b)];
  const index = left.findIndex((part, at) => part !== right[at]);
  return index === -1 ? 0 : left[index]! - right[index]!;
};

test('no locked crate needs a newer Rust than Cargo.toml names', async () => {
  const args = ['metadata', '--format-version', '1', '--locked', '--all-features'];
  const { stdout } = await promisify(execFile)('cargo', args, { cwd: root, maxBuffer: 2 ** 26 });
  const { packages } = JSON.parse(stdout) as { packages: Array<{ name: string; rust_version: string | null }> };
  const promised = packages.find(({ name }) => name === 'native-websocket-service')!.rust_version!;
  const newer = packages.filter(({ rust_version: needed }) => needed !== null && compare(needed, promised) > 0);

  expect(packages.length).toBeGreaterThan(100);
  expect(newer.map(({ name, rust_version: needed }) => `${name} needs Rust ${needed}`)).toEqual([]);
}, 60_000);

test('every profile that a script names is in Cargo.toml', () => {
  const known = ['dev', 'release', 'test', 'bench', ...[...manifest.matchAll(/^\[profile\.([\w-]+)\]/gm)].map((match) => match[1]!)];
  const named = Object.values(scripts).flatMap((script) => [...script.matchAll(/--profile[ =](\S+)/g)].map((match) => match[1]!));

  expect(named.length).toBeGreaterThan(0);
  expect(named.filter((profile) => !known.includes(profile))).toEqual([]);
});

test('the registry can find the package', () => {
  expect(description).toContain('Socket.IO');
  expect(keywords).toEqual(expect.arrayContaining(['socket.io', 'websocket']));
  expect(new Set(keywords).size).toBe(keywords.length);
});

test('Node.js is the same in package.json and in what prepares a clone', () => {
  const [, oldest] = /^const oldestNode = (\d+);$/m.exec(readFileSync(join(root, 'scripts', 'prepare.mjs'), 'utf8'))!;
  expect(engines.node).toBe(`>=${oldest}`);
});

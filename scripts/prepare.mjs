// What `npm start` and `npm test` share: check the tools, install the npm packages, build the addon. Each step leaves a
// stamp in .stamp/ and is skipped while nothing it depends on has changed. Node built-ins only: this runs before npm ci.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const stamps = join(root, '.stamp');

const windows = process.platform === 'win32';
const oldestNode = 20;
const addonSources = ['Cargo.toml', 'Cargo.lock', 'build.rs', '.cargo', 'rust-toolchain.toml', 'src'];

/** Says in one sentence why it cannot go on, and ends the process. */
export function fail(sentence) {
  console.error(`\n${sentence}`);
  process.exit(1);
}

export function say(text) {
  console.log(`> ${text}`);
}

/** Everything that must be there before an example or a test can run. */
export function prepare() {
  requireTools();
  installPackages();
  buildAddon();
}

function requireTools() {
  if (Number(process.versions.node.split('.')[0]) < oldestNode) {
    fail(`Node.js ${oldestNode} or newer is needed; this is ${process.version}.`);
  }
  addCargoToPath();
  const cargo = capture('cargo', ['--version']);
  if (cargo === undefined) {
    fail('Rust is needed to build the addon, and `cargo` was not found: install it from https://rustup.rs and try again.');
  }
  const oldestRust = /^rust-version\s*=\s*"([\d.]+)"/m.exec(readFileSync(join(root, 'Cargo.toml'), 'utf8'));
  const rust = /\d+\.\d+(\.\d+)?/.exec(cargo);
  if (oldestRust && rust && isOlder(rust[0], oldestRust[1])) {
    fail(`Rust ${oldestRust[1]} or newer is needed to build the addon; this is ${rust[0]}: run \`rustup update stable\`.`);
  }
  if (!windows && capture('cc', ['--version']) === undefined) {
    fail('A C linker is needed to build the addon, and `cc` was not found: install build-essential (Debian), gcc or the Xcode command line tools.');
  }
}

// A shell that was open before rustup was installed does not have its directory on the path yet.
function addCargoToPath() {
  const bin = join(process.env.CARGO_HOME || join(homedir(), '.cargo'), 'bin');
  if (existsSync(bin)) {
    process.env.PATH = `${process.env.PATH}${delimiter}${bin}`;
  }
}

function installPackages() {
  const wanted = hash(['package-lock.json', 'package.json']);
  if (existsSync(join(root, 'node_modules')) && readStamp('packages') === wanted) {
    return;
  }
  say('Installing the npm packages (npm ci)');
  // NODE_ENV=production would leave out the build tools.
  const done = run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund']);
  if (!done) {
    fail('The npm packages could not be installed: see the messages of npm ci above.');
  }
  writeStamp('packages', wanted);
}

function buildAddon() {
  const sources = hash(addonSources.concat('package.json'));
  if (readStamp('addon') === `${sources} ${builtFiles()}`) {
    return;
  }
  say('Building the addon (cargo, release profile); the first build takes a few minutes');
  if (!run('npm', ['run', '--silent', 'build'])) {
    fail('The addon could not be built: see the messages of the compiler above.');
  }
  writeStamp('addon', `${sources} ${builtFiles()}`);
}

/** Names and times of what the build wrote, so that a build made by hand or a deleted file is noticed. */
function builtFiles() {
  return readdirSync(root)
    .filter((name) => name.endsWith('.node') || name === 'binding.js' || name === 'binding.d.ts')
    .sort()
    .map((name) => `${name}@${Math.trunc(statSync(join(root, name)).mtimeMs)}`)
    .join(' ');
}

/** Runs a command in the repository with its output on this terminal; tells whether it succeeded. */
function run(command, args) {
  // npm is a command script on Windows, which only a shell can start; the arguments are constants of this file.
  return spawnSync(command, args, { cwd: root, stdio: 'inherit', shell: windows }).status === 0;
}

function capture(command, args) {
  const result = spawnSync(command, args, { encoding: 'utf8', cwd: root });
  return result.status === 0 ? result.stdout : undefined;
}

function isOlder(version, limit) {
  const parts = version.split('.').map(Number);
  const limits = limit.split('.').map(Number);
  const index = limits.findIndex((part, at) => part !== (parts[at] || 0));
  return index !== -1 && (parts[index] || 0) < limits[index];
}

function hash(paths) {
  const sum = createHash('sha256');
  for (const path of paths.flatMap(filesUnder)) {
    sum.update(`${path}\0`).update(readFileSync(join(root, path))).update('\0');
  }
  return sum.digest('hex');
}

function filesUnder(path) {
  const full = join(root, path);
  if (!existsSync(full)) {
    return [];
  }
  if (!statSync(full).isDirectory()) {
    return [path];
  }
  return readdirSync(full).sort().flatMap((name) => filesUnder(`${path}/${name}`));
}

function readStamp(name) {
  const file = join(stamps, name);
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

function writeStamp(name, value) {
  mkdirSync(stamps, { recursive: true });
  writeFileSync(join(stamps, name), value);
}

// What the npm commands share: see to the programs that they need, install the npm packages, build the addon, compile the
// library. The last three leave stamps in .stamp/ and are skipped while nothing they depend on has changed. Node built-ins only: this runs
// before npm ci.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { copyClient } from './client-bundle.mjs';
import { buildLibrary } from './library.mjs';
import { requirePrograms } from './programs.mjs';
import { fail, say } from './terminal.mjs';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const stamps = join(root, '.stamp');

const windows = process.platform === 'win32';
const oldestNode = 20;
const addonSources = ['Cargo.toml', 'Cargo.lock', 'build.rs', '.cargo', 'rust-toolchain.toml', 'src'];

/**
 * Everything that must be there before an example or a test can run; `needed` are the programs that `command` needs
 * besides those that build the addon. With `rebuild: false` an addon that is there is taken as it is.
 */
export function prepare(command, needed = [], { rebuild = true } = {}) {
  if (Number(process.versions.node.split('.')[0]) < oldestNode) {
    fail(`Node.js ${oldestNode} or newer is needed; this is ${process.version}.`);
  }
  requirePrograms(command, ['cargo', 'cc', ...needed]);
  installPackages();
  copyClient();
  if (rebuild || !builtFiles().includes('.node@')) {
    buildAddon();
  }
  compileLibrary();
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

function compileLibrary() {
  const sources = hash(['lib', 'index.d.ts', 'binding.d.ts', 'package-lock.json']);
  if (existsSync(join(root, 'dist')) && readStamp('library') === sources) {
    return;
  }
  say('Compiling the library (tsc)');
  buildLibrary();
  writeStamp('library', sources);
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

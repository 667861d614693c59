// The programs that the npm commands need besides Node.js and npm: what for, where they are, and how they come onto this
// machine. Node built-ins only: this runs before npm ci.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, delimiter, dirname, isAbsolute, join, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fail, say } from './terminal.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const windows = process.platform === 'win32';
const oldestRust = /^rust-version\s*=\s*"([\d.]+)"/m.exec(readFileSync(join(root, 'Cargo.toml'), 'utf8'))[1];

/**
 * `names`: what it may be called, on the path or elsewhere, best first. `variable`: what names another one, and tells
 * child processes which was found. `version`: how it is asked, what it answers, and the oldest that will do. `packages`:
 * what brings it, by package manager. `otherwise`: where it comes from when none does.
 */
const programs = {
  cargo: {
    what: `Rust ${oldestRust} or newer (cargo)`,
    purpose: 'builds the addon',
    names: () => ['cargo', join(process.env.CARGO_HOME || join(homedir(), '.cargo'), 'bin', 'cargo')],
    version: { args: ['--version'], pattern: /^cargo (\d+\.\d+(\.\d+)?)/, oldest: oldestRust },
    packages: {},
    otherwise: (found) => (found ? 'rustup update stable' : 'Rust: https://rustup.rs'),
  },
  cc: {
    what: 'a C compiler (cc)',
    purpose: 'links the addon',
    names: () => ['cc'],
    // On macOS there is always a `cc`, which does nothing until the tools are installed.
    version: { args: ['--version'] },
    packages: { 'apt-get': 'build-essential', dnf: 'gcc', pacman: 'gcc', apk: 'build-base', zypper: 'gcc' },
    otherwise: () => (process.platform === 'darwin' ? 'xcode-select --install' : 'a C compiler: gcc or clang'),
  },
  'c++': {
    what: 'a C++ compiler (c++)',
    purpose: 'builds libFuzzer',
    names: () => ['c++'],
    version: { args: ['--version'] },
    packages: { 'apt-get': 'build-essential', dnf: 'gcc-c++', pacman: 'gcc', apk: 'build-base', zypper: 'gcc-c++' },
    otherwise: () => (process.platform === 'darwin' ? 'xcode-select --install' : 'a C++ compiler: g++ or clang++'),
  },
  redis: {
    what: 'Redis 7 or newer, or Valkey (redis-server or valkey-server)',
    purpose: 'makes several servers one',
    variable: 'REDIS_SERVER',
    names: () => ['redis-server', 'valkey-server'],
    version: { args: ['--version'], pattern: /^(?:Redis|Valkey) server v=(\d+\.\d+)/, oldest: '7' },
    packages: { 'apt-get': 'redis-server', dnf: 'valkey', pacman: 'valkey', apk: 'redis', zypper: 'redis', brew: 'redis' },
    otherwise: () => 'Redis or Valkey: https://redis.io/downloads or https://valkey.io/download',
  },
  'redis-cli': {
    what: 'its command line (redis-cli or valkey-cli)',
    purpose: 'tells the Redis of a test what to do',
    names: () => [beside(find('redis').path ?? 'redis-server')],
    packages: { 'apt-get': 'redis-tools', dnf: 'valkey', pacman: 'valkey', apk: 'redis', zypper: 'redis', brew: 'redis' },
    otherwise: () => 'Redis or Valkey: https://redis.io/downloads or https://valkey.io/download',
  },
  openssl: {
    what: 'OpenSSL 3 or newer (openssl)',
    purpose: 'makes the certificates of tests',
    names: () => ['openssl', '/opt/homebrew/opt/openssl@3/bin/openssl', '/usr/local/opt/openssl@3/bin/openssl'],
    version: { args: ['version'], pattern: /^OpenSSL (\d+\.\d+)/, oldest: '3' },
    packages: { 'apt-get': 'openssl', dnf: 'openssl', pacman: 'openssl', apk: 'openssl', zypper: 'openssl', brew: 'openssl@3' },
    otherwise: () => 'OpenSSL: https://openssl-library.org/source',
  },
  browser: {
    what: 'Chromium or Chrome',
    purpose: 'opens the demo in tests',
    variable: 'CHROMIUM',
    names: () => [
      ...['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome'],
      ...['Google Chrome', 'Chromium'].map((name) => `/Applications/${name}.app/Contents/MacOS/${name}`),
    ],
    packages: {
      // Ubuntu's package is a stub for a snap, which does not see the files of tests.
      'apt-get': isUbuntu() ? undefined : 'chromium',
      ...{ dnf: 'chromium', pacman: 'chromium', apk: 'chromium', zypper: 'chromium', brew: '--cask google-chrome' },
    },
    otherwise: () => 'Chrome: https://www.google.com/chrome',
  },
  taskset: {
    what: 'taskset, of util-linux',
    purpose: 'gives each program of a benchmark its core',
    names: () => ['taskset'],
    packages: { 'apt-get': 'util-linux', dnf: 'util-linux-core', pacman: 'util-linux', apk: 'util-linux', zypper: 'util-linux' },
    otherwise: () => 'util-linux, on Linux',
  },
};

/** Best first. On macOS only Homebrew is looked for. */
const managers = {
  'apt-get': 'apt-get install',
  dnf: 'dnf install',
  pacman: 'pacman -S',
  apk: 'apk add',
  zypper: 'zypper install',
  brew: 'brew install',
};

/**
 * Sees to it that programs are there, before anything is started: on Debian and Ubuntu it installs what is missing, if
 * this user may; otherwise it says what is missing, what for and where it comes from, and ends the process.
 */
export function requirePrograms(command, needed) {
  let missing = nameFound(needed);
  const packages = packagesFor('apt-get', missing);
  const asRoot = missing.length > 0 && packages.missing.length === 0 ? privilege() : undefined;
  if (asRoot) {
    install(command, packages.names, asRoot);
    missing = nameFound(needed);
  }
  if (missing.length > 0) {
    fail(explanation(command, missing));
  }
}

/** Tells child processes where the programs are; returns those that are missing. */
export function nameFound(needed) {
  const missing = [];
  for (const name of needed) {
    const { path, fault } = find(name);
    const { variable } = programs[name];
    if (path === undefined) {
      missing.push({ ...programs[name], fault });
    } else if (variable) {
      process.env[variable] = path;
    } else if (candidates(basename(path))[0] !== path) {
      process.env.PATH = `${dirname(path)}${delimiter}${process.env.PATH}`;
    }
  }
  return missing;
}

/** Path of a program that will do; without one, what is wrong with the first that will not, if there is any. */
export function find(name) {
  const { names, variable, version } = programs[name];
  const named = variable && process.env[variable];
  let firstFault;
  for (const path of named ? candidates(named) : names().flatMap(candidates)) {
    const fault = version && faultOf(path, version);
    if (!fault) {
      return { path };
    }
    firstFault ??= fault;
  }
  return { fault: firstFault ?? (named && `${variable} is ${named}, which is no program`) };
}

/** All files that a name stands for and that may be run. */
function candidates(name) {
  const paths = name.includes('/') || name.includes(sep)
    ? [isAbsolute(name) ? name : resolve(name)]
    : (process.env.PATH ?? '').split(delimiter).filter(Boolean).map((folder) => join(folder, name));
  return paths.flatMap((path) => (windows ? [path, `${path}.exe`] : [path])).filter(isExecutable);
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function faultOf(path, { args, pattern, oldest }) {
  const { status, stdout } = spawnSync(path, args, { encoding: 'utf8', cwd: root });
  if (status !== 0) {
    return `${path} does not work`;
  }
  const found = pattern?.exec(stdout)?.[1];
  if (!pattern || (found && !isOlder(found, oldest))) {
    return undefined;
  }
  return `${path} is ${found ?? stdout.split('\n', 1)[0]}`;
}

export function isOlder(version, limit) {
  const parts = version.split('.').map(Number);
  const limits = limit.split('.').map(Number);
  const index = limits.findIndex((part, at) => part !== (parts[at] || 0));
  return index !== -1 && (parts[index] || 0) < limits[index];
}

/** `redis-cli` for `redis-server`, wherever that is. */
function beside(server) {
  return join(dirname(server), basename(server).replace('server', 'cli'));
}

/* Installing */

/** What a package manager has, each once, and the programs for which it has nothing. */
function packagesFor(manager, missing) {
  const names = missing.map(({ packages }) => packages[manager]);
  return { names: [...new Set(names.filter(Boolean))], missing: missing.filter((_, index) => !names[index]) };
}

/** What goes before `apt-get` so that it may install; undefined where it cannot. */
function privilege() {
  if (process.platform !== 'linux' || candidates('apt-get').length === 0) {
    return undefined;
  }
  if (process.getuid() === 0) {
    return [];
  }
  if (candidates('sudo').length === 0) {
    return undefined;
  }
  if (spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0) {
    return ['sudo', '-n'];
  }
  return process.stdin.isTTY ? ['sudo'] : undefined;
}

function install(command, packages, asRoot) {
  const how = asRoot.length > 0 ? 'sudo apt-get' : 'apt-get';
  say(`Installing ${packages.join(', ')}, which ${command} needs (${how})`);
  // Nothing may ask anything; a package manager that is at work already is waited for.
  const aptGet = [...asRoot, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-o', 'DPkg::Lock::Timeout=120'];
  const run = (...args) => {
    const [program, ...rest] = [...aptGet, ...args];
    // sudo asks for the password on the terminal itself.
    return spawnSync(program, rest, { stdio: ['ignore', 'inherit', 'inherit'] }).status === 0;
  };
  // A source that does not answer need not be the one that has the packages.
  run('update');
  if (!run('install', '-y', '--no-install-recommends', ...packages)) {
    fail(`${command} needs ${packages.join(', ')}, and ${how} could not install that: see its messages above.`);
  }
}

function explanation(command, missing) {
  const lines = missing.map(
    ({ what, purpose, variable, fault }) =>
      `  ${what}: ${purpose}${fault ? ` (${fault})` : ''}${variable ? `; ${variable} may name one` : ''}`,
  );
  return [
    `${command} needs what this machine does not have:`,
    ...lines,
    'Install it and try again:',
    ...ways(missing).map((way) => `  ${way}`),
  ].join('\n');
}

/** Commands, and addresses of what no package manager here has. */
function ways(missing) {
  const mac = process.platform === 'darwin';
  const manager = Object.keys(managers).find((name) => mac === (name === 'brew') && candidates(name).length > 0);
  const packages = packagesFor(manager, missing);
  const sudo = mac || process.getuid?.() === 0 ? '' : 'sudo ';
  // Homebrew takes programs with windows by themselves.
  const groups = [packages.names.filter((name) => !name.startsWith('--')), packages.names.filter((name) => name.startsWith('--'))];
  return [
    ...groups.filter((names) => names.length > 0).map((names) => `${sudo}${managers[manager]} ${names.join(' ')}`),
    ...new Set(packages.missing.map(({ otherwise, fault }) => otherwise(fault))),
  ];
}

function isUbuntu() {
  try {
    return /^ID=ubuntu$/m.test(readFileSync('/etc/os-release', 'utf8'));
  } catch {
    return false;
  }
}

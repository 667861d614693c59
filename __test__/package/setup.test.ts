// What the npm commands do on a machine where programs are missing: in a clone of what they consist of, with a path on
// which stands only what a test puts there. Programs are shell scripts that write down how they are called.
import { spawn } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { freePort } from '../support/redis';
import { afterTest } from '../support/harness';

const root = join(__dirname, '../..');
const parts = ['package.json', 'package-lock.json', 'Cargo.toml', 'scripts', 'examples', 'bench'];

const commands: Record<string, string[]> = {
  'npm start': ['scripts/start.mjs'],
  'npm test': ['scripts/test.mjs'],
  'npm run cluster': ['scripts/cluster.mjs'],
  'npm run bench': ['bench/run.mjs'],
};

const cargo = { cargo: 'echo "cargo 1.999.0 (abcdef 2030-01-01)"' };
const compilers = { ...cargo, cc: 'echo "cc 1.2.3"' };
const redis = (version: string) => ({ 'redis-server': `echo "Redis server v=${version} sha=0 bits=64"`, 'redis-cli': '' });
const valkey = { 'valkey-server': 'echo "Valkey server v=8.1.4 sha=0 bits=64"', 'valkey-cli': '' };
const openssl = (version = 'OpenSSL 3.0.17 1 Jul 2030') => ({ openssl: `echo "${version}"` });
const all = { ...compilers, ...redis('7.0.15'), ...openssl(), chromium: '' };

/** What Debian's packages bring, by the package that apt-get is asked for. */
const archive: Record<string, Record<string, string>> = {
  'build-essential': { cc: compilers.cc },
  'redis-server': { 'redis-server': redis('7.0.15')['redis-server'] },
  'redis-tools': { 'redis-cli': '' },
  openssl: openssl(),
  chromium: { chromium: '' },
};

interface Outcome {
  code: number | null;
  output: string;
  /** How programs were called, other than to ask for their version. */
  calls: string[];
  /** Whether the programs were all there: then npm is asked for the packages. */
  wentOn: boolean;
}

class Machine {
  readonly folder = mkdtempSync(join(tmpdir(), 'setup-'));
  readonly clone = join(this.folder, 'clone');
  readonly path = join(this.folder, 'bin');
  readonly log = join(this.folder, 'log');

  constructor(programs: Record<string, string>) {
    afterTest(() => rmSync(this.folder, { recursive: true, force: true }));
    mkdirSync(this.path);
    const filter = (file: string) => !['node_modules', 'load'].includes(basename(file));
    for (const part of parts) cpSync(join(root, part), join(this.clone, part), { recursive: true, filter });
    writeFileSync(this.log, '');
    // The packages never come, so that nothing more is done.
    this.add({ npm: 'exit 1', ...programs });
    symlinkSync('/usr/bin/env', join(this.path, 'env'));
  }

  add(programs: Record<string, string>, folder = this.path): void {
    mkdirSync(folder, { recursive: true });
    for (const [name, lines] of Object.entries(programs)) {
      writeFileSync(join(folder, name), `#!/bin/sh\necho "\${0##*/} $*" >> ${this.log}\n${lines}\n`);
      chmodSync(join(folder, name), 0o755);
    }
  }

  /** With Debian's apt-get, which has the packages of `archive` and those given. */
  withAptGet(packages: Record<string, Record<string, string>> = {}): this {
    for (const [name, programs] of Object.entries({ ...archive, ...packages })) {
      this.add(programs, join(this.folder, 'archive', name));
    }
    const install = `cp ${this.folder}/archive/$word/* ${this.path}/`;
    this.add({ 'apt-get': `PATH=/usr/bin:/bin; for word; do [ ! -d ${this.folder}/archive/$word ] || ${install}; done` });
    return this;
  }

  async run(command: string, { user = 1000, platform = 'linux', release = 'debian', args = [] as string[], env = {} } = {}): Promise<Outcome> {
    const identity = `
      import fs, { readFileSync } from 'node:fs';
      import { syncBuiltinESMExports } from 'node:module';
      process.getuid = () => ${user};
      Object.defineProperty(process, 'platform', { value: '${platform}' });
      const read = readFileSync;
      fs.readFileSync = (file, ...rest) => (file === '/etc/os-release' ? 'ID=${release}' : read(file, ...rest));
      syncBuiltinESMExports();`;
    const before = this.#files();
    const port = await freePort();
    return new Promise((done) => {
      const child = spawn(process.execPath, [...commands[command]!, ...args], {
        cwd: this.clone,
        env: {
          PATH: this.path,
          HOME: this.folder,
          PORT: String(port),
          NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(identity)}`,
          ...env,
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let output = '';
      for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
      child.once('close', (code) => {
        const calls = readFileSync(this.log, 'utf8').split('\n').filter((call) => call && !/ (--)?version$/.test(call));
        const wentOn = calls.at(-1) === 'npm ci --include=dev --no-audit --no-fund';
        expect(output).not.toMatch(/^ +at /m);
        expect(this.#files()).toEqual(before);
        done({ code, output, calls, wentOn });
      });
    });
  }

  #files(): string[] {
    return readdirSync(this.clone).sort();
  }
}

/** What is missing, in the words of the explanation. */
const named = ({ output }: Outcome) => {
  const [list = ''] = output.split('Install it and try again:');
  return [...list.matchAll(/^ {2}(.+?): /gm)].map(([, what]) => what);
};

const words = {
  rust: expect.stringMatching(/^Rust [\d.]+ or newer \(cargo\)$/),
  cc: 'a C compiler (cc)',
  redis: 'Redis 7 or newer, or Valkey (redis-server or valkey-server)',
  cli: 'its command line (redis-cli or valkey-cli)',
  openssl: 'OpenSSL 3 or newer (openssl)',
  browser: 'Chromium or Chrome',
  taskset: 'taskset, of util-linux',
};

describe('a machine that can install nothing', () => {
  test.each([
    ['npm start', [words.rust, words.cc]],
    ['npm test', [words.rust, words.cc, words.redis, words.cli, words.openssl, words.browser]],
    ['npm run cluster', [words.rust, words.cc, words.redis]],
    ['npm run bench', [words.rust, words.cc, words.taskset, words.redis]],
  ])('%s says what it needs, and starts nothing', async (command, expected) => {
    const outcome = await new Machine({}).run(command);

    expect(outcome).toMatchObject({ code: 1, calls: [] });
    expect(outcome.output).toContain(`${command} needs what this machine does not have:`);
    expect(named(outcome)).toEqual(expected);
  });

  test.each([
    ['npm start', compilers],
    ['npm test', all],
    ['npm run cluster', { ...compilers, ...redis('7.4.1') }],
    ['npm run bench', { ...compilers, ...redis('8.2.0'), taskset: '' }],
  ])('%s needs no more than that', async (command, programs) => {
    expect(await new Machine(programs).run(command)).toMatchObject({ code: 1, wentOn: true });
  });

  test('a Redis that is named in REDIS_URL need not be installed', async () => {
    const outcome = await new Machine(compilers).run('npm run cluster', { env: { REDIS_URL: 'redis://localhost' } });
    expect(outcome.wentOn).toBe(true);
  });

  test('a row of the benchmark without a cluster needs no Redis', async () => {
    const outcome = await new Machine({ ...compilers, taskset: '' }).run('npm run bench', { args: ['P1'] });
    expect(outcome.wentOn).toBe(true);
  });

  test.each([
    ['dnf', 'linux', 'sudo dnf install gcc valkey openssl chromium'],
    ['pacman', 'linux', 'sudo pacman -S gcc valkey openssl chromium'],
    ['apk', 'linux', 'sudo apk add build-base redis openssl chromium'],
    ['zypper', 'linux', 'sudo zypper install gcc redis openssl chromium'],
    ['brew', 'darwin', 'brew install redis openssl@3\n  brew install --cask google-chrome\n  xcode-select --install'],
  ])('%s is told what to install', async (manager, platform, lines) => {
    const outcome = await new Machine({ ...cargo, [manager]: '' }).run('npm test', { platform });

    expect(outcome).toMatchObject({ code: 1, calls: [] });
    expect(outcome.output).toContain(`Install it and try again:\n  ${lines}\n`);
  });
});

describe('Debian', () => {
  const aptGet = 'apt-get -o DPkg::Lock::Timeout=120';

  test('root gets what is missing, and nothing else', async () => {
    const machine = new Machine({ ...compilers, ...openssl() }).withAptGet();
    const outcome = await machine.run('npm test', { user: 0 });

    expect(outcome.calls.slice(0, 2)).toEqual([
      `${aptGet} update`,
      `${aptGet} install -y --no-install-recommends redis-server redis-tools chromium`,
    ]);
    expect(outcome.wentOn).toBe(true);
  });

  test('nothing is installed where nothing is missing', async () => {
    const outcome = await new Machine(all).withAptGet().run('npm test', { user: 0 });
    expect(outcome.calls).toEqual(['npm ci --include=dev --no-audit --no-fund']);
  });

  test('others get it through sudo, without being asked', async () => {
    const sudo = { sudo: '[ "$1" != -n ] || shift; [ "$1" = true ] || exec "$@"' };
    const outcome = await new Machine({ ...cargo, ...sudo }).withAptGet().run('npm start');

    expect(outcome.calls).toContain(
      `sudo -n env DEBIAN_FRONTEND=noninteractive ${aptGet} install -y --no-install-recommends build-essential`,
    );
    expect(outcome.wentOn).toBe(true);
  });

  test.each([
    ['without sudo', {}],
    ['with a sudo that wants a password and no terminal', { sudo: 'exit 1' }],
  ])('%s they are told the command', async (_case, sudo) => {
    const outcome = await new Machine({ ...compilers, ...sudo }).withAptGet().run('npm test');

    expect(outcome.code).toBe(1);
    expect(outcome.output).toMatch(/^ {2}sudo apt-get install redis-server redis-tools openssl chromium$/m);
    expect(outcome.calls.filter((call) => call.startsWith('apt-get'))).toEqual([]);
  });

  test('nothing is installed when not all can be', async () => {
    const outcome = await new Machine({}).withAptGet().run('npm start', { user: 0 });

    expect(outcome).toMatchObject({ code: 1, calls: [] });
    expect(outcome.output).toContain('  apt-get install build-essential\n  Rust: https://rustup.rs\n');
  });

  test('Ubuntu has no browser for tests in its archive', async () => {
    const machine = new Machine({ ...compilers, ...redis('7.0.15') }).withAptGet();
    const outcome = await machine.run('npm test', { user: 0, release: 'ubuntu' });

    expect(outcome).toMatchObject({ code: 1, calls: [] });
    expect(outcome.output).toContain('  apt-get install openssl\n  Chrome: https://www.google.com/chrome\n');
  });

  test('an apt-get that fails is told of in one sentence', async () => {
    const machine = new Machine({ ...compilers, 'apt-get': 'exit 100' });
    const outcome = await machine.run('npm run cluster', { user: 0 });

    expect(outcome).toMatchObject({ code: 1, wentOn: false });
    expect(outcome.output.trim().split('\n').at(-1)).toBe(
      'npm run cluster needs redis-server, and apt-get could not install that: see its messages above.',
    );
  });

  test('a release with an older Redis is told so', async () => {
    const old = { 'redis-server': { 'redis-server': redis('6.0.16')['redis-server'] } };
    const machine = new Machine(compilers).withAptGet(old);
    const outcome = await machine.run('npm run cluster', { user: 0 });

    expect(outcome).toMatchObject({ code: 1, wentOn: false });
    expect(outcome.output).toContain(`${join(machine.path, 'redis-server')} is 6.0`);
  });
});

describe('programs', () => {
  const valkeyOnly = { ...compilers, ...valkey, ...openssl(), 'google-chrome-stable': '' };

  test('Valkey and Chrome will do', async () => {
    expect(await new Machine(valkeyOnly).run('npm test')).toMatchObject({ wentOn: true });
  });

  test('a program is taken from where its variable says', async () => {
    const machine = new Machine({ ...compilers, ...openssl() });
    const elsewhere = join(machine.folder, 'elsewhere');
    machine.add({ ...valkey, browser: '' }, elsewhere);
    const env = { REDIS_SERVER: join(elsewhere, 'valkey-server'), CHROMIUM: join(elsewhere, 'browser') };

    expect(await machine.run('npm test', { env })).toMatchObject({ wentOn: true });
  });

  test('a variable that names nothing is told so', async () => {
    const outcome = await new Machine(all).run('npm test', { env: { REDIS_SERVER: '/nowhere/redis-server' } });
    expect(outcome.output).toContain('REDIS_SERVER is /nowhere/redis-server, which is no program');
  });

  test('Rust is found where rustup puts it', async () => {
    const machine = new Machine({ cc: compilers.cc });
    machine.add(cargo, join(machine.folder, '.cargo', 'bin'));
    expect(await machine.run('npm start')).toMatchObject({ wentOn: true });
  });

  test.each<[string, Record<string, string>, RegExp]>([
    ['an old Rust', { cargo: 'echo "cargo 1.70.0 (abcdef 2023-01-01)"' }, /cargo is 1\.70\.0\)[^]*\n {2}rustup update stable$/m],
    ['a cc that only asks for tools', { cc: 'exit 1' }, /cc does not work\)/],
    ['an OpenSSL of old', openssl('OpenSSL 1.1.1n  15 Mar 2022'), /openssl is 1\.1\)/],
    ['another OpenSSL', openssl('LibreSSL 3.3.6'), /openssl is LibreSSL 3\.3\.6\)/],
  ])('%s is no use', async (_case, program, expected) => {
    const outcome = await new Machine({ ...all, ...program }).run('npm test');

    expect(outcome).toMatchObject({ code: 1, calls: [] });
    expect(outcome.output).toMatch(expected);
  });

  // Valkey is a Redis by another name; where only that name is on the path, servers start all the same.
  test('the demo runs on a valkey-server', async () => {
    const machine = new Machine({});
    symlinkSync(process.env.REDIS_SERVER!, join(machine.path, 'valkey-server'));
    const { REDIS_SERVER: _found, ...env } = process.env;
    const demo = spawn(process.execPath, [join(root, 'examples/chat/cluster.mjs')], {
      env: { ...env, PATH: machine.path, PORT: '0', REDIS_URL: '' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let output = '';
    demo.stdout.setEncoding('utf8').on('data', (text) => {
      output += text;
      if (text.includes('Commands:')) demo.stdin.write('quit\n');
    });
    await new Promise((done) => demo.once('close', done));

    expect(output).toContain('Redis runs (');
    expect(output).toContain('The chat is at http://localhost:');
  });
});

// Where the addon cannot be loaded, the error says which platform this is and what helps, in our words.
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterTest } from '../support/harness';

const root = join(__dirname, '../..');
const { name, napi } = require('../../package.json') as { name: string; napi: { targets: string[] } };

/** The targets of package.json, as files and packages are named after them. */
let supported: string[];

beforeAll(async () => {
  const program = `
    import { parseTriple } from '@napi-rs/cli';
    console.log(JSON.stringify(${JSON.stringify(napi.targets)}.map((target) => parseTriple(target).platformArchABI)));
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], { cwd: root });
  supported = JSON.parse(stdout);
});

interface Failure {
  code: string;
  message: string;
  cause: string;
}

/** The package without an addon. */
function copy(): string {
  const folder = mkdtempSync(join(tmpdir(), 'addon-'));
  afterTest(() => rmSync(folder, { recursive: true, force: true }));
  for (const part of ['package.json', 'index.js', 'index.mjs', 'binding.js', 'dist']) {
    cpSync(join(root, part), join(folder, part), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}

interface Platform {
  platform?: string;
  arch?: string;
  glibc?: boolean;
  env?: Record<string, string>;
}

/** What loading it on a platform fails with. */
async function load(folder: string, { platform = 'linux', arch = 'x64', glibc = true, env = {} }: Platform = {}): Promise<Failure> {
  const pretend = `
    Object.defineProperty(process, 'platform', { value: '${platform}' });
    Object.defineProperty(process, 'arch', { value: '${arch}' });
    process.report.getReport = () => ({ header: { glibcVersionRuntime: ${glibc ? "'2.36'" : 'undefined'} } });
    const tell = ({ code, message, cause }) => console.log(JSON.stringify({ code, message, cause: cause.message }));
  `;
  const program = `${pretend} try { require('./index.js'); } catch (error) { tell(error); }`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--eval', program], { cwd: folder, env: { ...process.env, ...env } });
  const failure = JSON.parse(stdout) as Failure;
  expect(failure.message).not.toMatch(/wasm|wasi|npm has a bug|Require stack/i);
  return failure;
}

test.each<[string, Platform]>([
  ['linux-riscv64-gnu', { arch: 'riscv64' }],
  ['linux-arm-musl', { arch: 'arm', glibc: false }],
  ['freebsd-x64', { platform: 'freebsd' }],
  ['android-arm64', { platform: 'android', arch: 'arm64' }],
  ['win32-arm64-msvc', { platform: 'win32', arch: 'arm64' }],
])('%s is no platform of ours', async (platform, pretended) => {
  const { code, message, cause } = await load(copy(), pretended);

  expect(code).toBe('ERR_UNSUPPORTED_PLATFORM');
  expect(message).toContain(`${name} has no addon for ${platform}, which is this platform, only for ${supported.join(', ')}:`);
  expect(cause).toMatch(/native binding/);
});

test.each<[string, Platform]>([
  ['linux-x64-gnu', {}],
  ['linux-arm64-musl', { arch: 'arm64', glibc: false }],
  ['darwin-arm64', { platform: 'darwin', arch: 'arm64' }],
  ['win32-x64-msvc', { platform: 'win32' }],
])('%s without its package is told how to install it', async (platform, pretended) => {
  const { code, message, cause } = await load(copy(), pretended);

  expect(code).toBe('ERR_ADDON_NOT_LOADED');
  expect(message).toContain(`the optional package ${name}-${platform}.`);
  expect(message).toContain('`npm install --include=optional`');
  expect(cause).toMatch(/native binding/);
});

test('an addon that does not load is named, with the reason', async () => {
  const folder = copy();
  const addon = join(folder, `${name}.linux-x64-gnu.node`);
  writeFileSync(addon, 'nothing that can be loaded');
  const { code, message } = await load(folder);

  expect(code).toBe('ERR_ADDON_NOT_LOADED');
  expect(message).toContain(`cannot be loaded (${addon}): `);
});

test('so is one that is named in the environment', async () => {
  const folder = copy();
  const addon = join(folder, 'other.node');
  writeFileSync(addon, 'nothing that can be loaded');
  const { message } = await load(folder, { env: { NAPI_RS_NATIVE_LIBRARY_PATH: addon } });

  expect(message).toContain(`cannot be loaded (${addon}): `);
});

test.each([
  ['built for another platform', ['Cargo.toml']],
  ['not built at all', ['Cargo.toml', 'binding.js']],
])('a clone that is %s is told to build', async (_case, changed) => {
  const folder = copy();
  cpSync(join(root, 'Cargo.toml'), join(folder, 'Cargo.toml'));
  if (changed.includes('binding.js')) rmSync(join(folder, 'binding.js'));
  const { code, message } = await load(folder, { arch: 'riscv64' });

  expect([code, message]).toEqual(['ERR_ADDON_NOT_LOADED', `${name} has not been built for linux-riscv64-gnu: run \`npm run build\`.`]);
});

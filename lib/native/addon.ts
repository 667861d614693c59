// Loads the native side. Where that cannot be done, it says which platform this is and what helps.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { LoadErrorCode } from '../../index.js';

const { name } = require('../../package.json') as { name: string };

/** As `napi.targets` of package.json, in the names that their files and packages have. */
const PLATFORMS = [
  'linux-x64-gnu',
  'linux-arm64-gnu',
  'linux-x64-musl',
  'linux-arm64-musl',
  'darwin-x64',
  'darwin-arm64',
  'win32-x64-msvc',
];

function load(): typeof import('../../binding.js') {
  try {
    return require('../../binding.js');
  } catch (cause) {
    const { code, message } = explain(cause);
    throw Object.assign(new Error(`${name} ${message}`, { cause }), { code });
  }
}

/** What the generated loader leaves out: it only lists where it has looked. */
function explain(cause: unknown): { code: LoadErrorCode; message: string } {
  const platform = thisPlatform();
  const addon = addonOf(platform);
  if (addon !== undefined) {
    const message = `has an addon for ${platform}, which cannot be loaded (${addon}): ${faultOf(addon) ?? messageOf(cause)}`;
    return { code: 'ERR_ADDON_NOT_LOADED', message };
  }
  // A clone of the repository, which may be built for any platform.
  if (existsSync(join(__dirname, '../..', 'Cargo.toml'))) {
    return { code: 'ERR_ADDON_NOT_LOADED', message: `has not been built for ${platform}: run \`npm run build\`.` };
  }
  if (!PLATFORMS.includes(platform)) {
    const message = `has no addon for ${platform}, which is this platform, only for ${PLATFORMS.join(', ')}: run it on one of these.`;
    return { code: 'ERR_UNSUPPORTED_PLATFORM', message };
  }
  const message =
    `lacks its addon for ${platform}, the optional package ${name}-${platform}. It is left out by \`--omit=optional\` and when ` +
    'node_modules or package-lock.json come from another platform: run `npm install --include=optional` here, after removing ' +
    'both if that alone does not help.';
  return { code: 'ERR_ADDON_NOT_LOADED', message };
}

function thisPlatform(): string {
  const { platform, arch } = process;
  const abi = platform === 'linux' ? libc() : platform === 'win32' ? 'msvc' : undefined;
  return [platform, arch, abi].filter(Boolean).join('-');
}

function libc(): 'gnu' | 'musl' {
  const { header } = process.report.getReport() as { header: { glibcVersionRuntime?: string } };
  const { glibcVersionRuntime } = header;
  return glibcVersionRuntime ? 'gnu' : 'musl';
}

/** Where the addon is, if it is anywhere that it is looked for. */
function addonOf(platform: string): string | undefined {
  const { NAPI_RS_NATIVE_LIBRARY_PATH: named } = process.env;
  const requests = [...(named ? [named] : []), `../../${name}.${platform}.node`, `${name}-${platform}`];
  return requests.map(resolved).find((path) => path !== undefined);
}

function resolved(request: string): string | undefined {
  try {
    return require.resolve(request);
  } catch {
    return undefined;
  }
}

function faultOf(addon: string): string | undefined {
  try {
    require(addon);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export const { builtInEvents, MAX_ATTACHMENTS, MOST_PUBLISHED, NativeService, reservedEvents, Tag } = load();
export type Tag = import('../../binding.js').Tag;

// `index.d.ts` in both major versions of TypeScript, under every module resolution, without `skipLibCheck`.

import { execFile } from 'node:child_process';
import { join } from 'node:path';

const packages = join(__dirname, '../../node_modules');
const compilers: Array<[name: string, file: string]> = [
  ['TypeScript 7', join(packages, '.bin/tsc')],
  ['TypeScript 6', join(packages, 'typescript-6/bin/tsc')],
];
const resolutions: Array<[resolution: string, module: string]> = [
  ['node16', 'node16'],
  ['nodenext', 'nodenext'],
  ['bundler', 'esnext'],
];
const sources = ['module.mts', 'documented.mts', 'sockets.mts', 'common.cts'];

function compile(compiler: string, options: string[]): Promise<string> {
  return new Promise((done) =>
    execFile(process.execPath, [compiler, ...options], { cwd: __dirname }, (error, stdout, stderr) =>
      done(error ? stdout + stderr || error.message : ''),
    ),
  );
}

describe.each(compilers)('%s', (_name, compiler) => {
  const options = ['--ignoreConfig', '--noEmit', '--strict', '--target', 'es2022', '--lib', 'es2022', '--types', 'node'];

  test.each(resolutions)(
    'compiles under %s',
    async (resolution, module) => {
      // `import x = require()` exists only where CommonJS is emitted.
      const files = module === 'esnext' ? sources.filter((file) => !file.endsWith('.cts')) : sources;
      expect(await compile(compiler, [...options, '--module', module, '--moduleResolution', resolution, ...files])).toBe('');
    },
    120_000,
  );

  test(
    'compiles with every strict option',
    async () => {
      const flags = ['--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess'];
      expect(await compile(compiler, [...options, ...flags, '--module', 'nodenext', ...sources])).toBe('');
    },
    120_000,
  );

  test('finds what is wrong', async () => {
    const bad = join(__dirname, './wrong-types.mts');
    expect(await compile(compiler, [...options, '--module', 'nodenext', bad])).toContain('TS2322');
  }, 120_000);
});

test('the suite itself has the types that it claims', async () => {
  const project = join(__dirname, '../../tsconfig.json');
  expect(await compile(compilers[0]![1], ['-p', project])).toBe('');
}, 120_000);

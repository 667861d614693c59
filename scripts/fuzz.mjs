// `npm run fuzz [-- --seconds 60] [--keep] [target...]`: builds the fuzz targets of `fuzz/` and runs each for so long, one
// after the other. Ends at the first input that breaks a promise, and says where it is. With `--keep`, what was found on
// the way joins the corpus, each kind once.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './prepare.mjs';
import { requirePrograms } from './programs.mjs';
import { fail, say } from './terminal.mjs';

// What tells libFuzzer which parts of the program an input has reached; `cargo fuzz` passes the same.
const coverage = [
  '-Cpasses=sancov-module',
  '-Cllvm-args=-sanitizer-coverage-level=4',
  '-Cllvm-args=-sanitizer-coverage-inline-8bit-counters',
  '-Cllvm-args=-sanitizer-coverage-pc-table',
  '-Cllvm-args=-sanitizer-coverage-trace-compares',
].join(' ');
/** Of a corpus; larger inputs find little that smaller ones do not. */
const most = { files: 200, bytes: 500_000, length: 4096 };

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '60' }, keep: { type: 'boolean', default: false } },
});
const seconds = Number(values.seconds);
if (!Number.isInteger(seconds) || seconds < 1) fail(`--seconds must be a whole number above 0, not ${values.seconds}.`);
const folder = join(root, 'fuzz');
const known = readdirSync(join(folder, 'fuzz_targets')).map((file) => file.replace('.rs', ''));
const unknown = positionals.filter((name) => !known.includes(name));
if (unknown.length > 0) fail(`There is no target ${unknown.join(', ')}; there are ${known.join(', ')}.`);

requirePrograms('npm run fuzz', ['cargo', 'c++']);
const programs = build();
for (const target of positionals.length > 0 ? positionals : known) run(target);

/** The folder of the targets' programs. */
function build() {
  say('Building the fuzz targets (cargo); the first build takes a few minutes');
  const host = /^host: (.*)$/m.exec(spawnSync('rustc', ['-vV'], { encoding: 'utf8' }).stdout ?? '')?.[1];
  if (!host) fail('rustc does not say what it builds for (rustc -vV).');
  const output = process.env.CARGO_TARGET_DIR ?? join(root, 'target', 'fuzz');
  // With a target named, the flags are not for build scripts and macros.
  const args = ['build', '--release', '--locked', '--target', host, '--target-dir', output];
  const { status } = spawnSync('cargo', args, { cwd: folder, stdio: 'inherit', env: { ...process.env, RUSTFLAGS: coverage } });
  if (status !== 0) fail('The fuzz targets could not be built: see the messages of the compiler above.');
  return join(output, host, 'release');
}

function run(target) {
  say(`${target}: ${seconds} s`);
  const corpus = join(folder, 'corpus', target);
  const work = join(folder, 'found', target);
  const artifacts = join(folder, 'artifacts', target, '/');
  for (const one of [corpus, work, artifacts]) mkdirSync(one, { recursive: true });
  const flags = [`-max_len=${most.length}`, '-timeout=10', '-rss_limit_mb=2048', `-artifact_prefix=${artifacts}`];
  const { status, stderr } = start(target, [...flags, `-max_total_time=${seconds}`, '-print_final_stats=1', work, corpus]);
  const figure = (name) => new RegExp(`stat::${name}:\\s+(\\d+)`).exec(stderr)?.[1] ?? '?';
  if (status !== 0) {
    const file = /Test unit written to (.*)/.exec(stderr)?.[1];
    console.error(stderr.slice(-6000));
    const again = file ? `\nRun it again: ${relative(root, join(programs, target))} ${relative(root, file)}` : '';
    fail(`${target} broke a promise. The input: ${file ? relative(root, file) : 'none was written'}${again}`);
  }
  say(`${target}: ${figure('number_of_executed_units')} inputs, ${figure('average_exec_per_sec')} a second`);
  if (values.keep) keep(target, corpus, work, flags);
}

/** Makes the corpus anew, of the smallest inputs that reach what old and new ones do. */
function keep(target, corpus, work, flags) {
  const merged = join(folder, 'found', `${target}.merged`);
  rmSync(merged, { recursive: true, force: true });
  mkdirSync(merged, { recursive: true });
  // Seeds first: they win where others reach the same.
  const { status, stderr } = start(target, [...flags, '-merge=1', merged, corpus, work]);
  if (status !== 0) fail(`The corpus of ${target} could not be made:\n${stderr.slice(-3000)}`);
  const there = new Set(readdirSync(corpus));
  const size = (name) => statSync(join(merged, name)).size;
  const found = readdirSync(merged).filter((name) => !there.has(name)).sort((a, b) => size(a) - size(b));
  let files = there.size;
  let bytes = [...there].reduce((sum, name) => sum + statSync(join(corpus, name)).size, 0);
  for (const name of found) {
    files += 1;
    bytes += size(name);
    if (files > most.files || bytes > most.bytes) break;
    renameSync(join(merged, name), join(corpus, name));
  }
  for (const one of [merged, work]) rmSync(one, { recursive: true, force: true });
  say(`${target}: ${readdirSync(corpus).length} inputs are kept`);
}

function start(target, args) {
  const { status, stderr, error } = spawnSync(join(programs, target), args, { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (error) fail(`${target} could not be run: ${error.message}`);
  return { status, stderr };
}

// `npm test [-- jest arguments]`: prepares a fresh clone, runs the tests of the Rust core without Node.js, then jest.
import { spawn } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { prepare, root, stamps } from './prepare.mjs';
import { say } from './terminal.mjs';

prepare('npm test', ['redis', 'redis-cli', 'openssl', 'browser']);

say('Running the tests of the Rust core (cargo test)');
const core = await cargoTest();
say('Running the tests of the package (jest)');
const pack = await jest(process.argv.slice(2));

const passed = core.passed + pack.passed;
const failed = core.failed + pack.failed;
for (const { name, completed } of [core, pack]) {
  if (!completed) {
    console.error(`\n${name} did not run all of its tests: see its messages above.`);
  }
}
if (core.completed && pack.completed) {
  console.log(`\n${passed} passed, ${failed} failed`);
}
process.exitCode = core.completed && pack.completed && failed === 0 ? 0 : 1;

async function cargoTest() {
  const { code, output } = await run('cargo', ['test', '--no-default-features', '--no-fail-fast'], 'pipe');
  const results = [...output.matchAll(/^test result: .*? (\d+) passed; (\d+) failed;/gm)];
  const count = (group) => results.reduce((sum, match) => sum + Number(match[group]), 0);
  return { name: 'cargo test', passed: count(1), failed: count(2), completed: code === 0 || count(2) > 0 };
}

async function jest(args) {
  const report = join(stamps, 'jest.json');
  rmSync(report, { force: true });
  const program = join(root, 'node_modules', 'jest', 'bin', 'jest.js');
  const { code } = await run(process.execPath, [program, '--json', `--outputFile=${report}`, ...args], 'inherit');
  const result = readReport(report);
  return {
    name: 'jest',
    passed: result.numPassedTests,
    failed: result.numFailedTests,
    completed: result.numRuntimeErrorTestSuites === 0 && (code === 0 || result.numFailedTests > 0),
  };
}

function readReport(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return { numPassedTests: 0, numFailedTests: 0, numRuntimeErrorTestSuites: 1 };
  }
}

/** Runs a program in the repository; what it prints is shown as it comes and, when piped, also returned. */
function run(command, args, stdout) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ['inherit', stdout, 'inherit'] });
    let output = '';
    child.stdout?.setEncoding('utf8').on('data', (text) => {
      output += text;
      process.stdout.write(text);
    });
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, output }));
  });
}

// `jest --detectOpenHandles` has nothing to name after `await shutdown()`.

import { execFile } from 'node:child_process';
import { join } from 'node:path';

test('a service that was shut down leaves no handle open', async () => {
  const config = { rootDir: join(__dirname, '../support/programs'), testMatch: ['**/open-handles.js'], testEnvironment: 'node' };
  const program = join(__dirname, '../../node_modules/jest/bin/jest.js');
  const args = [program, '--detectOpenHandles', '--config', JSON.stringify(config)];
  const output = await new Promise<string>((done, fail) =>
    execFile(process.execPath, args, { timeout: 60_000 }, (error, stdout, stderr) => (error ? fail(error) : done(stdout + stderr))),
  );
  expect(output).toContain('1 passed');
  expect(output).not.toContain('open handle');
}, 70_000);

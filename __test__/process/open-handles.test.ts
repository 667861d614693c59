// `jest --detectOpenHandles` has nothing to name after `await shutdown()`. Nor does the suite keep what it resets: the
// process would not exit.

import { execFile } from 'node:child_process';
import { connect, createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { reset } from '../support/reset';

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

test('a connection whose FIN is on its way is closed when it is to be reset', async () => {
  const closed = new Promise<void>((done) => {
    const server = createServer((socket) => {
      socket.on('close', () => server.close(() => done())).resume();
      // What Node.js does then has its FIN leave after this turn.
      socket.end();
      process.nextTick(() => {
        expect(socket).toMatchObject({ writableEnded: true, writableFinished: false });
        reset(socket);
      });
    });
    server.listen(0, '127.0.0.1', () => connect((server.address() as AddressInfo).port, '127.0.0.1').resume().on('error', () => {}));
  });
  await closed;
});

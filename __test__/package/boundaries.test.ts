// `scripts/check-boundary.mjs`: who may use whom, on small trees that break a rule each.

import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const script = join(__dirname, '../../scripts/check-boundary.mjs');
const folders: string[] = [];

afterAll(() => folders.forEach((folder) => rmSync(folder, { recursive: true })));

/** What the check says of a tree, and whether it is content. */
function check(tree: Record<string, string>): Promise<{ says: string; holds: boolean }> {
  const root = mkdtempSync(join(tmpdir(), 'boundaries-'));
  folders.push(root);
  for (const [name, text] of Object.entries({ 'src/lib.rs': '', ...tree })) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return new Promise((done) => {
    execFile(process.execPath, [script, '--root', root], (error, stdout, stderr) =>
      done({ says: stdout + stderr, holds: error === null }),
    );
  });
}

describe('modules of src/', () => {
  test('may use what is below them, and what everyone may', async () => {
    const { says, holds } = await check({
      'src/error.rs': 'pub struct Error;',
      'src/wire/mod.rs': 'mod packet;\npub use packet::Packet;',
      'src/wire/packet.rs': 'pub struct Packet;',
      'src/hub/mod.rs': 'use crate::{error::Error, wire::Packet};',
    });
    expect(says).toContain('Module boundaries hold.');
    expect(holds).toBe(true);
  });

  test.each([
    ['a use', 'use crate::service::Service;'],
    ['a use in a group', 'use crate::{wire::Packet, service::{Other, Service}};'],
    ['a path', 'fn f() -> crate::service::Service { loop {} }'],
    ['a path through an imported module', 'use crate::service;\nfn f() -> service::Service { loop {} }'],
    ['a path upwards', 'use super::super::service::Service;'],
  ])('may not use what is above them: %s', async (_, code) => {
    const { says, holds } = await check({
      'src/service.rs': 'pub struct Service;',
      'src/wire/mod.rs': 'mod packet;',
      'src/wire/packet.rs': code,
    });
    expect(says).toContain('src/wire/packet.rs: `wire` may not use `service`');
    expect(holds).toBe(false);
  });

  test('may not use through another what they may not use themselves', async () => {
    const { says } = await check({
      'src/fanout.rs': 'pub struct Congestion;',
      'src/service.rs': 'pub use crate::fanout::Congestion;',
      'src/transport.rs': 'use crate::service::Congestion;',
    });
    expect(says).toContain('src/transport.rs: `transport` may not use `fanout`');
  });

  test('may use a part of a module where only that part is allowed', async () => {
    const { says } = await check({
      'src/cluster/mod.rs': 'pub mod bus;\npub mod log;',
      'src/cluster/bus.rs': 'pub struct Message;',
      'src/cluster/log.rs': 'pub struct Log;',
      'src/redis.rs': 'use crate::cluster::{bus::Message, log::Log};',
    });
    expect(says).toContain('src/redis.rs: `redis` may not use `cluster::log`');
    expect(says).not.toContain('`cluster::bus`');
  });

  test('must be known', async () => {
    const { says } = await check({ 'src/utils.rs': '' });
    expect(says).toContain('the module `utils` has no entry');
  });

  test('do not count what comments, text and tests name', async () => {
    const code = [
      '// crate::service::Service',
      'const TEXT: &str = "crate::service::Service";',
      '#[cfg(test)]\nmod tests { use crate::service::Service; }',
    ];
    const { holds } = await check({ 'src/service.rs': '', 'src/wire.rs': code.join('\n') });
    expect(holds).toBe(true);
  });
});

test.each([
  ['napi', 'service', 'use napi::bindgen_prelude::Buffer;', 'node'],
  ['fred', 'cluster', 'fn f() -> fred::clients::Client { loop {} }', 'redis'],
  ['socketioxide', 'service', 'use socketioxide::SocketIo;', 'transport'],
])('%s is named in its own module alone', async (library, module, code, owner) => {
  const { says, holds } = await check({ [`src/${module}.rs`]: code });
  expect(says).toContain(`src/${module}.rs: names ${library}, which only src/${owner} may`);
  expect(holds).toBe(false);
});

describe('circles of files', () => {
  test('are found in src/ where files name what the others define', async () => {
    const { says, holds } = await check({
      'src/hub/mod.rs': 'mod room;\nmod socket;\npub use room::Room;\npub use socket::Socket;',
      'src/hub/room.rs': 'use super::Socket;\npub struct Room;',
      'src/hub/socket.rs': 'use super::room::Room;\npub struct Socket;',
    });
    expect(says).toContain('src: a circle of files: hub/room.rs → hub/socket.rs → hub/room.rs');
    expect(holds).toBe(false);
  });

  test('are none where a module only declares its parts and passes them on', async () => {
    const { holds } = await check({
      'src/hub/mod.rs': 'mod room;\npub use room::Room;\npub struct Key;',
      'src/hub/room.rs': 'use super::Key;\npub struct Room(Key);',
    });
    expect(holds).toBe(true);
  });

  test('are found where a module names what it passes on', async () => {
    const { says } = await check({
      'src/hub/mod.rs': 'mod room;\npub use room::Room;\npub struct Hub(Room);',
      'src/hub/room.rs': 'use super::Hub;\npub struct Room;',
    });
    expect(says).toContain('src: a circle of files: hub/mod.rs → hub/room.rs → hub/mod.rs');
  });

  test('are found in lib/, types included', async () => {
    const { says, holds } = await check({
      'lib/a.ts': "import type { B } from './b.js';\nexport class A {}",
      'lib/b.ts': "export { C } from './folder/c.js';\nexport class B {}",
      'lib/folder/c.ts': "import { A } from '../a.js';\nexport class C extends A {}",
    });
    expect(says).toContain('lib: a circle of files: a.ts → b.ts → folder/c.ts → a.ts');
    expect(holds).toBe(false);
  });
});

// `index.d.ts` and the implementation say the same: what is declared exists, and what exists is declared. That holds for
// exports, members of objects, fields of shapes, and options with the kinds of values that they take.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import ts from 'typescript-6';
import { connect, silentLogger, start, track, TrustingService, WebSocketService, WebSocketServiceError } from '../support/harness';

const { FIXED, OPTIONS, resolveConfig } = require('../../dist/options/config.js');
const { RemoteSocket } = require('../../dist/socketio/operator.js');

const root = join(__dirname, '../..');
const declarations = join(root, 'index.d.ts');
const compilerOptions: ts.CompilerOptions = {
  strict: true,
  noEmit: true,
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  types: ['node'],
};
const program = ts.createProgram([declarations], compilerOptions);
const checker = program.getTypeChecker();
const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(declarations)!)!);

/** The members that are declared here for a class or an interface, and whether each is a method. */
function declared(name: string): Map<string, boolean> {
  const symbol = exported.find((each) => each.name === name);
  if (!symbol) throw new Error(`${name} is not declared`);
  const members = checker.getPropertiesOfType(checker.getDeclaredTypeOfSymbol(symbol));
  const own = members.filter((member) => member.declarations?.some((at) => at.getSourceFile().fileName === declarations));
  return new Map(own.map((member) => [member.name, Boolean(member.flags & ts.SymbolFlags.Method)]));
}

/** The members that an object has, its classes included, and whether each is a method. */
function existing(object: object): Map<string, boolean> {
  const members = new Map<string, boolean>();
  const ends = [Object.prototype, Error.prototype, require('node:events').EventEmitter.prototype, null];
  for (let of = object; !ends.includes(of); of = Object.getPrototypeOf(of)) {
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(of))) {
      if (name !== 'constructor' && !members.has(name)) members.set(name, typeof value === 'function');
    }
  }
  return members;
}

const sorted = (members: Map<string, boolean>) => [...members].sort(([a], [b]) => (a < b ? -1 : 1));

test('exports', async () => {
  const values = exported.filter(({ flags }) => flags & ts.SymbolFlags.Value).map(({ name }) => name);
  expect(Object.keys(require('../../index.js')).sort()).toEqual(values.sort());
  const { stdout } = require('node:child_process').spawnSync(process.execPath, [
    '--input-type=module',
    '-e',
    `console.log(Object.keys(await import(${JSON.stringify(pathToFileURL(join(root, 'index.mjs')).href)})).join())`,
  ]);
  expect(String(stdout).trim().split(',').sort()).toEqual(values);
});

test('codes of errors', () => {
  const codesOf = (name: string) => {
    const type = checker.getDeclaredTypeOfSymbol(exported.find((each) => each.name === name)!);
    return (type as ts.UnionType).types.map((each) => (each as ts.StringLiteralType).value);
  };
  const unions = ['WebSocketServiceErrorCode', 'ClientErrorCode', 'LoadErrorCode'];
  const types = new Set(['ERR_INVALID_ARGUMENT', ...unions.flatMap(codesOf)]);
  const found = new Set<string>();
  for (const folder of ['lib', 'src']) {
    for (const file of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })) {
      // Tests make up codes of their own.
      if (!/\.(ts|rs)$/.test(file) || /tests?[\\/.]/.test(file)) continue;
      const text = readFileSync(join(root, folder, file), 'utf8').split('#[cfg(test)]', 1)[0]!;
      for (const [, code] of text.matchAll(/['"](ERR_[A-Z_]+)['"]/g)) found.add(code!);
    }
  }
  expect([...found].sort()).toEqual([...types].sort());
});

describe('members of', () => {
  /** What Node.js's own class keeps in each emitter. */
  const emitterFields = ['_events', '_eventsCount', '_maxListeners', 'domain'];

  test('WebSocketService', () => {
    const service = track(new WebSocketService({ logger: silentLogger }));
    const members = existing(service);
    for (const name of emitterFields) members.delete(name);
    // Declared by Node.js's types.
    members.delete('removeAllListeners');
    expect(sorted(members)).toEqual(sorted(declared('WebSocketService')));
  });

  test('WebSocketServiceError', () => {
    const error = Object.assign(new WebSocketServiceError('ERR_TIMEOUT', 'text'), { responses: [] });
    const members = existing(error);
    for (const name of ['message', 'stack', 'name']) members.delete(name);
    expect(sorted(members)).toEqual(sorted(declared('WebSocketServiceError')));
    expect(error).toMatchObject({ name: 'WebSocketServiceError', message: 'text' });
  });

  test('AuthenticatedSocket, and of what it sends with', async () => {
    const running = await start();
    const client = await connect(running);
    const socket = running.service.getSocket(client.id!)!;
    expect(sorted(existing(socket))).toEqual(sorted(declared('AuthenticatedSocket')));
    expect(Object.keys(socket.handshake).sort()).toEqual([...declared('Handshake').keys()].sort());
    for (const emitter of [socket.volatile, socket.to('room')]) {
      expect(Object.keys(emitter)).toEqual([...declared('SocketEmitter').keys()]);
    }
    expect(Object.keys(socket.timeout(1)).sort()).toEqual([...declared('TimedEmitter').keys()].sort());
  });

  test('BroadcastOperator', () => {
    const service = track(new WebSocketService({ logger: silentLogger }));
    expect(sorted(existing(service.local))).toEqual(sorted(declared('BroadcastOperator')));
  });

  test('RemoteSocket', () => {
    const remote = new RemoteSocket({}, { id: 'id', handshake: {}, rooms: [], data: {} });
    expect(sorted(existing(remote))).toEqual(sorted(declared('RemoteSocket')));
    for (const [name, isMethod] of declared('TimedEmitter')) {
      expect([name, typeof remote.timeout(1)[name] === 'function']).toEqual([name, isMethod]);
    }
  });
});

test('fields of shapes', async () => {
  const running = await start({ redis: { port: 1 }, connectionStateRecovery: true }, { Service: TrustingService });
  const { service } = running;
  service.on('error', () => {});
  const user = { username: 'Alice', email: 'a@example.com', roles: ['admin'], metadata: {} };
  const client = await connect(running, { auth: { userId: 'alice', user } });
  const room = await service.createRoom('name', 'label', 'creator', {});
  await service.joinRoom(client.id!, room.id);
  const message = await service.sendMessage(room.id, 'alice', 'content', 'text', {});
  const shapes: Array<[name: string, value: object | undefined, absent: string[]]> = [
    ['SocketUser', service.getUser(client.id!), []],
    ['Room', room, []],
    ['Message', message, ['edited', 'editedAt']],
    // Only once an acknowledgement has expired, or a client has gone beyond a bound.
    ['ConnectionStats', service.getStats(), ['expiredAcks', 'exceeded']],
    ['ClusterState', service.getStats().cluster, []],
    ['ClusterStats', service.getClusterStats(), []],
    ['RoomStats', service.getRoomStats(room.id) ?? undefined, []],
  ];
  for (const [name, value, absent] of shapes) {
    const fields = [...members(name)].filter((field) => !absent.includes(field)).sort();
    expect([name, Object.keys(value!).sort()]).toEqual([name, fields]);
  }

  /** Those of `Omit` are declared nowhere. */
  function members(name: string): string[] {
    const symbol = exported.find((each) => each.name === name)!;
    return checker.getPropertiesOfType(checker.getDeclaredTypeOfSymbol(symbol)).map((member) => member.name);
  }
});

describe('options', () => {
  /** Values as source text, by kind. The types cannot say which of a kind are in range, so one that fits is enough. */
  const PEM = `'-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n'`;
  const kinds: Record<string, string[]> = {
    true: ['true'],
    false: ['false'],
    undefined: ['undefined'],
    null: ['null'],
    number: ['0', '1', '200', '1000', '6379', '10000', '1.5', 'Infinity'],
    bigint: ['1n'],
    symbol: ['Symbol()'],
    string: [`'x'`, `'/x'`, `'lax'`, `'low'`, `'*'`, `'https://a.example'`, `'redis://localhost'`, `'strict'`, `'loopback'`, PEM],
    RegExp: ['/a/g'],
    Date: ['new Date(0)'],
    Buffer: [`Buffer.from(${PEM})`],
    function: [`() => 'x'`],
    promise: ['Promise.resolve({})'],
    Map: ['new Map()'],
    'array of strings': [`['x']`, `['polling']`, `['loopback']`, `['https://a.example']`],
    'array of booleans': ['[true]', '[false]'],
    'array of RegExps': ['[/a/]'],
    'array of numbers': ['[1]'],
    'array of functions': [`[() => 'x']`],
    'array of arrays': [`[['https://a.example']]`],
    'array of nodes': [`[{ host: 'a', port: 1 }]`],
    object: ['{}', 'console', `{ name: 'io' }`, `{ name: 'm', nodes: [{ host: 'a', port: 1 }] }`],
  };

  /** The objects that options are in, as types, around a member, and with what else has to be there. */
  const NODE = { host: `'a'`, port: '1' };
  const places: Record<string, { type: string; around?: (members: string) => string; besides?: Record<string, string> }> = {
    '': { type: 'WebSocketConfig', around: (members) => members },
    redis: { type: 'RedisConfig' },
    'redis.tls': {
      type: 'RedisTlsOptions',
      around: (members) => `redis: { tls: { ${members} } }`,
      besides: { cert: PEM, key: PEM },
    },
    'redis.sentinel': {
      type: 'RedisSentinelOptions',
      around: (members) => `redis: { sentinel: { ${members} } }`,
      besides: { name: `'m'`, nodes: `[{ host: 'a', port: 1 }]` },
    },
    'redis.sentinel.nodes': {
      type: 'RedisNode',
      around: (members) => `redis: { sentinel: { name: 'm', nodes: [{ ${members} }] } }`,
      besides: NODE,
    },
    'redis.cluster': { type: 'RedisNode', around: (members) => `redis: { cluster: [{ ${members} }] }`, besides: NODE },
    cors: { type: 'CorsConfig' },
    cookie: { type: 'CookieConfig', besides: { name: `'io'` } },
    history: { type: 'HistoryConfig', around: (members) => `redis: {}, history: { ${members} }` },
    presence: { type: 'PresenceConfig' },
    authorize: { type: 'AuthorizeConfig' },
    connectionStateRecovery: { type: 'ConnectionStateRecoveryConfig' },
    limits: { type: 'LimitsConfig' },
  };

  /** A configuration with a value in a place, as source text. */
  function source(path: string, name: string, value: string): string {
    const { around = (members: string) => `${path}: { ${members} }`, besides = {} } = places[path]!;
    // A certificate and its key are left out together.
    const others = path === 'redis.tls' && value === 'undefined' ? {} : besides;
    const members = Object.entries({ ...others, [name]: value }).map((member) => member.join(': '));
    return `{ ${around(members.join(', '))} }`;
  }

  /** All options, by the object that they are in. */
  function optionsIn(path: string, rules: Record<string, any>, found: Map<string, string[]> = new Map()) {
    found.set(path, Object.keys(rules).concat(path === '' ? Object.keys(FIXED) : []));
    for (const [name, rule] of Object.entries(rules)) {
      const inside = path === '' ? name : `${path}.${name}`;
      if (rule.members ?? rule.each) optionsIn(inside, rule.members ?? rule.each, found);
    }
    return found;
  }
  const options = optionsIn('', OPTIONS);

  test('all are declared, and all that are declared exist', () => {
    expect([...options.keys()].sort()).toEqual(Object.keys(places).sort());
    for (const [path, names] of options) {
      expect([path, [...names].sort()]).toEqual([path, [...declared(places[path]!.type).keys()].sort()]);
    }
  });

  test('each takes the same kinds of values', () => {
    const cases: Array<{ option: string; kind: string; source: string }> = [];
    for (const [path, names] of options) {
      for (const name of names) {
        const option = path === '' ? name : `${path}.${name}`;
        for (const [kind, values] of Object.entries(kinds)) {
          for (const value of values) cases.push({ option, kind, source: source(path, name, value) });
        }
      }
    }
    const compiled = compiling(cases.map(({ source }) => source));
    /** What is taken: of each kind, whether anything is. */
    const outcome = (accepts: (source: string, index: number) => boolean) => {
      const taken = new Set<string>();
      cases.forEach(({ option, kind, source }, index) => {
        if (accepts(source, index)) taken.add(`${option}: ${kind}`);
      });
      return [...taken].sort();
    };
    // To the types a function is an object with a name, as this option is.
    const byTypes = outcome((_source, index) => compiled[index]!).filter((each) => each !== 'cookie: function');
    const byService = outcome((source) => {
      try {
        resolveConfig(new Function(`return (${source})`)());
        return true;
      } catch {
        return false;
      }
    });
    expect(byTypes.length).toBeGreaterThan(150);
    expect(byService).toEqual(byTypes);
  }, 60_000);

  /** Whether each of these expressions is a configuration by the types. */
  function compiling(expressions: string[]): boolean[] {
    const file = join(__dirname, 'generated.mts');
    const head = `import type { WebSocketConfig } from 'native-websocket-service';\nlet config: WebSocketConfig;\n`;
    const lines = expressions.map((expression) => `config = ${expression};`);
    const host = ts.createCompilerHost(compilerOptions);
    const { getSourceFile, fileExists, readFile } = host;
    const text = head + lines.join('\n');
    host.fileExists = (name) => name === file || fileExists(name);
    host.readFile = (name) => (name === file ? text : readFile(name));
    host.getSourceFile = (name, ...rest) =>
      name === file
        ? ts.createSourceFile(name, text, { languageVersion: ts.ScriptTarget.ES2022, impliedNodeFormat: ts.ModuleKind.ESNext })
        : getSourceFile(name, ...rest);
    const generated = ts.createProgram([file], compilerOptions, host);
    const source = generated.getSourceFile(file)!;
    const wrong = new Set<number>();
    for (const diagnostic of [...generated.getSyntacticDiagnostics(source), ...generated.getSemanticDiagnostics(source)]) {
      wrong.add(source.getLineAndCharacterOfPosition(diagnostic.start!).line);
    }
    return lines.map((_line, index) => !wrong.has(index + 2));
  }
});

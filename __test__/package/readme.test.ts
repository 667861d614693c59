// Every code block of the README does what it says: TypeScript compiles, JavaScript runs, commands exist. The JSON of
// the protocol document is JSON, and links inside the repository lead somewhere.
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const root = join(__dirname, '../..');
const minute = 60_000;

interface Block {
  language: string;
  code: string;
  line: number;
}

const blocks = codeBlocks(readFileSync(join(root, 'README.md'), 'utf8'));
const blocksIn = (language: string) => blocks.filter((block) => block.language === language);

// In the repository, where the package finds itself and its dependencies by their names.
let folder: string;

beforeAll(async () => {
  await mkdir(join(root, '.stamp'), { recursive: true });
  folder = await mkdtemp(join(root, '.stamp', 'readme-'));
});

afterAll(() => rm(folder, { recursive: true, force: true }));

test('every block has a language that is checked here', () => {
  expect(blocks.length).toBeGreaterThan(10);
  expect(blocks.filter(({ language }) => !['typescript', 'javascript', 'bash'].includes(language))).toEqual([]);
});

test('TypeScript blocks compile', async () => {
  const files = blocksIn('typescript').map(({ code, line }) => ({ name: `line-${line}.mts`, code: `${code}\nexport {};\n` }));
  files.push({ name: 'surroundings.d.ts', code: surroundings });
  const config = {
    compilerOptions: {
      module: 'nodenext',
      target: 'es2022',
      lib: ['es2022'],
      types: ['node'],
      strict: true,
      noEmit: true,
      skipLibCheck: true,
    },
    files: files.map(({ name }) => name),
  };
  await Promise.all(files.map(({ name, code }) => writeFile(join(folder, name), code)));
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config));

  await run([join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', folder]);
}, 2 * minute);

test.each(blocksIn('javascript').map(({ line, code }) => [line, code]))('the program on line %i runs to its end', async (line, code) => {
  const file = join(folder, `line-${line}.mjs`);
  await writeFile(file, String(code));

  expect(await run([file])).toBe('Alice: Hello everyone!\n1 message in the history\n');
}, minute);

test('commands name scripts that exist', () => {
  const { scripts, name } = require('../../package.json');
  for (const command of blocksIn('bash').flatMap(({ code }) => code.trim().split('\n'))) {
    const [, script] = /^npm (?:run )?(\S+)/.exec(command) ?? [];
    expect([command, script === 'install' ? command.endsWith(` ${name}`) : script! in scripts]).toEqual([command, true]);
  }
});

test('JSON blocks of the protocol document parse', () => {
  const json = codeBlocks(readFileSync(join(root, 'docs', 'protocol.md'), 'utf8')).filter(({ language }) => language === 'json');

  expect(json.length).toBeGreaterThan(10);
  for (const { code } of json) expect(() => JSON.parse(code)).not.toThrow();
});

test.each(['README.md', 'CONTRIBUTING.md', 'docs/protocol.md'])('links of %s lead to files', (document) => {
  const text = readFileSync(join(root, document), 'utf8');
  const targets = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/g)].map((match) => match[1]!);

  expect(targets.filter((target) => !existsSync(join(root, document, '..', target)))).toEqual([]);
});

function codeBlocks(markdown: string): Block[] {
  return [...markdown.matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)].map((match) => ({
    language: match[1]!,
    code: match[2]!,
    line: markdown.slice(0, match.index).split('\n').length,
  }));
}

async function run(args: string[]): Promise<string> {
  try {
    return (await promisify(execFile)(process.execPath, args, { timeout: minute })).stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${args.join(' ')}\n${stdout}${stderr}`, { cause: error });
  }
}

// What the shorter blocks take from the application around them.
const surroundings = `
declare const wsService: import('native-websocket-service').WebSocketService;
declare const socket: import('socket.io-client').Socket;
declare const roomId: string;
declare const userId: string;
declare const socketId: string;
declare const senderSocketId: string;
declare const adminSocketId: string;
declare function findSession(token: unknown): Promise<{ userId: string } | undefined>;
`;

// Copies what a browser loads of `socket.io-client` to `client-dist/`, as it is and compressed, where `lib/http/client-bundle.ts`
// serves it from. Runs before `npm run build`, before `npm pack`, and with the commands that prepare a clone.
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const target = join(root, 'client-dist');
const stamp = join(target, 'version.json');

/** Does nothing when the version that is installed is there already. */
export function copyClient() {
  const manifest = createRequire(import.meta.url).resolve('socket.io-client/package.json');
  const { version } = JSON.parse(readFileSync(manifest, 'utf8'));
  const text = `${JSON.stringify({ version })}\n`;
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === text) {
    return;
  }
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target);
  const source = join(dirname(manifest), 'dist');
  for (const name of readdirSync(source)) {
    const body = readFileSync(join(source, name));
    writeFileSync(join(target, name), body);
    writeFileSync(join(target, `${name}.gz`), gzipSync(body, { level: constants.Z_BEST_COMPRESSION }));
    writeFileSync(join(target, `${name}.br`), brotliCompressSync(body));
  }
  copyFileSync(join(dirname(manifest), 'LICENSE'), join(target, 'LICENSE'));
  // Last, so that a copy that was interrupted is made again.
  writeFileSync(stamp, text);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  copyClient();
}

// `npm run test:door -- DOOR [jest arguments]`: the suites that clients of any door pass, with theirs coming in by this one.
// `native`, `https` or `tls`: a port of the service itself, Node.js's server for HTTPS, or the service's own with TLS.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepare, root } from './prepare.mjs';

const DOORS = ['native', 'https', 'tls'];
const SUITES = ['__test__/scenarios.test.ts', '__test__/transport', '__test__/contract', '__test__/protocol'];

const [door, ...args] = process.argv.slice(2);
if (!DOORS.includes(door)) {
  console.error(`which door? One of ${DOORS.join(', ')}, as in: npm run test:door -- tls`);
  process.exit(2);
}
prepare('npm run test:door', ['redis', 'redis-cli', 'openssl']);

const directory = mkdtempSync(join(tmpdir(), 'door-'));
try {
  const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')];
  const names = 'subjectAltName=DNS:localhost,IP:127.0.0.1';
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
  const request = ['req', '-x509', ...curve, '-nodes', '-days', '1', '-subj', '/CN=localhost', '-addext', names, '-keyout', key, '-out', cert];
  execFileSync('openssl', request, { stdio: 'ignore' });
  const jest = join(root, 'node_modules', 'jest', 'bin', 'jest.js');
  // Every client of the suites trusts the certificate, those in programs of their own as well.
  const env = { ...process.env, DOOR: door, DOOR_CERTIFICATE: directory, NODE_EXTRA_CA_CERTS: cert };
  const { status } = spawnSync(process.execPath, [jest, ...(args.length > 0 ? args : SUITES)], { cwd: root, stdio: 'inherit', env });
  process.exitCode = status ?? 1;
} finally {
  rmSync(directory, { recursive: true });
}

// A key and a certificate for the servers that speak TLS.

import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const directory = fileURLToPath(new URL('../../target/bench/tls', import.meta.url));
let isMade = false;

/** The directory that holds `key.pem` and `cert.pem`: ECDSA with P-256, as certificates have it that are renewed by themselves. */
export function certificate() {
  if (isMade) return directory;
  mkdirSync(directory, { recursive: true });
  const [key, cert] = ['key.pem', 'cert.pem'].map((name) => path.join(directory, name));
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'];
  execFileSync('openssl', ['req', '-x509', ...curve, '-nodes', '-days', '2', '-subj', '/CN=localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' });
  isMade = true;
  return directory;
}

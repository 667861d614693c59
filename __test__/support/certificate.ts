// Keys and certificates for servers with TLS, and for clients that have to show one.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Certificate {
  key: Buffer;
  cert: Buffer;
}

interface Wanted {
  /** Who vouches for it; it vouches for itself otherwise. */
  issuer?: Certificate;
  /** Whether it may vouch for others. */
  isAuthority?: boolean;
  kind?: 'ec' | 'rsa' | 'ed25519';
  name?: string;
}

const KINDS = {
  ec: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  rsa: ['-newkey', 'rsa:2048'],
  ed25519: ['-newkey', 'ed25519'],
};

export function certificate({ issuer, isAuthority = false, kind = 'ec', name = 'localhost' }: Wanted = {}): Certificate {
  const directory = mkdtempSync(join(tmpdir(), 'certificate-'));
  const at = (file: string) => join(directory, file);
  const args = ['req', '-x509', ...KINDS[kind], '-nodes', '-days', '1', '-subj', `/CN=${name}`, '-keyout', at('key'), '-out', at('cert')];
  args.push('-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-addext', `basicConstraints=critical,CA:${String(isAuthority).toUpperCase()}`);
  if (issuer) {
    writeFileSync(at('ca-key'), issuer.key);
    writeFileSync(at('ca'), issuer.cert);
    args.push('-CA', at('ca'), '-CAkey', at('ca-key'));
  }
  execFileSync('openssl', args, { stdio: 'ignore' });
  const made = { key: readFileSync(at('key')), cert: readFileSync(at('cert')) };
  rmSync(directory, { recursive: true });
  return made;
}

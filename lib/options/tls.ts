// The `tls` option of `listen`: who the service is, whom it asks for a certificate, and the files that hold this. What it is
// given is brought into one form, in which the native side and Node.js take it. Errors never show what is secret.

import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { SecureContextOptions, TlsOptions as NodeTlsOptions } from 'node:tls';
import type { TlsOptions } from '../../index.js';
import { invalidArgument, refused } from '../errors.js';
import { boolean, check, hidden, isObject, type Rules, text } from './rules.js';

const CERTIFICATE = /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[\s\S]+?-----END (?:X509 |TRUSTED )?CERTIFICATE-----/g;
const VERSIONS: unknown[] = ['TLSv1.2', 'TLSv1.3'];
/** Protocols of HTTP that a connection of the service cannot go over to. */
const NOT_SERVED = ['h2', 'h2c', 'h3'];

const isPem = (value: unknown): value is string | Buffer => (typeof value === 'string' || Buffer.isBuffer(value)) && value.length > 0;
const isPassphrase = (value: unknown): value is string => typeof value === 'string';
const isKey = (value: unknown) =>
  isPem(value) || (isObject(value) && isPem(value.pem) && (value.passphrase === undefined || isPassphrase(value.passphrase)));
const oneOrMore = (test: (value: unknown) => boolean) => (value: unknown) =>
  Array.isArray(value) ? value.length > 0 && value.every(test) : test(value);

/** The path of a file; not what is in it, which an error about a file would show. */
const file = { test: (value: unknown) => text.test(value) && !value.includes('-----BEGIN'), allowed: 'the path of a file', secret: true };
const pem = { test: oneOrMore(isPem), allowed: 'PEM, as a string or a Buffer, or an array of them', secret: true };

const TLS = {
  cert: pem,
  key: { ...pem, test: oneOrMore(isKey), allowed: 'PEM, as a string or a Buffer, or an array of them or of { pem, passphrase }' },
  ca: pem,
  certFile: file,
  keyFile: file,
  caFile: file,
  passphrase: { test: isPassphrase, allowed: 'a string', secret: true },
  requestCert: boolean,
  rejectUnauthorized: boolean,
  alpn: {
    test: (value: unknown) => Array.isArray(value) && value.every((name) => text.test(name) && name.length < 256 && !NOT_SERVED.includes(name)),
    allowed: `an array of names of protocols, none of which is ${NOT_SERVED.join(', ')}: HTTP/1.1 is served`,
  },
  minVersion: { test: (value: unknown) => VERSIONS.includes(value), allowed: "'TLSv1.2' or 'TLSv1.3'" },
  watch: boolean,
} satisfies Rules;

/** What may be given itself, or as the path of its file. */
const SOURCES = ['cert', 'key', 'ca'] as const;

/** Who the service is, and whom it asks: everything has been read and fits together. */
export interface Credentials {
  identities: { cert: string; key: string }[];
  /** Who vouches for clients; clients are not asked for a certificate without. */
  clientCa: string | undefined;
  refusesStrangers: boolean;
  alpn: string[];
  minVersion: 'TLSv1.2' | 'TLSv1.3';
}

/** Throws a `TypeError` that names the field. */
export function checkTls(tls: unknown): asserts tls is TlsOptions {
  if (!isObject(tls)) throw invalidArgument('tls', hidden(tls), 'an object such as { cert, key }');
  check('tls', tls, TLS, hidden);
  const options: TlsOptions = tls;
  for (const name of SOURCES) {
    const file = `${name}File` as const;
    if (options[name] !== undefined && options[file] !== undefined) {
      throw invalidArgument(`tls.${file}`, hidden(options[file]), `left out when tls.${name} is given`);
    }
    if (name !== 'ca' && options[name] === undefined && options[file] === undefined) {
      throw invalidArgument(`tls.${name}`, undefined, `given, or tls.${file}, the path of its file`);
    }
  }
  if (options.requestCert && options.ca === undefined && options.caFile === undefined) {
    throw invalidArgument('tls.ca', undefined, 'given with tls.requestCert: who vouches for clients');
  }
  if (options.watch && filesOf(options).length === 0) {
    throw invalidArgument('tls.watch', true, 'left out without tls.certFile, tls.keyFile or tls.caFile: there is nothing to watch');
  }
}

/** The files that hold certificates and keys. */
export function filesOf({ certFile, keyFile, caFile }: TlsOptions): string[] {
  return [certFile, keyFile, caFile].filter((path) => path !== undefined);
}

/** Reads everything, and finds the key of each certificate. Throws an error that names the field. */
export function credentials(tls: TlsOptions): Credentials {
  const authorities = sources('ca', tls).flatMap((source) => certificates('tls.ca', source));
  const keys = sources('key', tls).map((source) => privateKey(source, tls.passphrase));
  const identities = sources('cert', tls).map((source) => {
    const chain = complete(certificates('tls.cert', source), authorities);
    const key = keys.find((each) => chain[0]?.checkPrivateKey(each));
    if (key === undefined) throw refused('tls.key is not the key of tls.cert');
    return { cert: chain.join(''), key: key.export({ type: 'pkcs8', format: 'pem' }) as string };
  });
  // As with OpenSSL: one that others vouch for only leads to those who do.
  const roots = authorities.filter((each) => each.checkIssued(each));
  if (tls.requestCert && roots.length === 0) throw refused('tls.ca holds no authority that vouches for itself, as tls.requestCert needs it');
  return {
    identities,
    clientCa: tls.requestCert ? roots.join('') : undefined,
    refusesStrangers: tls.rejectUnauthorized ?? true,
    alpn: tls.alpn ?? ['http/1.1'],
    minVersion: tls.minVersion ?? 'TLSv1.2',
  };
}

/** The same for a server of Node.js. */
export function nodeTls({ identities, clientCa, refusesStrangers, alpn, minVersion }: Credentials): SecureContextOptions & NodeTlsOptions {
  return {
    cert: identities.map(({ cert }) => cert),
    key: identities.map(({ key }) => key),
    ...(clientCa !== undefined && { ca: clientCa, requestCert: true, rejectUnauthorized: refusesStrangers }),
    ALPNProtocols: alpn,
    minVersion,
  };
}

type Source = string | Buffer | { pem: string | Buffer; passphrase?: string | undefined };

/** What was given of a kind, or what is in its file. */
function sources(name: (typeof SOURCES)[number], tls: TlsOptions): Source[] {
  const given = tls[name];
  if (given !== undefined) return Array.isArray(given) ? given : [given];
  const path = tls[`${name}File`];
  if (path === undefined) return [];
  try {
    return [readFileSync(path)];
  } catch (error) {
    throw refused(`tls.${name}File cannot be read: ${(error as NodeJS.ErrnoException).code ?? 'it is no path'}`);
  }
}

function certificates(field: string, source: Source): X509Certificate[] {
  const found = source.toString().match(CERTIFICATE) ?? [];
  if (found.length === 0) throw refused(`${field} holds no certificate in PEM`);
  try {
    return found.map((each) => new X509Certificate(each));
  } catch (error) {
    throw refused(`${field} holds a certificate that cannot be read: ${(error as Error).message}`);
  }
}

/** A certificate with those that lead to a known one, as far as they are there: OpenSSL looks for them with the authorities. */
function complete(chain: X509Certificate[], authorities: X509Certificate[]): X509Certificate[] {
  const whole = [...chain];
  for (let last = whole.at(-1); last !== undefined; ) {
    const issued = last;
    last = authorities.find((each) => issued.checkIssued(each) && !each.checkIssued(each) && !whole.includes(each));
    if (last) whole.push(last);
  }
  return whole;
}

function privateKey(source: Source, common: string | undefined): KeyObject {
  const { pem: key, passphrase = common } = isObject(source) ? source : { pem: source };
  try {
    return createPrivateKey({ key, format: 'pem', ...(passphrase !== undefined && { passphrase }) });
  } catch {
    const isEncrypted = /ENCRYPTED/.test(key.toString());
    throw refused(isEncrypted ? 'tls.key is encrypted, and tls.passphrase is missing or wrong' : 'tls.key holds no private key in PEM');
  }
}

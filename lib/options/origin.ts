// Origins as browsers send them, and what callers mean who write others.

/** What to write instead of a text that is no browser's `Origin`; undefined when it can match. */
export function correctOrigin(text: string): string | undefined {
  if (text === '*' || text === 'null') return undefined;
  const parts = text.split(/[\s,;]+/).filter(Boolean);
  if (parts.length === 0) return "false to let no other origin in, or '*' to let all in";
  if (parts.length > 1) return `an array: [${parts.map((part) => quoted(wholeOrigin(part))).join(', ')}]`;
  const [part = text] = parts;
  if (part.includes('*')) return wildcard(part);
  const whole = wholeOrigin(part);
  return whole === text ? undefined : quoted(whole);
}

/** The origin that is meant: with a scheme, without a path, in the form in which browsers send it. */
function wholeOrigin(text: string): string {
  const isComplete = /^[a-z][a-z0-9+.-]*:\/\//i.test(text);
  const scheme = /^(localhost|127\.|\[::1\])/i.test(text) ? 'http' : 'https';
  const url = (isComplete ? text : `${scheme}://${text.replace(/^\/+/, '')}`).replace(/^ws(s?:)/i, 'http$1');
  const origin = originOf(url);
  // Of the schemes of apps and extensions `URL` knows no origin.
  return origin === undefined || origin === 'null' ? url.replace(/^([^:]+:\/\/[^/?#]*).*$/, '$1') : origin;
}

function wildcard(text: string): string {
  if (/^\*?$/.test(text.replace(/^https?:\/\//, ''))) return "'*'";
  const source = text
    .replace(/\/+$/, '')
    .split('*')
    .map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
    .join('[^/]+');
  const scheme = text.includes('://') ? '' : 'https://';
  return `a RegExp: ${new RegExp(`^${scheme}${source}$`)}`;
}

const quoted = (text: string): string => `'${text}'`;

/** The origin of a URL; undefined when it is none. */
export function originOf(url: string): string | undefined {
  return URL.canParse(url) ? new URL(url).origin : undefined;
}

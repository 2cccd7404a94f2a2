/** The kinds of values that the schema is made of. Every one says what it expects, and its `x-type` names it in the documentation. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { formatDuration, parseBytes, parseDuration } from './units';

interface Range {
  readonly min?: number;
  readonly max?: number;
}

/** Seconds. */
export function duration(range: Range = {}) {
  return parsed('duration', 'a time such as 30s, 5m or 1h30m', parseDuration, range, formatDuration);
}

/** Bytes. */
export function bytes(range: Range = {}) {
  return parsed('bytes', 'a size such as 512Ki, 4Mi or a number of bytes', parseBytes, range, String);
}

/** A whole number. Strings are read as well, because the environment has no others. */
export function integer(range: Range = {}) {
  const read = (value: string | number): number | undefined => {
    const number = typeof value === 'number' ? value : /^-?\d+$/.test(value.trim()) ? Number(value) : NaN;
    return Number.isSafeInteger(number) ? number : undefined;
  };
  return parsed('integer', 'a whole number', read, range, String);
}

export function boolean() {
  return z
    .union([z.boolean(), z.enum(['true', 'false'])], { error: 'must be true or false' })
    .transform((value) => value === true || value === 'true')
    .meta({ 'x-type': 'boolean' });
}

export function text() {
  return z.string({ error: 'must be text' }).min(1, { error: 'must not be empty' }).meta({ 'x-type': 'text' });
}

/** A path of this machine. */
export function path() {
  return text().meta({ 'x-type': 'path' });
}

/**
 * One of a few words. Where `on` or `off` is one of them, true and false mean the same: YAML 1.1, which Helm reads, makes booleans of them.
 */
export function choice<const T extends readonly [string, ...string[]]>(...words: T) {
  const list = words.map((word) => `"${word}"`).join(', ');
  const spelt = new Map<unknown, unknown>([
    [true, 'on'],
    [false, 'off'],
  ]);
  return z
    .union([z.enum(words), z.boolean()], { error: `must be one of ${list}` })
    .transform((value, context): T[number] => {
      const word = spelt.get(value) ?? value;
      if ((words as readonly unknown[]).includes(word)) return word as T[number];
      context.issues.push({ code: 'custom', message: `must be one of ${list}`, input: value });
      return z.NEVER;
    })
    .meta({ 'x-type': words.join(' | ') });
}

export function list<T extends z.ZodType>(item: T) {
  return z.array(item, { error: 'must be a list' });
}

/** Names to text. */
export function texts() {
  return z
    .record(z.string(), z.string({ error: 'must be text (put it into quotes)' }), {
      error: 'must be a map of names to text',
    })
    .meta({
      'x-type': 'map',
    });
}

/** The base URL of a service: http or https, no credentials, query or fragment. The trailing slash is taken off. */
export function baseUrl() {
  return checked('url', 'a URL such as https://forgejo.example.org, without user, query or fragment', (value) => {
    const url = urlOf(value);
    if (url === undefined || url.username !== '' || url.password !== '' || url.search !== '' || url.hash !== '')
      return undefined;
    return url.href.replace(/\/+$/, '');
  });
}

/** A web origin (RFC 6454): scheme, host and port only. */
export function origin() {
  return checked('origin', 'an origin such as https://inspector.example.org, without a path', (value) => {
    const url = urlOf(value);
    if (url === undefined || url.origin.toLowerCase() !== value.replace(/\/$/, '').toLowerCase()) return undefined;
    return url.origin;
  });
}

/** A name as it stands in a `Host` header. */
export function host() {
  return checked('host', 'a host name such as mcp.example.org or mcp.example.org:8443', (value) =>
    /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?$/i.test(value) ? value.toLowerCase() : undefined,
  );
}

/** An address or a network of addresses, without a zone; in CIDR notation (RFC 4632, 3.1) in any case afterwards. */
export function network() {
  return checked('network', 'an address or a network such as 10.0.0.0/8', (value) => {
    const [address = '', prefix, rest] = value.split('/');
    const bits = { 0: 0, 4: 32, 6: 128 }[isIP(address)] ?? 0;
    if (bits === 0 || address.includes('%') || rest !== undefined) return undefined;
    if (prefix === undefined) return `${address}/${String(bits)}`;
    return /^\d{1,3}$/.test(prefix) && Number(prefix) <= bits ? value : undefined;
  });
}

/** The scheme of a URI (RFC 3986, 3.1) without its colon, or `*` for any. */
export function scheme() {
  return checked('scheme', 'a URI scheme such as vscode, without the colon, or *', (value) =>
    /^([a-z][a-z0-9+.-]*|\*)$/i.test(value) ? value.toLowerCase() : undefined,
  );
}

/** Where to listen: `address:port`; port 0 takes a free one. */
export function listenAddress() {
  const what = 'an address and a port such as 127.0.0.1:8080 or [::]:8080';
  return z
    .string({ error: `must be ${what}` })
    .transform((value, context) => {
      const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(value.trim());
      const address = match?.[1] ?? match?.[2] ?? '';
      const port = Number(match?.[3] ?? NaN);
      if (match === null || isIP(address) === 0 || port > 65_535) {
        context.issues.push({ code: 'custom', message: `must be ${what}`, input: value });
        return z.NEVER;
      }
      return { address, port };
    })
    .meta({ 'x-type': 'address:port' });
}

/** An RFC 1123 label: what names servers, namespaces and installs. */
export function label(max = 63) {
  return checked('name', `a name of at most ${String(max)} lower-case letters, digits and hyphens`, (value) =>
    value.length <= max && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(value) ? value : undefined,
  );
}

/** The value of a Kubernetes label. */
export function labelValue() {
  return checked('label', 'at most 63 letters, digits, dots, hyphens and underscores', (value) =>
    value.length <= 63 && /^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$/.test(value) ? value : undefined,
  );
}

/** A user or an organisation of the forge, or `*` for any. */
export function owner() {
  return checked('owner', 'the name of a user or an organisation, or * for any', (value) =>
    /^(\*|[^\s/*]+)$/.test(value) ? value : undefined,
  );
}

/** A repository of the forge, all of an owner's, or `*` for any. */
export function repository() {
  return checked('repository', 'owner/name, owner/* or *', (value) =>
    /^(\*|\*\/\*|[^\s/*]+\/(\*|[^\s/*]+))$/.test(value) ? value : undefined,
  );
}

/** A route of the forge's API. */
export function route() {
  return checked('route', 'METHOD /path, as docs/credential-proxy.md lists them', (value) =>
    /^[A-Z]+ \/\S*$/.test(value) ? value : undefined,
  );
}

/** The name of an environment variable. */
export function envName() {
  return checked('variable', 'the name of an environment variable', (value) =>
    /^[A-Za-z_][A-Za-z0-9_]*$/.test(value) ? value : undefined,
  );
}

function urlOf(value: string): URL | undefined {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  return url?.protocol === 'http:' || url?.protocol === 'https:' ? url : undefined;
}

/** Text that `read` understands. */
function checked(type: string, what: string, read: (value: string) => string | undefined) {
  return z
    .string({ error: `must be ${what}` })
    .transform((value, context) => {
      const result = read(value.trim());
      if (result === undefined) {
        context.issues.push({ code: 'custom', message: `must be ${what}`, input: value });
        return z.NEVER;
      }
      return result;
    })
    .meta({ 'x-type': type });
}

/** A number that people write as text, within a range. */
function parsed(
  type: string,
  what: string,
  read: (value: string | number) => number | undefined,
  { min, max }: Range,
  show: (value: number) => string,
) {
  return z
    .union([z.string(), z.number()], { error: `must be ${what}` })
    .transform((value, context) => {
      const number = read(value);
      const fault =
        number === undefined
          ? `must be ${what}`
          : min !== undefined && number < min
            ? `must be at least ${show(min)}`
            : max !== undefined && number > max
              ? `must be at most ${show(max)}`
              : undefined;
      if (number === undefined || fault !== undefined) {
        context.issues.push({ code: 'custom', message: fault ?? `must be ${what}`, input: value });
        return z.NEVER;
      }
      return number;
    })
    .meta({
      'x-type': type,
      ...(min === undefined ? {} : { minimum: min }),
      ...(max === undefined ? {} : { maximum: max }),
    });
}

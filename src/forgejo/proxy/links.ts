/**
 * Links that a forge puts into its answers, led back through the proxy: `Link` and `Location` headers, and in JSON the value of every
 * `browser_download_url`, which is what children fetch attachments and release files by. Other URLs (`html_url` and the like) are for people and stay.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { Transform, type TransformCallback } from 'node:stream';
import type { ProxyKeys } from '../capability';
import type { Forge } from '../forge';

/** The query parameter that carries a link's proof; the proxy takes it off again. */
export const PROOF_PARAMETER = 'fmo_proof';

const KEY = Buffer.from('"browser_download_url"');
const BACKSLASH = 0x5c;
const QUOTE = 0x22;
const COLON = 0x3a;
/** Longest value that is rewritten; a longer one is passed as it is. */
const MAX_VALUE = 8192;

/** Proves that the proxy itself gave a session the link to this path, in an answer that the policy allowed. The first key makes, all check. */
export class LinkProofs {
  constructor(private readonly keys: ProxyKeys) {}

  make(session: string, path: string): string {
    return proofOf(this.keys[0], session, path);
  }

  check(session: string, path: string, proof: string | undefined): boolean {
    const given = Buffer.from(proof ?? '');
    return this.keys.some((key) => {
      const right = Buffer.from(proofOf(key, session, path));
      return given.length === right.length && timingSafeEqual(given, right);
    });
  }
}

function proofOf(key: Buffer, session: string, path: string): string {
  return createHmac('sha256', key).update(`${session}\n${path}`).digest().subarray(0, 18).toString('base64url');
}

/** Takes the proof off a query. The rest stays byte for byte. */
export function takeProof(query: string | undefined): { query: string | undefined; proof: string | undefined } {
  if (query === undefined) return { query, proof: undefined };
  const prefix = `${PROOF_PARAMETER}=`;
  const pairs = query.split('&');
  const proof = pairs.find((pair) => pair.startsWith(prefix))?.slice(prefix.length);
  if (proof === undefined) return { query, proof };
  const rest = pairs.filter((pair) => !pair.startsWith(prefix)).join('&');
  return { query: rest === '' ? undefined : rest, proof };
}

/** What a link is rewritten with. */
export interface LinkContext {
  readonly forge: Forge;
  /** The base URL that this child knows the forge by. */
  readonly base: string;
  readonly session: string;
  readonly proofs: LinkProofs;
  /** The repository of the route that was asked, for links to attachments that name none. */
  readonly repository: { readonly owner: string; readonly name: string } | undefined;
}

/** The path and query behind the forge's public or API base URL, byte for byte; undefined for a URL of somebody else. */
export function insideForge(forge: Forge, url: string): string | undefined {
  for (const { origin, path } of [forge.web, forge.api]) {
    for (const base of [origin + path, path]) {
      if (base === '' ? url.startsWith('/') && !url.startsWith('//') : url.startsWith(`${base}/`))
        return url.slice(base.length);
    }
  }
  return undefined;
}

/** `Location`, led back through the proxy; undefined where it leads elsewhere. */
export function rewriteLocation(context: LinkContext, location: string): string | undefined {
  const inside = insideForge(context.forge, location);
  return inside === undefined ? undefined : context.base + inside;
}

/** `Link` (RFC 8288), with each target led back through the proxy; links that lead elsewhere are dropped. */
export function rewriteLinkHeader(context: LinkContext, header: string): string | undefined {
  const links: string[] = [];
  for (const match of header.matchAll(/<([^>]*)>([^<]*)/g)) {
    const target = rewriteLocation(context, match[1] ?? '');
    if (target !== undefined) links.push(`<${target}>${(match[2] ?? '').replace(/[,\s]+$/, '')}`);
  }
  return links.length === 0 ? undefined : links.join(', ');
}

/**
 * A download link, led back through the proxy. An attachment's link names no repository (`/attachments/{uuid}`); it becomes the repository's own
 * form, with a proof that it was given out in an answer about that repository. Undefined where it leads elsewhere.
 */
export function rewriteDownload(context: LinkContext, url: string): string | undefined {
  const inside = insideForge(context.forge, url);
  if (inside === undefined) return undefined;
  const uuid = /^\/attachments\/([0-9A-Fa-f-]{1,64})$/.exec(inside)?.[1];
  if (uuid === undefined || context.repository === undefined) return context.base + inside;
  const { owner, name } = context.repository;
  const path = `/${owner}/${name}/attachments/${uuid}`;
  return `${context.base}${path}?${PROOF_PARAMETER}=${context.proofs.make(context.session, path)}`;
}

/**
 * Rewrites download links in a JSON text as it streams by, in constant memory and without parsing it: inside a JSON string every quote is escaped
 * (RFC 8259, 7), so the bytes `"browser_download_url"` that no backslash precedes and a colon follows are a member's name and nothing else.
 */
export class DownloadLinks extends Transform {
  private rest: Buffer = Buffer.alloc(0);

  constructor(private readonly context: LinkContext) {
    super();
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.rest = this.pass(this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]), false);
    done();
  }

  override _flush(done: TransformCallback): void {
    this.pass(this.rest, true);
    done();
  }

  /** Pushes what is decided and returns what needs more bytes. */
  private pass(bytes: Buffer, last: boolean): Buffer {
    let from = 0; // pushed up to here
    let search = 0;
    for (;;) {
      const found = bytes.indexOf(KEY, search);
      if (found === -1) {
        // A key may begin in this piece and end in the next; the byte before it decides whether it is one.
        // What has been looked at already must not be looked at again without that byte.
        const keep = last ? bytes.length : Math.max(from, search, bytes.length - KEY.length);
        this.push(bytes.subarray(from, keep));
        return bytes.subarray(keep);
      }
      search = found + KEY.length;
      if (found > 0 && bytes[found - 1] === BACKSLASH) continue;
      const value = valueAt(bytes, search);
      if (value === 'more' && !last && bytes.length - found <= MAX_VALUE) {
        const keep = Math.max(from, found - 1);
        this.push(bytes.subarray(from, keep));
        return bytes.subarray(keep);
      }
      if (typeof value === 'string' || value === undefined) continue;
      const rewritten = this.rewrite(bytes.subarray(value.start, value.end));
      if (rewritten === undefined) continue;
      this.push(bytes.subarray(from, value.start));
      this.push(rewritten);
      from = search = value.end;
    }
  }

  private rewrite(raw: Buffer): Buffer | undefined {
    let url: unknown;
    try {
      url = JSON.parse(`"${raw.toString('utf8')}"`);
    } catch {
      return undefined;
    }
    const rewritten = typeof url === 'string' ? rewriteDownload(this.context, url) : undefined;
    return rewritten === undefined ? undefined : Buffer.from(JSON.stringify(rewritten).slice(1, -1));
  }
}

const isSpace = (byte: number | undefined): boolean => byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;

/** Where the string after a member's name begins and ends; `more` where the bytes end first, undefined where no string follows. */
function valueAt(bytes: Buffer, after: number): { start: number; end: number } | 'more' | undefined {
  let at = after;
  while (isSpace(bytes[at])) at++;
  if (at >= bytes.length) return 'more';
  if (bytes[at] !== COLON) return undefined;
  at++;
  while (isSpace(bytes[at])) at++;
  if (at >= bytes.length) return 'more';
  if (bytes[at] !== QUOTE) return undefined;
  const start = at + 1;
  for (at = start; at < bytes.length; at++) {
    if (bytes[at] === BACKSLASH) at++;
    else if (bytes[at] === QUOTE) return { start, end: at };
  }
  return 'more';
}

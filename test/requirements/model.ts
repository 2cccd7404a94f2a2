/** What a requirement of the MCP specification is, and the words in which the lists beside this file are written. */

export type Level = 'MUST' | 'SHOULD';

/** Whom a requirement binds. `author`: who defines a schema, a name, an extension or a transport. */
export type Bound = 'server' | 'client' | 'both' | 'host' | 'model' | 'author';

/** Revision, page, running number on that page: `2025-11-25/transports/7`. */
export type Id = `${string}/${string}/${number}`;

/** How a requirement concerns the gateway. */
export type Concern =
  /** The gateway itself does it: towards clients, as the client of its child, as resource server or authorization server. */
  | { readonly kind: 'ours' }
  /** Only who is behind or in front of the gateway can do it; `keep` is what the gateway must not break. */
  | { readonly kind: 'child'; readonly keep: string }
  | { readonly kind: 'not-ours'; readonly because: string };

/** A requirement with words of its own. */
export interface Stated {
  /** The anchor of the section; in the schema, the type and its member. */
  readonly section: string;
  readonly level: Level;
  readonly binds: Bound;
  readonly says: string;
  readonly concern: Concern;
  /** How many keywords of the page it stands for. */
  readonly words: number;
}

/** A requirement that an earlier entry, or another page, states already. */
export interface Repeated {
  readonly section: string;
  readonly level: Level;
  readonly same: Id;
  readonly words: number;
}

export type Entry = Stated | Repeated;

/** One page of one revision. The text itself is not kept: its digest and its keywords show whether the list is still whole. */
export interface Page {
  /** Below the revision's folder of the specification; `schema.ts` for the comments of the schema. */
  readonly source: string;
  /** SHA-256 of the page's text as `plainText` gives it. */
  readonly sha256: string;
  /** How often the page says MUST, REQUIRED or SHALL, and SHOULD or RECOMMENDED, negated or not. */
  readonly musts: number;
  readonly shoulds: number;
  readonly requirements: Readonly<Record<Id, Entry>>;
}

/** A page's text without what may change and mean nothing: targets of links, emphasis, line breaks. */
export function plainText(page: string): string {
  return page
    .replace(/\]\((?:[^()]|\([^()]*\))*\)/g, ']')
    .replace(/[*_`[\]]/g, '')
    .replace(/\s+/g, ' ')
    .trim();
}

/** Counts the keywords of a page (RFC 2119, RFC 8174: in capitals only). */
export function countKeywords(plain: string): { readonly musts: number; readonly shoulds: number } {
  const count = (words: RegExp): number => plain.match(words)?.length ?? 0;
  return { musts: count(/\b(?:MUST|REQUIRED|SHALL)\b/g), shoulds: count(/\b(?:SHOULD|RECOMMENDED)\b/g) };
}

type Rest = readonly [binds: Bound, section: string, says: string, concern: Concern, words?: number];

export function must(...rest: Rest): Stated {
  return stated('MUST', rest);
}

export function should(...rest: Rest): Stated {
  return stated('SHOULD', rest);
}

export function sameMust(same: Id, section: string, words = 1): Repeated {
  return { section, level: 'MUST', same, words };
}

export function sameShould(same: Id, section: string, words = 1): Repeated {
  return { section, level: 'SHOULD', same, words };
}

function stated(level: Level, [binds, section, says, concern, words = 1]: Rest): Stated {
  return { section, level, binds, says, concern, words };
}

export const ours: Concern = { kind: 'ours' };

const child = (keep: string): Concern => ({ kind: 'child', keep });
const notOurs = (because: string): Concern => ({ kind: 'not-ours', because });

/** What the gateway must not break. */
export const keeps = {
  results: child('results and errors of the child reach the client as they are'),
  notifications: child('notifications of the child reach the client once, in their order'),
  questions: child('requests of the child reach the client, and the answers the child, as they are'),
  params: child('what the client sends reaches the child as it is'),
  serverCapabilities: child('the answer to initialize reaches the client as it is'),
  clientCapabilities: child('the request initialize reaches the child as it is'),
  cancellation: child('a cancellation reaches the child under the id that the child knows'),
  isolation: child('a child serves one session of one login, so what it keeps is of that user'),
  stdout: child('what a child prints beside messages is skipped and costs nothing'),
} as const;

/** Why a requirement is not ours. */
export const because = {
  interface: notOurs('binds the program that people look at, in front of the gateway'),
  client: notOurs('binds the client in itself: it can do otherwise and nothing here changes'),
  clientLogin: notOurs("binds the client's side of a login; the gateway is the other side"),
  model: notOurs('binds the model or who asks it'),
  author: notOurs('binds who defines a schema, a name or an extension'),
  otherTransport: notOurs('only for transports that the specification does not define'),
  keywords: notOurs('says how the words are to be read'),
  repeats: notOurs('tells of a change; the rule itself stands on its own page'),
  future: notOurs('tells of a revision to come'),
  summary: notOurs('names entries that stand here themselves'),
  otherWay: notOurs('for servers without metadata; the gateway has them'),
  pings: notOurs('the gateway sends no pings: a child ends with its process, a connection with its keepalive'),
  reasons: notOurs("a reason is a client's own text, which the gateway writes to no log"),
  dialects: notOurs('the gateway validates nothing by a schema, so it has no dialects'),
  restart: notOurs('a child holds state of its session: its end is told, and the client begins a new one'),
  bothEras: notOurs('only for servers without the older revisions; the gateway serves them all'),
  intermediary: notOurs('for who decides by headers alone; the gateway reads the body'),
  stdioServer: notOurs(
    'binds servers on stdio; clients reach the gateway by HTTP, where a stream ends with its answer',
  ),
  deprecation: notOurs('tells authors what not to begin with; clients and children that use it are served'),
  aggregation: notOurs('the gateway puts no servers together: each has a path of its own'),
} as const;

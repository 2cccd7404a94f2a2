/** One GET of one client metadata document, as safe as a request to an address that a stranger chose can be. */
import { connect } from 'node:tls';
import { Agent, type buildConnector, request } from 'undici';
import type { Clock } from '../../clock';
import type { AddressGuard } from './addresses';
import type { CacheHeaders } from './freshness';
import { guardedLookup, type Resolve } from './resolver';

export interface FetchOptions {
  readonly guard: AddressGuard;
  readonly resolve: Resolve;
  /** For the whole request: name, connection, TLS, answer. Milliseconds. */
  readonly deadlineMs: number;
  /** Of the body. The draft recommends 5 KiB (draft-ietf-oauth-client-id-metadata-document-02, 8.7). */
  readonly maxBytes: number;
  /** PEM; the authorities to believe instead of the well-known ones. */
  readonly ca?: string | Buffer;
}

export interface FetchedDocument {
  readonly text: string;
  readonly cache: CacheHeaders;
}

/**
 * - `unreachable`: no answer, a server's own error, or an address that may not be asked. One kind for all of them, so that nobody can tell by our
 *   answer what is behind a name.
 * - `refused`: a public host answered, but with a redirect or a refusal.
 * - `gone`: the host says that there is no such document.
 * - `malformed`: there is something, and it is no client metadata document.
 */
export type FailureKind = 'unreachable' | 'refused' | 'gone' | 'malformed';

/** Why there is no document. The message is for the log only. */
export class FetchFailure extends Error {
  override readonly name = 'FetchFailure';
  readonly kind: FailureKind;

  constructor(kind: FailureKind, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
  }
}

const MAX_HEADER_BYTES = 8 * 1024;

/** `application/json` and every `application/<AS-defined>+json` (the draft, 4). */
const JSON_TYPE = /^application\/(?:[a-z0-9!#$&^_.-]+\+)?json\s*(?:;|$)/i;

/** Gets a document of a URL that `readClientIdUrl` has checked; throws {@link FetchFailure} and nothing else. */
export type FetchDocument = (url: URL) => Promise<FetchedDocument>;

/** The draft names the size; the deadline is what a person in front of a browser waits for. */
export const FETCH_DEFAULTS = { deadlineMs: 5_000, maxBytes: 5 * 1024 } as const satisfies Partial<FetchOptions>;

/**
 * Fetches documents: each by one connection to a checked address, no redirects, no cookies, no compression, nothing kept for later requests. Their URLs
 * name no addresses, so every host goes through the guard.
 */
export function documentFetch(options: FetchOptions, clock: Clock): FetchDocument {
  return (url) => fetchOnce(url, options, clock);
}

async function fetchOnce(url: URL, options: FetchOptions, clock: Clock): Promise<FetchedDocument> {
  const deadline = new AbortController();
  const timer = clock.after(options.deadlineMs, () => deadline.abort(new Error('the deadline has passed')));
  const agent = new Agent({
    connections: 1,
    pipelining: 1,
    allowH2: false,
    maxHeaderSize: MAX_HEADER_BYTES,
    headersTimeout: options.deadlineMs,
    bodyTimeout: options.deadlineMs,
    connect: connector(options, deadline.signal),
  });
  try {
    const { statusCode, headers, body } = await request(url, {
      dispatcher: agent,
      method: 'GET',
      headers: { accept: 'application/json', 'user-agent': 'forgejo-mcp-operator' },
      signal: deadline.signal,
    });
    // The agent is destroyed with the body unread where the head is enough; that is no error of anybody.
    body.on('error', () => undefined);
    const header = (name: string): string | undefined => {
      const value = headers[name];
      return Array.isArray(value) ? value.join(', ') : value;
    };
    checkHead(statusCode, header, options.maxBytes);
    return {
      text: await read(body, options.maxBytes),
      cache: { cacheControl: header('cache-control'), expires: header('expires'), age: header('age') },
    };
  } catch (error) {
    if (error instanceof FetchFailure) throw error;
    throw new FetchFailure('unreachable', `the request failed: ${reason(error)}`, error);
  } finally {
    timer.cancel();
    deadline.abort();
    await agent.destroy().catch(() => undefined);
  }
}

/**
 * Connects to port 443 of a checked address, whatever the URL says. It is no connector of undici's own, because those go on connecting when the
 * request that they are for has been given up.
 */
function connector(options: FetchOptions, signal: AbortSignal): buildConnector.connector {
  const lookup = guardedLookup(options.resolve, options.guard, signal);
  return ({ hostname }, callback) => {
    const socket = connect({
      host: hostname,
      port: 443,
      servername: hostname,
      lookup,
      ALPNProtocols: ['http/1.1'],
      // Also where the environment asks Node not to look.
      rejectUnauthorized: true,
      ...(options.ca === undefined ? {} : { ca: options.ca }),
    });
    let answered = false;
    socket.on('error', (error: Error) => {
      if (!answered) callback(error, null);
      answered = true;
    });
    socket.once('secureConnect', () => {
      answered = true;
      callback(null, socket);
    });
    const giveUp = (): void => void socket.destroy(new Error('the request has been given up'));
    if (signal.aborted) giveUp();
    signal.addEventListener('abort', giveUp, { once: true });
  };
}

function checkHead(status: number, header: (name: string) => string | undefined, maxBytes: number): void {
  if (status === 404 || status === 410) throw new FetchFailure('gone', `the host answered ${status}`);
  if (status === 429 || status >= 500) throw new FetchFailure('unreachable', `the host answered ${status}`);
  if (status !== 200) throw new FetchFailure('refused', `the host answered ${status}`);
  if (!JSON_TYPE.test(header('content-type') ?? '')) {
    throw new FetchFailure('malformed', 'the document is not of a JSON media type');
  }
  if ((header('content-encoding') ?? 'identity') !== 'identity') {
    throw new FetchFailure('malformed', 'the document is compressed, which was not asked for');
  }
  if (Number(header('content-length') ?? 0) > maxBytes) throw tooLarge(maxBytes);
}

async function read(body: AsyncIterable<Buffer>, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > maxBytes) throw tooLarge(maxBytes);
    chunks.push(chunk);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch (error) {
    throw new FetchFailure('malformed', 'the document is not UTF-8', error);
  }
}

function tooLarge(maxBytes: number): FetchFailure {
  return new FetchFailure('malformed', `the document is larger than ${maxBytes} bytes`);
}

function reason(error: unknown): string {
  if (!(error instanceof Error)) return typeof error;
  const { code } = error as NodeJS.ErrnoException;
  return code === undefined ? error.message : `${error.message} (${code})`;
}

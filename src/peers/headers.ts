/** What of a message's headers goes on (RFC 9110, 7.6.1), on Node's raw lists: name, value, name, value, as they came and in their order. */
import type { IncomingMessage } from 'node:http';
import { isOurs } from './forwarded';
import { HEADERS } from './names';
import type { Forward, SessionForward } from './contract';

/**
 * Meant for one connection. `expect` is answered by whoever the client speaks to; `trailer` only announces, and may not stand where the next
 * hop has a length.
 */
const HOP_BY_HOP = new Set([
  'connection',
  'expect',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** What `Connection` may name without effect: who could take these from a message would change what it is. */
const KEPT = new Set(['authorization', 'content-encoding', 'content-length', 'content-type', 'host']);

/** What must not come after a body, because whoever read the head has decided already (RFC 9110, 6.5.1). */
const NOT_IN_TRAILERS = new Set([
  ...HOP_BY_HOP,
  ...KEPT,
  'cache-control',
  'content-range',
  'cookie',
  'max-forwards',
  'set-cookie',
  'www-authenticate',
]);

/** Calls `keep` for each header. */
function each(raw: readonly string[], keep: (name: string, value: string) => void): void {
  for (let at = 0; at + 1 < raw.length; at += 2) keep(raw[at] ?? '', raw[at + 1] ?? '');
}

/** The headers that are meant for one connection only: by name, and by what `Connection` names. */
function named(raw: readonly string[]): ReadonlySet<string> {
  let names = HOP_BY_HOP;
  each(raw, (name, value) => {
    if (name.toLowerCase() !== 'connection') return;
    if (names === HOP_BY_HOP) names = new Set(HOP_BY_HOP);
    for (const part of value.split(',')) {
      const option = part.trim().toLowerCase();
      if (!KEPT.has(option)) names.add(option);
    }
  });
  return names;
}

/** How long a request's body is: its bytes, or that nobody knows, or that there is none. */
export function bodyLength(request: IncomingMessage, body: Forward['body']): number | 'unknown' {
  if (body === undefined) return 0;
  if (body !== 'stream') return body.byteLength;
  if (request.headers['transfer-encoding'] !== undefined) return 'unknown';
  return Number(request.headers['content-length'] ?? 0);
}

/** What goes to the holder: the client's own headers, framing for this hop, and what replicas say to each other. */
export function requestHeaders(request: IncomingMessage, self: string, forward: Forward): string[] {
  const length = bodyLength(request, forward.body);
  const dropped = named(request.rawHeaders);
  const headers: string[] = [];
  each(request.rawHeaders, (name, value) => {
    const lower = name.toLowerCase();
    if (dropped.has(lower) || lower === 'content-length' || isOurs(lower)) return;
    if (lower === 'x-request-id' && forward.requestId !== undefined) return;
    headers.push(name, value);
  });
  headers.push('Via', `1.1 ${self}`); // RFC 9110, 7.6.3
  if (forward.requestId !== undefined) headers.push('X-Request-Id', forward.requestId);
  if (length === 'unknown') headers.push('Transfer-Encoding', 'chunked');
  else if (length > 0 || request.headers['content-length'] !== undefined)
    headers.push('Content-Length', String(length));
  headers.push(HEADERS.channel, forward.channel, HEADERS.to, forward.target.name, HEADERS.from, self);
  if (isForSession(forward)) headers.push(HEADERS.session, forward.session, HEADERS.epoch, String(forward.epoch));
  headers.push(HEADERS.address, forward.clientAddress);
  return headers;
}

function isForSession(forward: Forward): forward is SessionForward {
  return forward.channel === 'mcp' || forward.channel === 'forge';
}

/** What of an answer's headers goes to the client. */
export function answerHeaders(raw: readonly string[]): string[] {
  const dropped = named(raw);
  const headers: string[] = [];
  each(raw, (name, value) => {
    const lower = name.toLowerCase();
    if (!dropped.has(lower) && !isOurs(lower)) headers.push(name, value);
  });
  return headers;
}

/** What of a message's trailers goes on, as Node's `addTrailers` takes them. */
export function trailers(raw: readonly string[]): [string, string][] {
  const kept: [string, string][] = [];
  each(raw, (name, value) => {
    const lower = name.toLowerCase();
    if (!NOT_IN_TRAILERS.has(lower) && !isOurs(lower)) kept.push([name, value]);
  });
  return kept;
}

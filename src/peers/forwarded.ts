/**
 * Which requests came from a replica. It is kept beside the request and never in a header, so nothing that a client writes can look like it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Forwarded } from './contract';
import { HEADERS, MISDIRECTED, PREFIX } from './names';

const known = new WeakMap<IncomingMessage, Forwarded>();

/** Where a request came from, if the peer listener took it; undefined for one of the public listener. */
export function forwardedOf(request: IncomingMessage): Forwarded | undefined {
  return known.get(request);
}

/** For the peer listener alone. */
export function rememberForwarded(request: IncomingMessage, forwarded: Forwarded): void {
  known.set(request, forwarded);
}

/**
 * Takes the replicas' own headers off a request. The public listener does so first of all: nothing reads them there, and it stays so where something is
 * added that does.
 */
export function stripPeerHeaders(request: IncomingMessage): void {
  const raw = request.rawHeaders;
  if (!raw.some((text, at) => at % 2 === 0 && isOurs(text))) return;
  // Node parses these two from the raw ones when they are first asked for, and by their former number: before it changes.
  for (const headers of [request.headers, request.headersDistinct]) {
    for (const name of Object.keys(headers)) if (isOurs(name)) delete headers[name];
  }
  let left = 0;
  for (let at = 0; at < raw.length; at += 2) {
    const name = raw[at] ?? '';
    if (isOurs(name)) continue;
    raw[left] = name;
    raw[left + 1] = raw[at + 1] ?? '';
    left += 2;
  }
  raw.length = left;
}

/** Marks the answer to `MISDIRECTED` as a replica's own, so that the sender reads the record again instead of passing it on. */
export function markMisdirected(response: ServerResponse): void {
  response.setHeader(HEADERS.answer, MISDIRECTED);
}

/** Whether a header's name is one of the replicas' own. */
export const isOurs = (name: string): boolean => name.slice(0, PREFIX.length).toLowerCase() === PREFIX;

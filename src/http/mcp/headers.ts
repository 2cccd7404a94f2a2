/** The headers that Streamable HTTP gives a meaning (MCP 2025-11-25, 'Transports'). */
import type { IncomingMessage } from 'node:http';
import { SESSION_VERSIONS } from '../../bridge/versions';
import { AppError } from '../../errors';

const SUPPORTED: ReadonlySet<string> = new Set(SESSION_VERSIONS);

/** Whether a revision is one of those with sessions. */
export function isServed(version: string): boolean {
  return SUPPORTED.has(version);
}

/** What an Accept header admits, by media type with parameters taken off; what has `q=0` is not admitted (RFC 9110, 12.5.1). */
function accepted(header: string | undefined): ReadonlySet<string> {
  const types = new Set<string>();
  for (const part of (header ?? '*/*').split(',')) {
    const [type = '', ...parameters] = part.split(';');
    if (!parameters.some((parameter) => /^\s*q=0(\.0*)?\s*$/i.test(parameter))) types.add(type.trim().toLowerCase());
  }
  return types;
}

function admits(types: ReadonlySet<string>, type: string): boolean {
  return types.has(type) || types.has('*/*') || types.has(`${type.split('/')[0] ?? ''}/*`);
}

/** What every MCP SDK sends; compared before anything is taken apart, because it stands on every request. */
const USUAL_ACCEPT = 'application/json, text/event-stream';

/** A POST must accept JSON and an event stream, since either may come. Throws `NOT_ACCEPTABLE`. */
export function checkPostAccept(req: IncomingMessage): void {
  const header = req.headers.accept;
  if (header === USUAL_ACCEPT) return;
  const types = accepted(header);
  if (!admits(types, 'application/json') || !admits(types, 'text/event-stream')) {
    throw new AppError(
      'NOT_ACCEPTABLE',
      'Not Acceptable: the client must accept both application/json and text/event-stream.',
    );
  }
}

/** A GET must accept an event stream. Throws `NOT_ACCEPTABLE`. */
export function checkGetAccept(req: IncomingMessage): void {
  if (!admits(accepted(req.headers.accept), 'text/event-stream')) {
    throw new AppError('NOT_ACCEPTABLE', 'Not Acceptable: the client must accept text/event-stream.');
  }
}

/** A body must be plain JSON in UTF-8. Throws `CONTENT_TYPE`. */
export function checkContentType(req: IncomingMessage): void {
  const header = req.headers['content-type'];
  if (header !== 'application/json') {
    const [type = '', ...parameters] = (header ?? '').split(';');
    const charset = parameters
      .map((parameter) => /^\s*charset="?([^"]*)"?\s*$/i.exec(parameter)?.[1])
      .find((name) => name !== undefined);
    if (type.trim().toLowerCase() !== 'application/json' || (charset !== undefined && !/^utf-?8$/i.test(charset))) {
      throw new AppError('CONTENT_TYPE', 'Unsupported Media Type: the Content-Type must be application/json in UTF-8.');
    }
  }
  const encoding = req.headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    throw new AppError('CONTENT_TYPE', 'Unsupported Media Type: send the body without a Content-Encoding.');
  }
}

/**
 * The `MCP-Protocol-Version` header: one that is there must name a revision with sessions (MCP 'Protocol Version Header'). It decides nothing beyond
 * that: how a session is served depends on what was negotiated, also where a client names another revision or none. Throws `PROTOCOL_VERSION`.
 */
export function checkProtocolVersion(req: IncomingMessage): void {
  const version = req.headers['mcp-protocol-version'];
  if (version === undefined || (typeof version === 'string' && SUPPORTED.has(version))) return;
  throw new AppError(
    'PROTOCOL_VERSION',
    `Bad Request: unsupported protocol version (supported versions: ${SESSION_VERSIONS.join(', ')}).`,
  );
}

/** The `Mcp-Session-Id` header; undefined where there is none. */
export function sessionIdOf(req: IncomingMessage): string | undefined {
  const id = req.headers['mcp-session-id'];
  return typeof id === 'string' && id !== '' ? id : undefined;
}

/** The `Last-Event-ID` header; undefined where there is none. */
export function lastEventIdOf(req: IncomingMessage): string | undefined {
  const id = req.headers['last-event-id'];
  return typeof id === 'string' && id !== '' ? id : undefined;
}

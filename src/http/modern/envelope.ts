/** What a request of the stateless era must say of itself, in its `_meta` and again in its headers (MCP 2026-07-28, 'Request Metadata'). */
import type { IncomingMessage } from 'node:http';
import type { JsonRpcRequest } from '../../bridge/contract';
import { isObject } from '../../bridge/json';
import {
  CLIENT_CAPABILITIES,
  CLIENT_INFO,
  LOG_LEVEL,
  LOG_LEVELS,
  metaOf,
  PROTOCOL_VERSION,
  severityOf,
  type ClientFacts,
} from '../../bridge/modern/meta';
import { ALL_VERSIONS, MODERN_VERSION } from '../../bridge/versions';
import { AppError } from '../../errors';
import { decodeHeader } from './header-value';

/** Where `Mcp-Name` comes from. */
const NAMED: Readonly<Record<string, 'name' | 'uri'>> = {
  'tools/call': 'name',
  'prompts/get': 'name',
  'resources/read': 'uri',
};

/** Methods of the eras with sessions that this one has not. */
const REMOVED: ReadonlySet<string> = new Set([
  'initialize',
  'ping',
  'logging/setLevel',
  'resources/subscribe',
  'resources/unsubscribe',
  'roots/list',
  'sampling/createMessage',
  'elicitation/create',
  'tasks/list',
  'tasks/result',
]);

/** Bytes of what a client may tell of itself: it decides which child serves it. */
const MAX_FACTS = 65_536;

/**
 * Checks a request and reads what it says of its client.
 * @throws AppError `PARAMS_INVALID`, `HEADER_MISMATCH`, `VERSION_UNSUPPORTED` (400), `METHOD_UNKNOWN` (404).
 */
export function readEnvelope(req: IncomingMessage, request: JsonRpcRequest): ClientFacts {
  const meta = metaOf(request);
  const version = meta[PROTOCOL_VERSION];
  if (typeof version !== 'string') throw invalid(`The field _meta["${PROTOCOL_VERSION}"] is missing.`);
  const header = req.headers['mcp-protocol-version'];
  if (header !== version) throw mismatch('MCP-Protocol-Version', `_meta["${PROTOCOL_VERSION}"]`);
  if (version !== MODERN_VERSION) {
    throw new AppError('VERSION_UNSUPPORTED', 'Unsupported protocol version', {
      data: { supported: ALL_VERSIONS, requested: version },
    });
  }
  const client = readClient(meta);
  checkHeaders(req, request);
  if (REMOVED.has(request.method)) {
    throw new AppError('METHOD_UNKNOWN', `Method not found: MCP ${MODERN_VERSION} has no ${request.method}.`);
  }
  return client;
}

function readClient(meta: Readonly<Record<string, unknown>>): ClientFacts {
  const capabilities = meta[CLIENT_CAPABILITIES];
  const info = meta[CLIENT_INFO];
  const level = meta[LOG_LEVEL];
  if (!isObject(capabilities)) throw invalid(`The field _meta["${CLIENT_CAPABILITIES}"] is missing or no object.`);
  if (info !== undefined && !isObject(info)) throw invalid(`The field _meta["${CLIENT_INFO}"] must be an object.`);
  if (level !== undefined && severityOf(level) === undefined) {
    throw invalid(`The field _meta["${LOG_LEVEL}"] must be one of ${LOG_LEVELS.join(', ')}.`);
  }
  const token = meta.progressToken;
  if (token !== undefined && typeof token !== 'string' && !Number.isInteger(token)) {
    throw invalid('The field _meta.progressToken must be a string or an integer.');
  }
  if (JSON.stringify([capabilities, info]).length > MAX_FACTS) {
    throw invalid(`The client says more of itself than ${String(MAX_FACTS)} bytes.`);
  }
  return { capabilities, info };
}

/** Headers and body must say the same, or who looks at the one is deceived about the other. */
function checkHeaders(req: IncomingMessage, { method, params = {} }: JsonRpcRequest): void {
  if (req.headers['mcp-method'] !== method) throw mismatch('Mcp-Method', 'method');
  const field = NAMED[method];
  if (field === undefined) return;
  const value = params[field];
  if (typeof value !== 'string') throw invalid(`The field params.${field} must be a string.`);
  if (decodeHeader(req.headers['mcp-name']) !== value) throw mismatch('Mcp-Name', `params.${field}`);
}

function invalid(message: string): AppError {
  return new AppError('PARAMS_INVALID', message);
}

/** The values are not repeated: they may be private, and whoever sent them knows them. */
export function mismatch(header: string, field: string): AppError {
  return new AppError('HEADER_MISMATCH', `Header mismatch: ${header} is missing, malformed, or differs from ${field}.`);
}

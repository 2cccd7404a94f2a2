/** What a request of the stateless era says of itself (MCP 2026-07-28, '_meta'). */
import type { JsonRpcRequest } from '../contract';
import { isObject } from '../json';

const PREFIX = 'io.modelcontextprotocol/';
export const PROTOCOL_VERSION = `${PREFIX}protocolVersion`;
export const CLIENT_CAPABILITIES = `${PREFIX}clientCapabilities`;
export const CLIENT_INFO = `${PREFIX}clientInfo`;
export const LOG_LEVEL = `${PREFIX}logLevel`;
export const SUBSCRIPTION_ID = `${PREFIX}subscriptionId`;
export const SERVER_INFO = `${PREFIX}serverInfo`;

/** RFC 5424's severities as MCP names them, the least severe first. */
export const LOG_LEVELS = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'] as const;

/** What a client tells of itself with every request. */
export interface ClientFacts {
  readonly capabilities: Readonly<Record<string, unknown>>;
  /** As the client wrote it; undefined where it does not tell. */
  readonly info: Readonly<Record<string, unknown>> | undefined;
}

/** A request's `_meta`; empty where it has none. */
export function metaOf({ params }: Pick<JsonRpcRequest, 'params'>): Readonly<Record<string, unknown>> {
  return isObject(params?._meta) ? params._meta : {};
}

/** How severe a level is, 0 for `debug`; undefined for what is no level. */
export function severityOf(level: unknown): number | undefined {
  const at = (LOG_LEVELS as readonly unknown[]).indexOf(level);
  return at < 0 ? undefined : at;
}

/** `_meta` as a child of the old era may see it: what the new era put there is taken out, traces and tokens stay. */
export function legacyMeta(meta: Readonly<Record<string, unknown>>): Record<string, unknown> | undefined {
  const kept = Object.entries(meta).filter(([name]) => !name.startsWith(PREFIX));
  return kept.length === 0 ? undefined : Object.fromEntries(kept);
}

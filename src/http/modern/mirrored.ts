/** Arguments of a tool that stand in headers as well (MCP 2026-07-28, 'Server Behavior for Custom Headers'). */
import type { IncomingMessage } from 'node:http';
import type { JsonRpcRequest } from '../../bridge/contract';
import { isObject } from '../../bridge/json';
import type { SessionHandle } from '../../sessions/ports';
import { mismatch } from './envelope';
import { decodeHeader } from './header-value';

const DECIMAL = /^-?\d+(?:\.\d+)?$/;

/**
 * Holds the headers of a tool's call against its arguments. Headers that no argument stands behind are ignored.
 * @throws AppError `HEADER_MISMATCH`.
 */
export async function checkMirrored(
  req: IncomingMessage,
  handle: Pick<SessionHandle, 'tool'>,
  { method, params = {} }: JsonRpcRequest,
): Promise<void> {
  if (method !== 'tools/call' || typeof params.name !== 'string') return;
  const tool = await handle.tool(params.name);
  for (const { header, path } of tool?.mirrored ?? []) {
    const value = path.reduce<unknown>(
      (at, name) => (isObject(at) && Object.hasOwn(at, name) ? at[name] : undefined),
      params.arguments,
    );
    const given = req.headers[`mcp-param-${header.toLowerCase()}`];
    if (!says(given, value)) throw mismatch(`Mcp-Param-${header}`, `params.arguments.${path.join('.')}`);
  }
}

function says(given: string | string[] | undefined, value: unknown): boolean {
  if (value === undefined || value === null) return given === undefined;
  const text = decodeHeader(given);
  if (text === undefined) return false;
  if (typeof value === 'string') return text === value;
  if (typeof value === 'boolean') return text === String(value);
  // `42.0` and `42` are the same number; `0x2a` and `4.2e1` are for other readers to take for another thing.
  return DECIMAL.test(text) && Number(text) === Number(JSON.stringify(value));
}

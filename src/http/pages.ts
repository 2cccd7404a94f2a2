/** Paths that are no endpoint. */
import type { Request, Response } from 'express';
import { AppError } from '../errors';

/** Everything else: `NOT_FOUND`, and where to look. */
export function notFound(_req: Request, _res: Response): never {
  throw new AppError('NOT_FOUND', 'There is nothing at this path. MCP is served at /mcp and /servers/<name>/mcp.');
}

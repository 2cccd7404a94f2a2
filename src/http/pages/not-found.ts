/** Paths that are no endpoint. */
import { AppError } from '../../errors';

/** Everything else: `NOT_FOUND`, and where to look. */
export function notFound(): never {
  throw new AppError('NOT_FOUND', 'There is nothing at this path. MCP is served at /mcp and /servers/<name>/mcp.');
}

/** Paths that are no endpoint. */
import { AppError } from '../../errors';
import type { Logger } from '../../telemetry/log';
import type { Handler } from '../handler';
import { asksForPage, page } from './send';

/** Everything else: `NOT_FOUND`, and where to look; a page for whoever asks for one. */
export function notFound(log: Logger): Handler {
  const shown = page(log, () => Promise.reject(missing()));
  return (req, res, next) => {
    if (!asksForPage(req)) throw missing();
    return shown(req, res, next);
  };
}

function missing(): AppError {
  return new AppError(
    'NOT_FOUND',
    'There is nothing at this path. MCP is served at /mcp and /servers/<name>/mcp; clients of 2024-11-05 use /sse in place of /mcp.',
  );
}

/** A login that this browser is not in the middle of, whatever step it came to. */
import { AppError } from '../errors';

/** `INVALID_REQUEST`. */
export function lost(): AppError {
  return new AppError(
    'INVALID_REQUEST',
    'This login has expired, or was begun in another browser. Start again from your MCP client.',
  );
}

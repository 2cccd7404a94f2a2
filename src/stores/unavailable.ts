/** What every store says when it cannot be reached. */
import { AppError } from '../errors';

/** `STORE_UNAVAILABLE`. @param retryAfter seconds. */
export function storeUnavailable(detail: string, retryAfter = 5, cause?: unknown): AppError {
  return new AppError(
    'STORE_UNAVAILABLE',
    'The gateway cannot look things up in its store at the moment. Try again in a few seconds.',
    { detail, retryAfter, ...(cause === undefined ? {} : { cause }) },
  );
}

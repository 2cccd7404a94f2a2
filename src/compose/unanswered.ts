/** What is said of a request that was sent on and came back without an answer. */
import { AppError } from '../errors';

/** Nobody who lives can say what happened to it. @param before what to do before it is tried again. */
export function unanswered(before = 'try again if that does no harm.'): AppError {
  return new AppError(
    'BACKEND_ENDED',
    `The gateway that was at work on this went away, or fell silent. It may have happened: ${before}`,
  );
}

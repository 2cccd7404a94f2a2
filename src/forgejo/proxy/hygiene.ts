/** Request hygiene: what no honest child sends, and what would let two readers see two requests (RFC 9112, 11.2), is refused before anything else. */
import type { IncomingMessage } from 'node:http';
import { AppError } from '../../errors';
import { readTarget, type Target } from '../routes/target';
import { methodOf } from './exchange';

/** Headers that must not come twice: node would take the first and another reader the last. */
const SINGLE = new Set(['authorization', 'content-type', 'content-length', 'transfer-encoding', 'host', 'expect']);
/** Headers by which a forge or a proxy before it would take the request for somebody else's. */
const IMPERSONATING = new Set([
  'sudo',
  'x-webauth-user',
  'x-webauth-email',
  'x-webauth-fullname',
  'x-http-method-override',
]);

const refuse = (what: string): never => {
  throw new AppError('REQUEST_REFUSED', `The credential proxy refused the request: ${what}.`);
};

/**
 * Checks method, headers and target. Returns the target.
 * Throws `METHOD_NOT_ALLOWED` or `REQUEST_REFUSED`.
 */
export function checkRequest(request: IncomingMessage): Target {
  if (methodOf(request) === 'OTHER')
    throw new AppError('METHOD_NOT_ALLOWED', 'The credential proxy takes GET, HEAD, POST, PUT, PATCH and DELETE.');
  const seen = new Set<string>();
  for (let i = 0; i < request.rawHeaders.length; i += 2) {
    const name = (request.rawHeaders[i] ?? '').toLowerCase();
    if (SINGLE.has(name) && seen.has(name)) refuse(`the header ${name} came twice`);
    if (IMPERSONATING.has(name)) refuse(`the header ${name} would act as another user`);
    seen.add(name);
  }
  const { headers } = request;
  if (seen.has('upgrade')) refuse('it asks for another protocol');
  // The parser refuses both at once already; this holds for every parser.
  if (seen.has('content-length') && seen.has('transfer-encoding')) refuse('it has two lengths');
  if (seen.has('transfer-encoding') && headers['transfer-encoding']?.toLowerCase() !== 'chunked')
    refuse('it has a transfer coding other than chunked');
  if (seen.has('content-encoding')) refuse('its body is compressed');
  if (headers.expect !== undefined && headers.expect.toLowerCase() !== '100-continue')
    refuse('it expects what is not known');
  return readTarget(request.url ?? '');
}

/** Client ids that are URLs of documents (draft-ietf-oauth-client-id-metadata-document-02, 3). */
import { isIP } from 'node:net';
import { invalidClient } from './refusals';

const MAX_LENGTH = 1024;

/** Names that no public DNS answers for (RFC 6761, 6762, 7686, 8375, 9476, and ICANN's `internal`). */
const LOCAL_NAMES = /(?:^|\.)(?:localhost|local|internal|intranet|home\.arpa|onion|alt|invalid|lan|home|corp)$/;

/** Whether a client id is meant as a URL; all others are ids of ours. */
export function looksLikeUrl(clientId: string): boolean {
  return /^https?:\/\//i.test(clientId);
}

/**
 * Reads a client id that is a URL. It must be https on port 443 at a name of the public DNS, with a path, without user information, fragment or dot segments,
 * and written in its normal form, so that it has one reading only; a query is let pass.
 * @throws AppError `CLIENT_INVALID` for any other.
 */
export function readClientIdUrl(clientId: string): URL {
  const url = clientId.length > MAX_LENGTH ? null : URL.parse(clientId);
  // The parser resolves dot segments (encoded ones too), drops the default port and empty user information, folds case, maps hosts and escapes spaces:
  // whatever it changed could be read in two ways.
  if (url === null || url.href !== clientId) {
    throw refused('is not a URL in its normal form');
  }
  if (url.protocol !== 'https:' || url.port !== '') throw refused('does not use https on port 443');
  if (url.username !== '' || url.password !== '') throw refused('contains user information');
  if (clientId.includes('#')) throw refused('contains a fragment');
  if (url.pathname === '/') throw refused('has no path');
  const { hostname } = url;
  if (hostname.startsWith('[') || isIP(hostname) !== 0) throw refused('names an address instead of a host');
  if (!hostname.includes('.') || hostname.endsWith('.') || LOCAL_NAMES.test(hostname)) {
    throw refused('names a host that is not public');
  }
  return url;
}

function refused(why: string): Error {
  return invalidClient(
    `The client id ${why}. A client id that is a URL must be https, on port 443 of a public host, with a path, and without user information, fragment or dot segments.`,
  );
}

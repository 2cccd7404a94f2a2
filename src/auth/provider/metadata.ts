/** Authorization server metadata (RFC 8414, and OpenID Connect Discovery's form of it), the same document at every form that clients ask for. */
import { SCOPES } from '../resource/metadata';
import type { ResourceUrls } from '../resource/urls';

/** Where things are. MCP clients of 2025-03-26 that find no metadata try `/authorize`, `/token` and `/register` by themselves. */
export const ROUTES = {
  authorization: '/authorize',
  token: '/token',
  registration: '/register',
  revocation: '/revoke',
  jwks: '/oauth/jwks',
} as const;

const OAUTH = '/.well-known/oauth-authorization-server';
const OPENID = '/.well-known/openid-configuration';

/** Which ways of making oneself known are open to clients. */
export interface ClientWays {
  /** RFC 7591. */
  readonly registration: boolean;
  /** Client ID Metadata Documents. */
  readonly documents: boolean;
}

/** RFC 8414, 2; pinned to the issuer, whatever host a request named. */
export function authorizationServerMetadata(urls: ResourceUrls, ways: ClientWays): Readonly<Record<string, unknown>> {
  const at = (path: string): string => `${urls.base}${path}`;
  return {
    issuer: urls.base,
    authorization_endpoint: at(ROUTES.authorization),
    token_endpoint: at(ROUTES.token),
    ...(ways.registration ? { registration_endpoint: at(ROUTES.registration) } : {}),
    revocation_endpoint: at(ROUTES.revocation),
    jwks_uri: at(ROUTES.jwks),
    scopes_supported: SCOPES,
    response_types_supported: ['code'],
    response_modes_supported: ['query'],
    grant_types_supported: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_methods_supported: ['none'],
    revocation_endpoint_auth_methods_supported: ['none'],
    code_challenge_methods_supported: ['S256'],
    authorization_response_iss_parameter_supported: true,
    client_id_metadata_document_supported: ways.documents,
    // Required by OpenID Connect Discovery, 3; no ID tokens are issued.
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['ES256'],
  };
}

/**
 * The document for a request path; undefined for a path that is none of its forms: at the root, and for clients that take a server's URL for
 * the issuer with its path inserted (RFC 8414, 3.1) or appended (OpenID Connect Discovery, 4).
 */
export function metadataAt(
  urls: ResourceUrls,
  path: string,
  ways: ClientWays,
): Readonly<Record<string, unknown>> | undefined {
  const isForm = [OAUTH, OPENID].some((form) => {
    if (path === form) return true;
    if (path.startsWith(form)) return urls.endpointAt(path.slice(form.length)) !== undefined;
    return path.endsWith(form) && urls.endpointAt(path.slice(0, -form.length)) !== undefined;
  });
  return isForm ? authorizationServerMetadata(urls, ways) : undefined;
}

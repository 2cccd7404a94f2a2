/** Protected resource metadata (RFC 9728): how a client that knows only a server's URL finds the authorization server. */
import type { Scope } from '../context';
import type { ResourceUrls } from './urls';

const WELL_KNOWN = '/.well-known/oauth-protected-resource';

/** All scopes, in the order in which challenges and metadata name them. */
export const SCOPES: readonly Scope[] = ['forgejo:read', 'forgejo:write'];

/** RFC 9728, 2. */
export interface ResourceMetadata {
  readonly resource: string;
  readonly authorization_servers: readonly string[];
  readonly scopes_supported: readonly string[];
  readonly bearer_methods_supported: readonly string[];
  readonly resource_name: string;
}

/**
 * The document for a request path; undefined for a path that is none of its well-known forms. The root form describes the default server;
 * the path forms say exactly the URL that the client asked for, because clients compare it with the one they connect to (RFC 9728, 3.3).
 */
export function resourceMetadata(urls: ResourceUrls, path: string): ResourceMetadata | undefined {
  if (path !== WELL_KNOWN && !path.startsWith(`${WELL_KNOWN}/`)) return undefined;
  const bare = path.endsWith('/') ? path.slice(0, -1) : path;
  const rest = bare.slice(WELL_KNOWN.length);
  const server = rest === '' ? urls.serverAt('/mcp') : urls.serverAt(rest);
  if (server === undefined) return undefined;
  return {
    resource: rest === '' ? urls.default : `${urls.base}${rest}`,
    authorization_servers: [urls.base],
    scopes_supported: SCOPES,
    bearer_methods_supported: ['header'],
    resource_name: `forgejo-mcp (${server})`,
  };
}

/** The URL of the document for the server at a path of ours (RFC 9728, 3.1). */
export function resourceMetadataUrl(urls: ResourceUrls, path: string): string {
  return `${urls.base}${WELL_KNOWN}${path}`;
}

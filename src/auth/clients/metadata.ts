/** One shape for what clients say of themselves, whether they register or publish a document. */
import { displayName } from './display-name';
import { checkRedirectUri, isLoopbackHttps, type RedirectPolicy } from './redirect-uri';
import { invalidMetadata, invalidRedirect } from './refusals';

/** A client's metadata as oidc-provider takes it (RFC 7591, 2), and nothing beyond what an MCP client needs. */
export interface ClientMetadata {
  readonly redirect_uris: readonly string[];
  readonly client_name?: string;
  readonly client_uri?: string;
  readonly application_type: 'native' | 'web';
  readonly grant_types: readonly ['authorization_code', 'refresh_token'];
  readonly response_types: readonly ['code'];
  readonly token_endpoint_auth_method: 'none';
}

/** Where the metadata comes from. */
export type MetadataSource =
  /** A registration: a stranger's words. Its answer tells the client what was changed. */
  | { readonly kind: 'registration' }
  /** A document under this URL: the host's words. Nobody tells the client what was changed, so what cannot be honoured is refused. */
  | { readonly kind: 'document'; readonly url: string };

const MAX_REDIRECTS = 20;
const MAX_LIST = 32;
const MAX_URI = 512;

const SHARED_SECRET = new Set(['client_secret_basic', 'client_secret_post', 'client_secret_jwt']);

/**
 * Makes the metadata of real clients fit: only known members are kept (no `scope`, which would bar others for ever; no logos; no sector
 * identifiers; no keys), the grants become those that MCP clients need, every client is public with PKCE, and one with a loopback or private-use redirect
 * URI is `native`, which is what lets its port vary (RFC 8252, 7.3). Members that are `null` count as absent.
 * @throws AppError `CLIENT_REDIRECT_INVALID` or `CLIENT_METADATA_INVALID`, with a message for the client's author.
 */
export function normaliseClientMetadata(
  input: unknown,
  source: MetadataSource,
  policy: RedirectPolicy,
): ClientMetadata {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) {
    throw invalidMetadata('The client metadata must be a JSON object.');
  }
  const member = (name: string): unknown => {
    const value: unknown = Object.hasOwn(input, name) ? (input as Record<string, unknown>)[name] : undefined;
    return value === null ? undefined : value;
  };
  checkGrants(strings('grant_types', member('grant_types')));
  checkResponses(strings('response_types', member('response_types')));
  checkAuthMethod(member, source);
  const name = text('client_name', member('client_name'));
  const clientName = name === undefined ? undefined : displayName(name);
  // MCP 2025-11-25, 'Client ID Metadata Documents': a document has a name; a registration may do without (RFC 7591, 2).
  if (clientName === undefined && source.kind === 'document') {
    throw invalidMetadata('A client metadata document must have a client_name.');
  }
  const clientUri = homePage(member('client_uri'), source);
  return {
    ...redirects(member('redirect_uris'), policy),
    ...(clientName === undefined ? {} : { client_name: clientName }),
    ...(clientUri === undefined ? {} : { client_uri: clientUri }),
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  };
}

function redirects(value: unknown, policy: RedirectPolicy): Pick<ClientMetadata, 'redirect_uris' | 'application_type'> {
  if (!Array.isArray(value) || value.length === 0) {
    throw invalidRedirect('redirect_uris must be a list of at least one URI.');
  }
  if (value.length > MAX_REDIRECTS) {
    throw invalidRedirect(`redirect_uris must not have more than ${MAX_REDIRECTS} entries.`);
  }
  const kinds = value.map((uri) => checkRedirectUri(uri, policy));
  const uris = [...new Set(value as string[])];
  const native = kinds.some((kind) => kind !== 'https');
  if (native && uris.some(isLoopbackHttps)) {
    throw invalidRedirect('redirect_uris of a native client must use http for a loopback address (RFC 8252, 7.3).');
  }
  return { redirect_uris: uris, application_type: native ? 'native' : 'web' };
}

/** Grants that are not on are dropped, but a client that cannot use the one that is has nothing to do here. */
function checkGrants(grants: readonly string[]): void {
  if (grants.length > 0 && !grants.includes('authorization_code')) {
    throw invalidMetadata('grant_types must contain authorization_code: this server has no other way to log in.');
  }
}

function checkResponses(types: readonly string[]): void {
  if (types.length > 0 && !types.includes('code')) {
    throw invalidMetadata('response_types must contain code: this server has no other response type.');
  }
}

/**
 * A registration's method becomes `none`, and its answer says so (RFC 7591, 3.2.1). A document gets no answer: a client that believes it
 * proves who it is with a key must not be served without, and a secret in a public document is none (draft-ietf-oauth-client-id-metadata-document-02, 4).
 */
function checkAuthMethod(member: (name: string) => unknown, source: MetadataSource): void {
  const method = text('token_endpoint_auth_method', member('token_endpoint_auth_method'));
  if (source.kind === 'registration') return;
  if (member('client_secret') !== undefined || member('client_secret_expires_at') !== undefined) {
    throw invalidMetadata('A client metadata document must not contain a client secret.');
  }
  if (method === undefined || method === 'none') return;
  if (SHARED_SECRET.has(method)) {
    throw invalidMetadata(
      'A client metadata document must not use a shared secret: token_endpoint_auth_method must be none.',
    );
  }
  // A client may list what else it can do (OpenID Connect Relying Party Metadata Choices 1.0, 2).
  const choices = strings('token_endpoint_auth_methods_supported', member('token_endpoint_auth_methods_supported'));
  if (!choices.includes('none')) {
    throw invalidMetadata('token_endpoint_auth_method must be none: this server knows public clients with PKCE only.');
  }
}

/** A page that the consent page may link to: only one of the host that vouches for the document. A registration vouches for nothing. */
function homePage(value: unknown, source: MetadataSource): string | undefined {
  const uri = text('client_uri', value);
  if (uri === undefined || source.kind === 'registration' || uri.length > MAX_URI) return undefined;
  const parsed = URL.parse(uri);
  if (parsed === null || parsed.username !== '' || parsed.password !== '') return undefined;
  return parsed.origin === new URL(source.url).origin ? parsed.href : undefined;
}

function text(name: string, value: unknown): string | undefined {
  if (value !== undefined && typeof value !== 'string') throw invalidMetadata(`${name} must be a string.`);
  return value === '' ? undefined : value;
}

function strings(name: string, value: unknown): readonly string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length > MAX_LIST || value.some((entry) => typeof entry !== 'string')) {
    throw invalidMetadata(`${name} must be a list of at most ${MAX_LIST} strings.`);
  }
  return value as readonly string[];
}

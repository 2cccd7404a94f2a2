/** An authorization request as this server understands it: what real clients send beside what MCP needs is put right or left out. */
import { SCOPES } from '../resource/metadata';
import type { ResourceUrls } from '../resource/urls';

export type Query = Readonly<Record<string, string | string[] | undefined>>;

/** What MCP's authorization asks for (OAuth 2.1, RFC 7636, RFC 8707), and what must be refused in words rather than ignored. */
const KNOWN = [
  'client_id',
  'code_challenge',
  'code_challenge_method',
  'prompt',
  'redirect_uri',
  'request',
  'request_uri',
  'resource',
  'response_mode',
  'response_type',
  'scope',
  'state',
];

/** A name of no response mode. */
const NO_MODE = 'unsupported';

/**
 * The request with our scopes only (all of them where none was asked for: the user chooses on the consent page), prompts that mean something
 * here, and the resource by its one name. What came twice stays so, to be refused.
 */
export function tidyAuthorizationRequest(query: Query, urls: ResourceUrls): Query {
  const tidy: Record<string, string | string[] | undefined> = {};
  for (const name of KNOWN) if (query[name] !== undefined) tidy[name] = query[name];
  if (!Array.isArray(tidy.scope)) {
    const asked = SCOPES.filter((scope) => tidy.scope?.toString().split(' ').includes(scope));
    tidy.scope = (asked.length === 0 ? SCOPES : asked).join(' ');
  }
  if (typeof tidy.prompt === 'string') {
    // Consent is always asked for, and who logs in is chosen at Forgejo: of the others only `none` has a meaning left.
    const prompts = tidy.prompt.split(' ').filter((prompt) => prompt === 'none' || prompt === 'consent');
    if (prompts.length > 0) tidy.prompt = prompts.join(' ');
    else delete tidy.prompt;
  }
  // oidc-provider has others however it is configured: one that a client does not expect leaves the code where it does not look, and others do.
  if (typeof tidy.response_mode === 'string' && tidy.response_mode !== 'query') tidy.response_mode = NO_MODE;
  const resources = [tidy.resource ?? urls.default].flat().map((resource) => urls.canonical(resource) ?? resource);
  const unique = [...new Set(resources)];
  tidy.resource = unique.length === 1 ? unique[0] : unique;
  return tidy;
}

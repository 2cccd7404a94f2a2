/** Where a client may have its users sent back to (RFC 6749, 3.1.2; RFC 8252, 7; RFC 9700, 2.1). */
import { invalidRedirect } from './refusals';

/** Which private-use URI schemes (RFC 8252, 7.1) are taken. */
export interface RedirectPolicy {
  /** Schemes by name, lower case, without the colon; `*` is every one that is not forbidden for all. */
  readonly schemes: readonly string[];
  /** Whether schemes that are a reversed domain name (`com.example.app`) are taken, which RFC 8252 tells native apps to use. */
  readonly reverseDomain: boolean;
}

/** Editors and agents whose MCP clients redirect to a scheme of their own. */
export const DEFAULT_REDIRECT_POLICY: RedirectPolicy = {
  schemes: [
    'claude',
    'cursor',
    'goose',
    'jetbrains',
    'kiro',
    'raycast',
    'trae',
    'vscode',
    'vscode-insiders',
    'vscodium',
    'warp',
    'windsurf',
    'zed',
  ],
  reverseDomain: true,
};

export type RedirectKind = 'https' | 'loopback' | 'custom';

const MAX_LENGTH = 512;

/** Hosts of this machine as clients write them; the port is free (RFC 8252, 7.3 and 8.3). */
const LOOPBACK = new Set(['127.0.0.1', '[::1]', 'localhost']);

/**
 * Never, whatever the policy says: schemes that run what they carry, read files, reach other parts of a browser, or start a handler of the
 * operating system that takes arguments.
 */
const FORBIDDEN =
  /^(?:https?|wss?|ftp|file|filesystem|blob|data|javascript|vbscript|about|view-source|jar|resource|chrome.*|edge|microsoft-edge.*|moz-.*|opera|brave|mailto|tel|sms|ldap|ssh|telnet|smb|intent|android-app|ms-.*|search|search-ms|shell|jnlp|steam|hcp|mk|res|local|view|urn|cid|mid)$/;

/** Printable ASCII without the characters that no URI has (RFC 3986, 2). */
const URI_CHARACTERS = /^[\x21\x24-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+$/;

const SCHEME = /^([A-Za-z][A-Za-z0-9+.-]*):(\/\/([^/?#]*))?/;

/**
 * Checks one redirect URI and says of which kind it is. Everything that two readers could read differently is refused: user information,
 * fragments, backslashes, spaces, hosts that are not written as they are used.
 * @throws AppError `CLIENT_REDIRECT_INVALID`, with a message for the client's author.
 */
export function checkRedirectUri(uri: unknown, policy: RedirectPolicy): RedirectKind {
  if (typeof uri !== 'string' || uri === '') throw invalidRedirect('redirect_uris must only contain strings.');
  if (uri.length > MAX_LENGTH) throw invalidRedirect(`redirect_uris must not be longer than ${MAX_LENGTH} characters.`);
  if (uri.includes('#')) throw invalidRedirect('redirect_uris must not contain a fragment.');
  const [, scheme, , authority] = SCHEME.exec(uri) ?? [];
  const parsed = URL.parse(uri);
  if (!URI_CHARACTERS.test(uri) || scheme === undefined || parsed === null) {
    throw invalidRedirect('redirect_uris must only contain absolute URIs.');
  }
  if (authority?.includes('@') === true) throw invalidRedirect('redirect_uris must not contain user information.');
  switch (scheme.toLowerCase()) {
    case 'https':
      checkHost(authority, parsed);
      return 'https';
    case 'http':
      checkHost(authority, parsed);
      if (!LOOPBACK.has(parsed.hostname)) {
        throw invalidRedirect('redirect_uris must use https; http is for 127.0.0.1, [::1] and localhost only.');
      }
      return 'loopback';
    default:
      checkScheme(scheme.toLowerCase(), policy);
      return 'custom';
  }
}

/** Whether a URI that was accepted is https to this very machine, which oidc-provider takes from web clients only. */
export function isLoopbackHttps(uri: string): boolean {
  const parsed = URL.parse(uri);
  return parsed?.protocol === 'https:' && LOOPBACK.has(parsed.hostname);
}

/** A loopback redirect URI without its port, because every port is the same to us (RFC 8252, 7.3); any other as it is. */
export function withoutLoopbackPort(uri: string): string {
  return uri.replace(/^(http:\/\/(?:127\.0\.0\.1|\[::1\]|localhost)):\d*(?=[/?]|$)/i, '$1');
}

/** The host must stand there as it is used: no other notation of an address, no escapes, no missing slashes. */
function checkHost(authority: string | undefined, parsed: URL): void {
  const host = authority?.replace(/:\d*$/, '').toLowerCase();
  if (host === undefined || host === '' || host !== parsed.hostname) {
    throw invalidRedirect('redirect_uris must name their host in its normal form.');
  }
}

function checkScheme(scheme: string, policy: RedirectPolicy): void {
  const taken =
    policy.schemes.includes(scheme) ||
    policy.schemes.includes('*') ||
    (policy.reverseDomain && /^[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)+$/.test(scheme));
  if (FORBIDDEN.test(scheme) || !taken) {
    throw invalidRedirect(
      `redirect_uris must not use the scheme ${scheme.slice(0, 40)}. Use https or a loopback address, or ask the administrator to allow it.`,
    );
  }
}

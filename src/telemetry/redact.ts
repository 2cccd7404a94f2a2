/** Takes secrets out of text that somebody else wrote, before it reaches a log. Errs on the side of taking too much. */

const REDACTED = '[redacted]';

/** Each with a first group that stays. No pattern backtracks over more than one repetition. */
const SECRETS: readonly RegExp[] = [
  // A private key, whole or cut off (RFC 7468).
  /()-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:[^-]|-(?!----END))*(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?/g,
  // An Authorization header or field, as HTTP, JSON or a struct writes it (RFC 9110, 11.6.2).
  /((?:proxy-)?authorization["']?\s{0,4}[:=]\s{0,4}\[?["']?)(?:(?:bearer|token|basic|digest|negotiate)\s{1,4})?[^\s"',;\]}]+/gi,
  // A scheme followed by something long enough to be a credential.
  /(\b(?:bearer|token|basic)\s{1,4})(?=[A-Za-z0-9._~+/=-]*\d)[A-Za-z0-9._~+/=-]{16,}/gi,
  // User information in a URL (RFC 3986, 3.2.1).
  /(\b[a-z][a-z0-9+.-]{0,20}:\/\/)[^\s/?#@"']{1,512}@/gi,
  // What is named like a secret: token=..., "password": "...", MCP-Session-Id: ...
  /((?:token|secret|passwd|password|passphrase|api[_-]?key|private[_-]?key|session[_-]?id|client[_-]?secret|cookie)[A-Z_]{0,20}["']?\s{0,4}[:=]\s{0,4}["']?)[^\s"',;&}\]]{8,}/gi,
  // A JSON Web Token (RFC 7519) or any JOSE object.
  /()\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){0,3}/g,
  // Our own capabilities; secrets of Forgejo's OAuth applications; tokens of other forges.
  /()\b(?:fmocap_|gto_|gta_|gtr_|gh[pousr]_|github_pat_|glpat-)[A-Za-z0-9_.~+/=-]+/g,
  // A Forgejo access token is 40 hex digits, a session id 48; longer digests (SHA-256) stay.
  /()(?<![0-9a-fA-F])(?:[0-9a-fA-F]{40}|[0-9a-fA-F]{48})(?![0-9a-fA-F])/g,
];

/** A cheap look for anything that one of the patterns could match. */
const SUSPECT =
  /[0-9a-f]{40}|eyJ|gto_|fmocap_|gt[ar]_|gh[pousr]_|github_pat_|glpat-|authorization|bearer|token|basic|secret|pass|key|session|cookie|:\/\//i;

/**
 * Replaces everything that looks like a credential: Authorization values, Forgejo tokens, JWTs, capabilities, passwords in URLs, private
 * keys. Names of sessions and commits are 40 hex digits as well and go too; a log keeps a session's name in a field of its own.
 */
export function redact(text: string): string {
  if (!SUSPECT.test(text)) return text;
  let clean = text;
  for (const secret of SECRETS) clean = clean.replace(secret, `$1${REDACTED}`);
  return clean;
}

/** ECMA-48 control sequences, operating system commands and other escapes. */
// eslint-disable-next-line no-control-regex -- control characters are what it looks for
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])/g;

/** Control characters but the tab, line separators, and the marks that turn the direction of text (Trojan Source, CVE-2021-42574). */
// eslint-disable-next-line no-control-regex -- control characters are what it looks for
const CONTROLS = /[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Takes out what would make a terminal do things or a line look like another one. */
export function stripTerminal(text: string): string {
  return text.replace(ESCAPES, '').replace(CONTROLS, '');
}

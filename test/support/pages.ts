/** Offers, connections and hostile text for the tests of pages. */
import fc from 'fast-check';
import type { Connection } from '../../src/http/pages/connections';
import type { ConsentOffer } from '../../src/http/pages/consent';

export const FORM = { action: '/authorize/one/consent', csrf: 'c5rf-token' };

export const OFFER: ConsentOffer = {
  client: {
    id: 'https://agent.example/client.json',
    name: 'Agent',
    trust: 'document',
    homePage: 'https://agent.example/',
  },
  redirectUri: 'https://agent.example/callback',
  server: 'default',
  forge: 'https://forge.example',
  scopes: ['forgejo:read', 'forgejo:write'],
  policy: { access: 'write', owners: ['*'], repositories: ['*'] },
  mayRemember: true,
};

export const LOOPBACK_OFFER: ConsentOffer = {
  ...OFFER,
  client: { id: 'dcr-1', name: 'Claude Code', trust: 'registered' },
  redirectUri: 'http://127.0.0.1:33418/callback',
  mayRemember: false,
};

export const CONNECTION: Connection = {
  grant: 'grant-1',
  client: { id: 'https://agent.example/client.json', name: 'Agent' },
  server: 'default',
  since: Date.UTC(2026, 9, 3, 8, 15),
  expiresAt: Date.UTC(2027, 3, 1, 8, 15),
  scopes: ['forgejo:read'],
  choice: { owners: ['acme', 'alice'], repositories: ['acme/*', 'alice/notes'] },
  most: { scopes: OFFER.scopes, policy: OFFER.policy, forge: OFFER.forge },
  sessions: [
    { name: 'a'.repeat(40), server: 'default', startedAt: Date.UTC(2026, 10, 22, 20, 1) },
    { name: 'b'.repeat(40), server: 'default', startedAt: Date.UTC(2026, 10, 22, 22, 30) },
  ],
};

/** What has broken out of pages before. */
export const HOSTILE = [
  '"><script>alert(1)</script>',
  "' onmouseover='alert(1)",
  '</textarea><script>alert(1)</script>',
  '</title><img src=x onerror=alert(1)>',
  '</style><svg onload=alert(1)>',
  '<!--',
  '-->',
  ']]>',
  '&lt;script&gt;',
  '&#60;b&#62;',
  '&quot;&amp;',
  'javascript:alert(1)',
  '`${alert(1)}`',
  'a\0b',
  'line\r\nline\rline\n',
  '\u202egnp.exe',
  '\ud800',
  '{{7*7}}',
  '=""',
  '/>',
];

/** Any text, and much of the kind that breaks out. */
export const hostile = fc.oneof(
  fc.constantFrom(...HOSTILE),
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.string({ unit: fc.constantFrom(...'<>"\'&`=/!-; \t\r\n\0ascript#x3', '\ud800', 'é', '\u{1f600}'), maxLength: 40 }),
);

/** How a parser hands text back: CR is kept by its reference only, and NUL and lone surrogates are replaced. */
export function asParsed(text: string): string {
  return text.replace(/\p{Cs}|\0/gu, '\u{fffd}');
}

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"' };

/** Character references as a parser decodes them (WHATWG HTML, 13.2.5.72), for those that pages use. Any other is an error. */
export function decode(text: string): string {
  return text.replace(/&(?:#(\d+);|([a-z]+);|)/g, (whole, number?: string, name?: string) => {
    if (number !== undefined) return String.fromCodePoint(Number(number));
    const named = NAMED[name ?? ''];
    if (named === undefined) throw new Error(`not a reference: ${JSON.stringify(whole)}`);
    return named;
  });
}

/** What a person reads on a page. */
export function textOf(body: string): string {
  const visible = body.replace(/<style>.*?<\/style>/s, '').replace(/<\/?(?:strong|bdi|code|a|small|time)\b[^>]*>/g, '');
  return decode(visible.replace(/<[^>]*>/g, ' ')).replace(/\s+/g, ' ');
}

/** Every tag of a page, with its attributes' names but without their values. */
export function tagsOf(body: string): string[] {
  return (body.replace(/<style>.*?<\/style>/s, '<style></style>').match(/<[^>]*>/g) ?? []).map((tag) =>
    tag.replace(/"[^"]*"/g, '""').replace(/\s+/g, ' '),
  );
}

/** The frame of every page: one document without scripts and without anything from elsewhere, and the headers that hold a browser to that. */
import { createHash } from 'node:crypto';
import { markup, sheet, type Html } from './html';

/** An answer that is a page. */
export interface Page {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** What a page is made of. */
export interface PageParts {
  readonly status: number;
  /** Of the document and its first heading. */
  readonly title: string;
  readonly content: Html;
  /** Source expressions of `form-action` (CSP 3, 6.3.1); without them the page has no forms. See {@link pageHeaders}. */
  readonly formAction?: readonly string[];
  /** Seconds until a new try makes sense. */
  readonly retryAfter?: number;
  /** Where the browser goes on to by itself, at once. */
  readonly refresh?: string;
}

const STYLE = sheet`
:root {
  color-scheme: light dark;
  --paper: #f4f5f7; --card: #fff; --ink: #1b1f24; --soft: #545d68; --line: #868f99; --edge: #d5dae0;
  --accent: #1f5fa8; --on-accent: #fff; --danger: #b42318; --warn: #fff5dc; --warn-edge: #b7791f; --code: #eef1f4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12161b; --card: #1a2027; --ink: #e8ecf1; --soft: #a5b0bd; --line: #7d8896; --edge: #313a45;
    --accent: #7db4f0; --on-accent: #0d1620; --danger: #ff9b8f; --warn: #33290f; --warn-edge: #d9a441; --code: #262e38;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
.frame { max-width: 42rem; margin: 0 auto; padding: 1.25rem 1rem 3rem; }
.product { margin: 0 0 1rem; color: var(--soft); font-size: .875rem; }
main { background: var(--card); border: 1px solid var(--edge); border-radius: .75rem; padding: 1.25rem; }
@media (min-width: 36rem) { main { padding: 2rem; } .frame { padding-top: 2.5rem; } }
h1 { margin: 0 0 1rem; font-size: 1.5rem; line-height: 1.25; }
h2 { margin: 2rem 0 .5rem; font-size: 1.125rem; line-height: 1.3; }
h3 { margin: 1.25rem 0 .25rem; font-size: 1rem; }
p { margin: .5rem 0; }
ul { margin: .5rem 0; padding-left: 1.25rem; }
a { color: var(--accent); }
code { background: var(--code); border-radius: .25rem; padding: .1em .3em; font: .9em/1.5 ui-monospace, monospace; }
.name { overflow: clip; overflow-clip-margin: .25em; }
.soft { color: var(--soft); font-size: .9rem; }
.place { margin: .75rem 0; padding: .75rem 1rem; background: var(--code); border-radius: .5rem; font: .9rem/1.6 ui-monospace, monospace; color: var(--soft); }
.place strong { color: var(--ink); font-size: 1.1em; }
.note { margin: 1rem 0; padding: .75rem 1rem; background: var(--warn); border-left: .3rem solid var(--warn-edge); border-radius: .25rem; }
.note > :first-child, .wrong > :first-child { margin-top: 0; }
.note > :last-child, .wrong > :last-child { margin-bottom: 0; }
.done { border-left-color: var(--accent); background: var(--code); }
.wrong { margin: 1rem 0; padding: .75rem 1rem; border: 2px solid var(--danger); border-radius: .5rem; }
.error { color: var(--danger); font-weight: 600; }
fieldset { min-width: 0; margin: 1.75rem 0 0; padding: 0; border: 0; }
legend { padding: 0; font-size: 1.125rem; font-weight: 600; }
.option { display: flex; gap: .65rem; align-items: flex-start; padding: .35rem 0; }
.option input { flex: none; width: 1.25rem; height: 1.25rem; margin: .15rem 0 0; accent-color: var(--accent); }
.option label { flex: 1; min-width: 0; }
.option small { display: block; color: var(--soft); font-size: .9rem; }
.names { margin: .25rem 0 0 1.9rem; }
fieldset:not(:has(.error)):has(input[value="all"]:checked) .names { display: none; }
.names label { font-weight: 600; }
textarea {
  display: block; width: 100%; min-height: 6.5rem; margin: .35rem 0; padding: .6rem .7rem; resize: vertical; color: inherit;
  background: var(--card); border: 1px solid var(--line); border-radius: .4rem; font: .95rem/1.5 ui-monospace, monospace;
}
[aria-invalid="true"] { border: 2px solid var(--danger); }
.buttons { display: flex; flex-wrap: wrap; gap: .75rem; margin-top: 1.75rem; }
button, .button {
  flex: 1 1 9rem; min-height: 2.75rem; padding: .5rem 1.1rem; border: 1px solid var(--line); border-radius: .5rem; cursor: pointer;
  background: var(--card); color: var(--ink); font: inherit; font-weight: 600; text-align: center; text-decoration: none;
}
button.main, .button { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
button.danger { border-color: var(--danger); color: var(--danger); }
button.small { flex: none; min-height: 2.25rem; padding: .25rem .8rem; font-size: .9rem; }
.card { margin: 1.25rem 0 0; padding: 1rem; border: 1px solid var(--edge); border-radius: .6rem; }
.card h2 { margin-top: 0; }
.facts { display: grid; grid-template-columns: auto 1fr; gap: .25rem 1rem; margin: .5rem 0; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; min-width: 0; }
.facts ul { margin: 0; padding: 0; list-style: none; }
@media (max-width: 26rem) { .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: .5rem; } }
.sessions { padding: 0; list-style: none; }
.sessions li { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: center; justify-content: space-between; padding: .35rem 0; }
details { margin: .75rem 0; }
summary { cursor: pointer; padding: .35rem 0; font-weight: 600; }
hr { margin: 2rem 0 1rem; border: 0; border-top: 1px solid var(--edge); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
@media (forced-colors: active) { .note, .done { border: 1px solid; } }
`;

const STYLE_SOURCE = `'sha256-${createHash('sha256').update(STYLE.text).digest('base64')}'`;

/** The style sheet's element. What is hashed is what stands between its tags, to the byte. */
const STYLE_ELEMENT = markup`<style>${STYLE}</style>`;

/**
 * The headers of a page: nothing is loaded but the one style sheet, nothing runs, nothing frames it, nothing keeps it (CSP 3; RFC 9700, 4.16).
 *
 * `form-action` is checked by Chromium against every redirect that follows a form's POST, not only against the form's own target (CSP 3, 6.3.1.1
 * leaves it open; Firefox does not). A consent page that answers its POST with 303 to Forgejo would need Forgejo, whatever Forgejo itself logs in
 * with, and the client's redirect URI in the list, since a user who is logged in there already passes through all of them in one
 * navigation; `[::1]` cannot even be written in it. So forms post to `'self'`, and `forwardPage` ends that navigation and begins another one.
 */
export function pageHeaders(options: Pick<PageParts, 'formAction' | 'retryAfter' | 'refresh'> = {}): Page['headers'] {
  const { formAction = [], retryAfter, refresh } = options;
  const targets = formAction.length === 0 ? "'none'" : formAction.join(' ');
  if (/[;,\r\n]/.test(targets)) throw new TypeError('a source expression has no separators');
  return {
    'Content-Type': 'text/html; charset=utf-8',
    'Content-Security-Policy': `default-src 'none'; style-src ${STYLE_SOURCE}; form-action ${targets}; frame-ancestors 'none'; base-uri 'none'`,
    'X-Frame-Options': 'DENY',
    'X-Content-Type-Options': 'nosniff',
    // Not 'no-referrer': a browser would then send `Origin: null` with our own forms (Fetch, 3.2), which no check could tell from a stranger's.
    'Referrer-Policy': 'same-origin',
    'Cache-Control': 'no-store',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Permissions-Policy': 'camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()',
    ...(retryAfter === undefined ? {} : { 'Retry-After': String(Math.max(1, Math.ceil(retryAfter))) }),
    ...(refresh === undefined ? {} : { Refresh: `0; url=${refresh}` }),
  };
}

/** Puts a page together. */
export function renderPage(parts: PageParts): Page {
  const { status, title, content } = parts;
  const document = markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${title} · Forgejo MCP</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
${STYLE_ELEMENT}
</head>
<body>
<div class="frame">
<header><p class="product">Forgejo MCP gateway</p></header>
<main>
<h1>${title}</h1>
${content}
</main>
</div>
</body>
</html>
`;
  return { status, headers: pageHeaders(parts), body: document.toString() };
}

/** Goes on to another site after a form, by a navigation of its own: see `pageHeaders` for why a redirect would not do. */
import { isLinkable, markup } from './html';
import { type Page, renderPage } from './layout';
import { hostOf } from './text';

/**
 * A page that goes on by itself, at once, without a script, and has a link for whoever's browser does not.
 * @throws TypeError unless `url` is absolute, with https or http.
 */
export function forwardPage(url: string): Page {
  if (url.startsWith('/') || url.startsWith('#') || !isLinkable(url))
    throw new TypeError('only absolute https and http addresses are gone on to');
  const { href } = new URL(url);
  return renderPage({
    status: 200,
    title: `On to ${hostOf(href)}`,
    content: markup`<p>You are being sent on. If nothing happens, go on yourself:</p>
<p class="buttons"><a class="button" href="${href}">Go on to ${hostOf(href)}</a></p>`,
    refresh: href,
  });
}

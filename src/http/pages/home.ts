/** The page at `/`, for whoever opens the gateway's address in a browser: what this is, and what to paste where. */
import { markup } from './html';
import { type Page, renderPage } from './layout';
import { addressParts, hostOf } from './text';

/** What the page says. */
export interface HomeView {
  /** The default server's MCP endpoint, as clients want it. */
  readonly endpoint: string;
  /** The default server's forge: its public base URL. */
  readonly forge: string;
}

/** The page. It names the default server only: who may know of the others, the administrator decides. */
export function homePage({ endpoint, forge }: HomeView): Page {
  return renderPage({
    status: 200,
    title: `${hostOf(forge)} for your programs`,
    content: markup`<p>Programs that speak the Model Context Protocol (MCP) can use <strong>${hostOf(forge)}</strong> as you, within what you allow.</p>
<h2>To connect a program</h2>
<p>Add this address to it as a remote MCP server:</p>
<p class="place">${addressParts(endpoint)}</p>
<p>It opens your browser, where you choose what it may do and log in at <strong>${hostOf(forge)}</strong>. You need no token and no password of this gateway.</p>
<h2>What you have allowed</h2>
<p>See which programs are connected and what runs for them, and change or end it.</p>
<p class="buttons"><a class="button" href="/connections">Your connections</a></p>`,
  });
}

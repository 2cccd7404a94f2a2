/** A person at a real browser who logs in through the gateway: what is pressed and typed on its pages and on the forge's. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Account } from '../../scripts/seed-forge';
import type { Tab } from './chromium';

/** Where screenshots go, to be looked at; none are taken without it. */
const SHOTS = process.env.PAGES_SCREENSHOTS;
const MAX_FORGE_PAGES = 4;
/** What the browser has to say of the test's forge, which is built without style sheets. Policies, cookies and mixed content are not among it. */
const OF_THE_FORGE =
  /^(?:GenericIssue|StylesheetLoadingIssue)$|autocomplete attributes|status of 404|Autofocus processing/;

/** What is chosen in a form of the gateway's. */
export interface Choices {
  /** Ids of fields whose labels are pressed, in this order. */
  readonly press?: readonly string[];
  /** Id of a text field, and what is typed into it. */
  readonly type?: readonly [field: string, text: string];
}

export class Person {
  /** @param forge the forge's public URL. */
  constructor(
    readonly tab: Tab,
    private readonly forge: string,
    private readonly account: Account,
  ) {}

  /** Opens an address, and goes through the forge's pages where it leads there. */
  async open(url: string): Promise<void> {
    await this.tab.goto(url);
    await this.passForge();
  }

  /** Chooses in the form that is shown. `within` names the form where the page has several. */
  async choose({ press = [], type }: Choices, within = ''): Promise<void> {
    for (const id of press) await this.tab.click(`${within} label[for$="${id}"]`);
    if (type === undefined) return;
    await this.tab.click(`${within} textarea[id$="${type[0]}"]`);
    await this.tab.type(type[1]);
  }

  /** Presses a button of the gateway's that leads away from it: by way of the forge, or straight back to the client. */
  async leave(button: string): Promise<void> {
    const { at } = this.tab;
    const origin = new URL(at).origin;
    await this.tab.click(button);
    await this.tab.arrive((now) => new URL(now).origin !== origin, `what ${button} leads to`);
    await this.passForge();
  }

  /** As {@link leave}, to a page of the gateway's own. */
  async stay(button: string): Promise<void> {
    await this.tab.follow(button);
    await this.tab.arrive(() => true, `what ${button} leads to`);
  }

  /** Logs in and grants at the forge where it asks for that. @param granted false: presses the other button. */
  async passForge(granted = true): Promise<void> {
    if (!this.atForge()) return;
    for (let count = 0; this.atForge() && count < MAX_FORGE_PAGES; count++) {
      const { at } = this.tab;
      if (await this.has('form[action="/user/login"]')) {
        await this.fill('user_name', this.account.name);
        await this.fill('password', this.account.password);
        await this.tab.click('form[action="/user/login"] button.primary');
      } else if (await this.has('form[action="/login/oauth/grant"]')) {
        await this.tab.click(`button[name="granted"][value="${String(granted)}"]`);
      } else {
        throw new Error(`neither form is at ${at}`);
      }
      await this.tab.arrive((now) => now !== at, 'the next page');
    }
  }

  /** What is read on the page. */
  text(): Promise<string> {
    return this.tab.evaluate<string>('document.body.innerText');
  }

  /** Takes the page as it is, at both widths and in both colour schemes. */
  async shoot(name: string): Promise<void> {
    if (SHOTS === undefined) return;
    await mkdir(SHOTS, { recursive: true });
    for (const width of [800, 320]) {
      for (const scheme of ['light', 'dark'] as const) {
        await this.tab.show(width, scheme);
        await writeFile(join(SHOTS, `${name}-${scheme}-${width}.png`), await this.tab.screenshot());
      }
    }
    await this.tab.show(800, 'light');
  }

  has(selector: string): Promise<boolean> {
    return this.tab.evaluate(`document.querySelector(${JSON.stringify(selector)}) !== null`);
  }

  /** What the browser has complained of so far. */
  complaints(): string[] {
    return this.tab.complaints.filter((one) => !OF_THE_FORGE.test(one));
  }

  atForge(): boolean {
    return new URL(this.tab.at).origin === new URL(this.forge).origin;
  }

  private async fill(name: string, text: string): Promise<void> {
    await this.tab.click(`input[name="${name}"]`);
    await this.tab.type(text);
  }
}

/** A real headless Chromium, driven over the DevTools protocol. It talks to loopback only. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';

const DEADLINE = 20_000;

type Params = Record<string, unknown>;
type Listener = (method: string, params: any) => void;

/** One connection to the browser; sessions of its pages share it. */
class Protocol {
  readonly #socket: WebSocket;
  readonly #waiting = new Map<number, { resolve(result: any): void; reject(error: Error): void }>();
  readonly #listeners = new Map<string, Listener>();
  #last = 0;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on('message', (data: Buffer) => {
      const { id, result, error, method, params, sessionId } = JSON.parse(data.toString());
      if (id === undefined) return this.#listeners.get(sessionId)?.(method, params);
      const call = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) call?.resolve(result);
      else call?.reject(new Error(error.message));
    });
  }

  call(method: string, params: Params = {}, sessionId?: string): Promise<any> {
    const id = (this.#last += 1);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new Error(`${method} was not answered`));
      }, DEADLINE);
      const settled =
        <T>(then: (value: T) => void) =>
        (value: T) => (clearTimeout(timer), then(value));
      this.#waiting.set(id, { resolve: settled(resolve), reject: settled(reject) });
      this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    });
  }

  listen(sessionId: string, listener: Listener): void {
    this.#listeners.set(sessionId, listener);
  }

  close(): void {
    this.#socket.close();
  }
}

/** A tab in a browser context of its own: no cookie and no cache is shared, but with the tabs that are opened {@link beside} it. */
export class Tab {
  /** What the browser complained of: policy violations, failed loads, console errors. */
  readonly complaints: string[] = [];
  /** Headers of every request, as they went out. */
  readonly sent: Readonly<Record<string, string>>[] = [];
  readonly #protocol: Protocol;
  readonly #session: string;
  readonly #context: string;
  /** The address of the page that is shown. */
  at = '';
  /** Whether that page is loaded. */
  #loaded = false;
  #loads = 0;
  #wake: () => void = () => undefined;

  private constructor(protocol: Protocol, session: string, context: string) {
    this.#protocol = protocol;
    this.#session = session;
    this.#context = context;
    protocol.listen(session, (method, params) => {
      if (method === 'Page.loadEventFired') {
        this.#loads += 1;
        this.#loaded = true;
      }
      if (method === 'Page.frameNavigated') {
        // A page that could not be loaded has the browser's own address.
        this.at = params.frame.unreachableUrl ?? params.frame.url;
        // A page that the browser had kept as it was loads nothing.
        this.#loaded = params.type === 'BackForwardCacheRestore';
        if (this.#loaded) this.#loads += 1;
      }
      if (method === 'Network.requestWillBeSentExtraInfo') this.sent.push(params.headers);
      if (method === 'Log.entryAdded') this.complaints.push(params.entry.text);
      if (method === 'Audits.issueAdded') this.complaints.push(params.issue.code);
      this.#wake();
    });
  }

  static async open(protocol: Protocol, context?: string): Promise<Tab> {
    const browserContextId = context ?? (await protocol.call('Target.createBrowserContext')).browserContextId;
    const { targetId } = await protocol.call('Target.createTarget', { url: 'about:blank', browserContextId });
    const { sessionId } = await protocol.call('Target.attachToTarget', { targetId, flatten: true });
    const tab = new Tab(protocol, sessionId, browserContextId);
    for (const domain of ['Page', 'Log', 'Audits', 'Network']) await tab.call(`${domain}.enable`);
    // As a browser with scripts turned off; the protocol's own expressions still run.
    await tab.call('Emulation.setScriptExecutionDisabled', { value: true });
    await tab.show(800, 'light');
    return tab;
  }

  /** Another tab of the same browser. */
  beside(): Promise<Tab> {
    return Tab.open(this.#protocol, this.#context);
  }

  call(method: string, params: Params = {}): Promise<any> {
    return this.#protocol.call(method, params, this.#session);
  }

  /** The viewport's width in CSS pixels, and the colour scheme that the user prefers. */
  async show(width: number, scheme: 'light' | 'dark'): Promise<void> {
    await this.call('Emulation.setDeviceMetricsOverride', { width, height: 900, deviceScaleFactor: 1, mobile: false });
    await this.call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  }

  async goto(url: string): Promise<void> {
    const seen = this.#loads;
    await this.call('Page.navigate', { url });
    await this.until(() => this.#loads > seen, `loading ${url}`);
  }

  /** Presses the Back button, and waits for what comes of it: that page may lead on by itself. */
  async back(): Promise<void> {
    const { currentIndex, entries } = await this.call('Page.getNavigationHistory');
    const entry = entries[currentIndex - 1];
    const seen = this.#loads;
    await this.call('Page.navigateToHistoryEntry', { entryId: entry.id });
    await this.until(() => this.#loads > seen, `going back to ${entry.url}`);
  }

  /** Waits until a page whose address fits is loaded. */
  async arrive(fits: (at: string) => boolean, what: string): Promise<void> {
    await this.until(() => this.#loaded && fits(this.at), `arriving at ${what}`).catch((error: unknown) => {
      throw new Error(`this is ${this.at}`, { cause: error });
    });
  }

  /** Waits for an event that makes `done` true. */
  async until(done: () => boolean, what: string): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${what}: not in time`)), DEADLINE);
    });
    try {
      while (!done()) await Promise.race([late, new Promise<void>((resolve) => (this.#wake = resolve))]);
    } finally {
      clearTimeout(timer);
    }
  }

  async evaluate<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.call('Runtime.evaluate', { expression, returnByValue: true });
    if (exceptionDetails !== undefined) throw new Error(exceptionDetails.exception?.description ?? 'evaluation failed');
    return result.value;
  }

  /** Presses the mouse on the first element that a selector finds, as a hand would. @param times 2: without looking what the first did. */
  async click(selector: string, times = 1): Promise<void> {
    const where = JSON.stringify(selector);
    const [x, y] = await this.evaluate<[number, number]>(
      `(() => { const e = document.querySelector(${where}); e.scrollIntoView({ block: 'center' }); const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()`,
    );
    for (let count = 0; count < times; count += 1) {
      for (const type of ['mousePressed', 'mouseReleased']) {
        await this.call('Input.dispatchMouseEvent', { type, x, y, button: 'left', clickCount: 1 });
      }
    }
  }

  /** Presses the mouse and waits for the page that comes of it. */
  async follow(selector: string): Promise<void> {
    const seen = this.#loads;
    await this.click(selector);
    await this.until(() => this.#loads > seen, `what ${selector} leads to`);
  }

  async type(text: string): Promise<void> {
    await this.call('Input.insertText', { text });
  }

  /** @param text what the key types, for those that a page hears by it: Enter and Space. */
  async press(key: string, code: number, text?: string): Promise<void> {
    for (const type of [text === undefined ? 'rawKeyDown' : 'keyDown', 'keyUp']) {
      await this.call('Input.dispatchKeyEvent', { type, key, code: key, windowsVirtualKeyCode: code, text });
    }
  }

  /** The whole page as a PNG. */
  async screenshot(): Promise<Buffer> {
    const { data } = await this.call('Page.captureScreenshot', { captureBeyondViewport: true });
    return Buffer.from(data, 'base64');
  }
}

export class Chromium {
  readonly #child: ChildProcess;
  readonly #home: string;
  readonly #protocol: Protocol;

  private constructor(child: ChildProcess, home: string, protocol: Protocol) {
    this.#child = child;
    this.#home = home;
    this.#protocol = protocol;
  }

  static async start(): Promise<Chromium> {
    const home = await mkdtemp(join(tmpdir(), 'chromium-'));
    const child = spawn(
      'chromium',
      [
        '--headless',
        '--no-sandbox', // as root, in the test's own machine
        '--disable-gpu',
        '--disable-quic',
        '--disable-dev-shm-usage',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
        '--remote-debugging-port=0',
        `--user-data-dir=${home}`,
        'about:blank',
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    try {
      const socket = new WebSocket(await listening(child));
      await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
      return new Chromium(child, home, new Protocol(socket));
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  open(): Promise<Tab> {
    return Tab.open(this.#protocol);
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    await this.#protocol.call('Browser.close').catch(() => this.#child.kill('SIGKILL'));
    await ended;
    this.#protocol.close();
    await rm(this.#home, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** The address of the debugging socket, which Chromium prints. */
function listening(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = '';
    const timer = setTimeout(() => reject(new Error(`Chromium did not start: ${said.slice(-500)}`)), DEADLINE);
    const settle = (then: () => void) => (clearTimeout(timer), then());
    child.once('error', (error) => settle(() => reject(error)));
    child.once('exit', () => settle(() => reject(new Error(`Chromium ended: ${said.slice(-500)}`))));
    child.stderr?.on('data', (data: Buffer) => {
      said = (said + data.toString()).slice(-10_000);
      const [, url] = /DevTools listening on (ws:\S+)/.exec(said) ?? [];
      if (url !== undefined) settle(() => resolve(url));
    });
  });
}

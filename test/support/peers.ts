/** The programs of test/peers/: where they are, and how a test talks to them. */
import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join, resolve } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { promisify } from 'node:util';

/** A folder of test/peers/ with a build.sh. */
export type PeerName =
  | 'beads'
  | 'dockerfile-check'
  | 'everything-server'
  | 'fixture-child'
  | 'forge'
  | 'forgejo-mcp-rs'
  | 'go-client'
  | 'inspector'
  | 'java-client'
  | 'python-client'
  | 'rust-client';

const PEERS = resolve(__dirname, '../peers');
const ANSWER_DEADLINE_MS = 60_000;
const EXIT_DEADLINE_MS = 10_000;
const STDERR_KEPT = 64 * 1024;

const folders = new Map<PeerName, Promise<string>>();

/** The folder of a built peer; builds it first where the cache has none. */
export function peerFolder(name: PeerName): Promise<string> {
  let folder = folders.get(name);
  if (!folder) {
    folder = promisify(execFile)(join(PEERS, 'get.sh'), [name], { maxBuffer: 1 << 20 }).then(({ stdout }) =>
      stdout.trim(),
    );
    folders.set(name, folder);
  }
  return folder;
}

/** A stdio MCP server among the peers, as a command line. */
export async function childCommand(name: 'everything-server' | 'fixture-child' | 'forgejo-mcp-rs'): Promise<string> {
  return join(await peerFolder(name), name);
}

/** A program that reads JSON lines and writes JSON lines; its environment is only what it is given. */
export class JsonLinesProcess {
  private readonly child: ChildProcessByStdio<Writable, Readable, Readable>;
  private readonly arrived: unknown[] = [];
  private readonly waiting: { matches: (message: unknown) => boolean; settle: (message: unknown) => void }[] = [];
  private readonly noise: string[] = [];
  private errors = '';
  private closed = false;

  constructor(command: string, args: readonly string[] = [], environment: Readonly<Record<string, string>> = {}) {
    this.child = spawn(command, args, { env: { PATH: process.env['PATH'], ...environment }, stdio: 'pipe' });
    this.child.stdin.on('error', () => undefined); // a child that has gone: the wait for its answer tells
    // Not node:readline, which ends lines at U+2028 too.
    const decoder = new StringDecoder('utf8');
    let rest = '';
    this.child.stdout.on('data', (chunk: Buffer) => {
      const lines = (rest + decoder.write(chunk)).split('\n');
      rest = lines.pop()!;
      for (const line of lines) this.take(line);
    });
    this.child.once('close', () => {
      this.closed = true;
    });
    this.child.stderr.on('data', (chunk: Buffer) => {
      this.errors = (this.errors + chunk.toString()).slice(-STDERR_KEPT);
    });
  }

  get pid(): number {
    return this.child.pid!;
  }

  /** The end of what it wrote to stderr. */
  get stderr(): string {
    return this.errors;
  }

  /** Lines on stdout that were not JSON. */
  get notJson(): readonly string[] {
    return this.noise;
  }

  send(message: unknown): void {
    this.child.stdin.write(`${JSON.stringify(message)}\n`);
  }

  /** The first message, earlier or later, that nobody has taken yet and that `matches`; throws after `deadlineMs`, or when it exits. */

  async next(matches: (message: any) => boolean = () => true, deadlineMs = ANSWER_DEADLINE_MS): Promise<any> {
    const index = this.arrived.findIndex(matches);
    if (index >= 0) return this.arrived.splice(index, 1)[0];
    if (this.closed) throw this.lost('it has exited');
    return new Promise((settle, fail) => {
      const waiter = {
        matches,
        settle: (message: unknown): void => {
          clearTimeout(timer);
          this.child.off('close', gone);
          settle(message);
        },
      };
      const give = (why: string): void => {
        clearTimeout(timer);
        this.child.off('close', gone);
        this.waiting.splice(this.waiting.indexOf(waiter), 1);
        fail(this.lost(why));
      };
      const gone = (): void => give('it exited');
      const timer = setTimeout(() => give(`nothing came in ${deadlineMs} ms`), deadlineMs);
      this.child.once('close', gone);
      this.waiting.push(waiter);
    });
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Ends its stdin and waits for its exit; kills it after 10 s. Gives the exit code, or the signal's name. */
  async end(): Promise<number | string> {
    this.child.stdin.end();
    return this.exit();
  }

  /** Waits for its exit; kills it after 10 s. */
  async exit(): Promise<number | string> {
    if (!this.closed) {
      const patience = setTimeout(() => {
        this.child.kill('SIGKILL');
        this.child.stdout.destroy(); // a grandchild may hold it open
        this.child.stderr.destroy();
      }, EXIT_DEADLINE_MS);
      await once(this.child, 'close');
      clearTimeout(patience);
    }
    return this.child.exitCode ?? this.child.signalCode!;
  }

  private take(line: string): void {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch {
      this.noise.push(line);
      return;
    }
    const index = this.waiting.findIndex((waiter) => waiter.matches(message));
    if (index >= 0) this.waiting.splice(index, 1)[0].settle(message);
    else this.arrived.push(message);
  }

  private lost(why: string): Error {
    return new Error(`no answer from process ${this.pid}: ${why}; stderr:\n${this.errors.slice(-2000)}`);
  }
}

/** A stdio MCP server spoken to directly, without a gateway. */
export class StdioServer extends JsonLinesProcess {
  private id = 0;

  /** Sends initialize and initialized; gives the server's result. */

  async initialize(protocolVersion = '2025-11-25', capabilities: object = {}): Promise<any> {
    const clientInfo = { name: 'tests', version: '1.0.0' };
    const answer = await this.request('initialize', { protocolVersion, capabilities, clientInfo });
    this.send({ jsonrpc: '2.0', method: 'notifications/initialized' });
    return answer.result;
  }

  /** One request; gives the whole response, an error too. */

  async request(method: string, params: object = {}): Promise<any> {
    const id = ++this.id;
    this.send({ jsonrpc: '2.0', id, method, params });
    return this.next((message) => message.id === id && message.method === undefined);
  }

  async call(name: string, args: object = {}): Promise<any> {
    return (await this.request('tools/call', { name, arguments: args })).result;
  }

  /** The first text of a tool's result. */
  async text(name: string, args: object = {}): Promise<string> {
    return (await this.call(name, args)).content[0].text as string;
  }
}

/** What a scripted client tells of one action. */
export interface ClientAnswer {
  readonly did: string;
  readonly ok: boolean;

  readonly result?: any;
  readonly error?: {
    readonly type: string;
    readonly message: string;
    readonly code?: number;
    readonly status?: number;
  };
  readonly ms: number;
}

/** A client that logs in by itself: see test/peers/python-client/client.py. */
export interface OAuthSettings {
  readonly name: string;
  readonly redirectUri: string;
  /** Of a client ID metadata document; else the SDK registers the client. */
  readonly documentUrl?: string;
}

/** A client of any official SDK, driven action by action: see test/peers/python-client/client.py. */
export interface DrivenClient {
  /** Does one action and gives what came of it, a failure too. */
  do(action: string, more?: object): Promise<ClientAnswer>;
  /** Does one action and gives its result; throws if it failed. */
  must(action: string, more?: object): Promise<any>;
  /** Ends it and its session. */
  stop(): Promise<void>;
}

/** An official SDK that is driven as a program of its own. */
export type ScriptedKind = 'python' | 'go' | 'rust' | 'java';

/** The program of a client, and its arguments before the URL. */
async function program(kind: ScriptedKind): Promise<[string, ...string[]]> {
  const folder = await peerFolder(`${kind}-client`);
  switch (kind) {
    case 'python':
      return [join(folder, 'bin/python'), join(PEERS, 'python-client/client.py')];
    case 'java':
      return ['java', '-XX:TieredStopAtLevel=1', '-cp', `${folder}:${folder}/lib/*`, 'JavaClient'];
    case 'go':
    case 'rust':
      return [join(folder, `${kind}-client`)];
  }
}

/** An official client, driven action by action: see test/peers/python-client/client.py. */
export class ScriptedClient extends JsonLinesProcess implements DrivenClient {
  /** @param token goes by the environment, so that it is in no process list. @param oauth has the Python one log in by itself. */
  static async start(
    kind: ScriptedKind,
    url: string,
    token?: string,
    headers?: Readonly<Record<string, string>>,
    oauth?: OAuthSettings,
  ): Promise<ScriptedClient> {
    const environment = {
      ...(token === undefined ? {} : { MCP_TOKEN: token }),
      ...(headers ? { MCP_HEADERS: JSON.stringify(headers) } : {}),
      ...(oauth ? { MCP_OAUTH: JSON.stringify(oauth) } : {}),
    };
    const [command, ...before] = await program(kind);
    return new ScriptedClient(command, [...before, url], environment);
  }

  /**
   * Opens a session as a client that has no token: the SDK meets the 401 and asks for a browser, which follows the authorization URL as far as the
   * client's redirect URI. Gives the result of `initialize`; throws if it failed, or asked for no login.
   */
  async logIn(browse: (url: URL) => Promise<URL>): Promise<any> {
    this.send({ do: 'initialize' });
    const asked = await this.next();
    if (asked.did !== 'authorize') throw new Error(`it asked for no login: ${JSON.stringify(asked)}`);
    this.send({ url: await browse(new URL(asked.url as string)) });
    const answer = (await this.next()) as ClientAnswer;
    if (!answer.ok) throw new Error(`initialize failed: ${JSON.stringify(answer.error)}`);
    return answer.result;
  }

  /** Does one action and gives what came of it, a failure too. */
  async do(action: string, more: object = {}): Promise<ClientAnswer> {
    this.send({ do: action, ...more });
    return (await this.next((answer) => answer.did === action)) as ClientAnswer;
  }

  /** Does one action and gives its result; throws if it failed. */

  async must(action: string, more: object = {}): Promise<any> {
    const answer = await this.do(action, more);
    if (!answer.ok) throw new Error(`${action} failed: ${JSON.stringify(answer.error)}`);
    return answer.result;
  }

  async stop(): Promise<void> {
    await this.end();
  }
}

/** Plays stories against an endpoint and checks every answer. It knows which session is whose. */
import { Agent } from 'node:http';
import { ENDPOINT, LAST_EVENT, type Act, type SessionRef, type Story, type User, USERS } from './acts';
import { checkAnswer, messagesOf } from './answers';
import { checkWords, mark } from './canaries';
import { DEADLINE_MS, later, send, type HttpRequest, type Outcome } from './client';
import { ASK_ID, MARK, STATE } from './messages';
import { alignedHeaders, isStateless, questionsIn, retryOf, type Questioned } from './stateless';

export interface Opened {
  readonly user: User;
  readonly id: string;
  /** The child's word; undefined where the child has none. */
  readonly canary: string | undefined;
  ended: boolean;
}

export interface Endpoint {
  readonly port: number;
  readonly path: string;
  /** The bearer of a user. */
  bearer(user: User): string;
}

/** Turns that a POST is waited for before the next act goes on beside it. */
const PATIENCE_TURNS = 60;

const VERSIONS = ['2025-03-26', '2025-06-18', '2025-11-25'];

/** One story on one endpoint. */
export class Teller {
  readonly #endpoint: Endpoint;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 });
  readonly #over = new AbortController();
  readonly #opened: Opened[] = [];
  readonly #asks: string[] = [];
  readonly #events: string[] = [];
  readonly #endpoints: string[] = [];
  readonly #questioned: Questioned[] = [];
  /** Marks of what clients answered to children: the calls that asked have them in their own answers. */
  readonly #given = new Set<string>();
  readonly #running: Promise<void>[] = [];
  readonly #leave = new AbortController();
  #wrong: Error | undefined;

  constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint;
  }

  /** Plays it and ends every session that it opened. Throws what was wrong with any answer. */
  async tell({ acts, moods }: Story): Promise<void> {
    const timer = setTimeout(() => this.#over.abort(), DEADLINE_MS);
    try {
      for (const [n, user] of USERS.entries())
        await this.#open(user, VERSIONS[(moods[0] ?? 0 + n) % VERSIONS.length] ?? '');
      for (const act of acts) {
        const done = this.#act(act);
        this.#running.push(done);
        if (act.wait) await Promise.race([done, turns(PATIENCE_TURNS)]);
      }
      for (const one of this.#opened) await this.#end(one);
      this.#leave.abort(); // a stream that listens ends with its client
      await Promise.all(this.#running);
    } finally {
      clearTimeout(timer);
      this.#over.abort();
      this.#agent.destroy();
    }
    if (this.#wrong !== undefined) throw this.#wrong;
  }

  /** A session as any client opens it; the child may refuse. */
  async #open(user: User, protocolVersion: string): Promise<void> {
    const params = { protocolVersion, capabilities: { sampling: {}, elicitation: {}, roots: {} }, mark: mark(user) };
    await this.#post(user, JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params }));
    const opened = this.#opened.at(-1);
    if (opened?.user !== user) return;
    await this.#post(user, '{"jsonrpc":"2.0","method":"notifications/initialized"}', opened);
  }

  #post(user: User, body: string, session?: Opened): Promise<void> {
    const headers: [string, string][] = [
      ['Host', 'localhost'],
      ['Accept', 'application/json, text/event-stream'],
      ['Content-Type', 'application/json'],
      ['Authorization', `Bearer ${this.#endpoint.bearer(user)}`],
      ...(session === undefined ? [] : [['Mcp-Session-Id', session.id] as [string, string]]),
    ];
    return this.#send(user, session, body, {
      method: 'POST',
      path: this.#endpoint.path,
      headers,
      body: Buffer.from(body),
    });
  }

  async #end(session: Opened): Promise<void> {
    const { path } = this.#endpoint;
    const headers: [string, string][] = [
      ['Host', 'localhost'],
      ['Authorization', `Bearer ${this.#endpoint.bearer(session.user)}`],
      ['Mcp-Session-Id', session.id],
    ];
    await this.#send(session.user, session, undefined, { method: 'DELETE', path, headers });
    session.ended = true;
  }

  async #act(act: Act): Promise<void> {
    const { user, drop } = act;
    const endpoint = this.#endpoints[act.seen % Math.max(1, this.#endpoints.length)] ?? '/sse?connection=none';
    const path = act.path === ENDPOINT ? endpoint : act.path;
    const method = act.path === ENDPOINT ? 'POST' : act.path === '/sse' ? 'GET' : act.method;
    const questioned = act.again ? this.#questioned[act.seen % Math.max(1, this.#questioned.length)] : undefined;
    if (questioned !== undefined) {
      await this.#again(questioned);
      return;
    }
    // The transport of 2024-11-05 knows no such header.
    const session = path === '/sse' || act.path === ENDPOINT ? undefined : this.#find(user, act.session);
    const named = session?.id ?? (act.session.kind === 'text' ? act.session.text : undefined);
    const word = mark(user);
    const ask = this.#asks[act.seen % Math.max(1, this.#asks.length)] ?? '"r0.1.n1"';
    const state = JSON.stringify(this.#questioned[act.seen % Math.max(1, this.#questioned.length)]?.state ?? 'none');
    const text =
      method === 'POST' || method === 'PUT'
        ? act.body?.replaceAll(MARK, word).replaceAll(ASK_ID, ask).replaceAll(STATE, state)
        : undefined;
    const aligned = act.aligned ? alignedHeaders(text) : undefined;
    const body = text === undefined ? undefined : spoil(Buffer.from(text), act.spoilt);
    const id = named === undefined ? [] : [['Mcp-Session-Id', named] as const];
    const event = this.#events[act.seen % Math.max(1, this.#events.length)] ?? 'none';
    if (messagesOf(text).some((message) => !Object.hasOwn(message, 'method'))) this.#given.add(word);
    const headers = [
      ['Authorization', `Bearer ${this.#endpoint.bearer(user)}`] as const,
      ...id,
      ...(act.twice ? id : []),
      ...act.headers
        .filter(([name]) => aligned === undefined || !/^mcp-/i.test(name))
        .map(([name, value]) => [name, value === LAST_EVENT ? event : value] as const),
      ...(aligned ?? []),
    ];
    const request: HttpRequest = {
      method,
      path: path === '/mcp' ? this.#endpoint.path : path,
      headers,
      ...(body === undefined ? {} : { body }),
      ...(drop === undefined ? {} : { drop }),
    };
    await this.#send(user, session, act.spoilt === undefined ? text : undefined, request, word);
    if (method === 'DELETE' && session?.user === user) session.ended = true;
  }

  /** The same call once more, with answers to the questions that it was answered with. */
  async #again(questioned: Questioned): Promise<void> {
    const { user } = questioned;
    const body = retryOf(questioned);
    const headers = [
      ['Host', 'localhost'] as const,
      ['Accept', 'application/json, text/event-stream'] as const,
      ['Content-Type', 'application/json'] as const,
      ['Authorization', `Bearer ${this.#endpoint.bearer(user)}`] as const,
      ...(alignedHeaders(body) ?? []),
    ];
    await this.#send(user, undefined, body, {
      method: 'POST',
      path: this.#endpoint.path,
      headers,
      body: Buffer.from(body),
    });
  }

  /** Sends, checks, and notes what the story can use later. What is wrong is kept: acts run side by side. */
  async #send(
    user: User,
    session: Opened | undefined,
    body: string | undefined,
    request: HttpRequest,
    word?: string,
  ): Promise<void> {
    // A stream that names no session ends with its client.
    const own = isStateless(body) || (request.method === 'GET' && session === undefined);
    const leave = own ? this.#leave.signal : undefined;
    const came = (text: string): void => {
      const endpoint = /^event: endpoint\ndata: (\S+)$/m.exec(text)?.[1];
      if (endpoint !== undefined) this.#endpoints.push(endpoint);
    };
    const outcome = await send(this.#endpoint.port, this.#agent, request, this.#over.signal, leave, came);
    try {
      this.#check(user, session, body, request, outcome, word);
    } catch (thrown) {
      const { method, path, headers } = request;
      const shown = headers.filter(([name]) => name !== 'Authorization');
      const what = `${method} ${path} of ${user}, ${JSON.stringify(shown)}, ${String(request.body).slice(0, 600)}`;
      this.#wrong ??= new Error(`${(thrown as Error).message}\nin answer to ${what}`, { cause: thrown });
    }
  }

  #check(
    user: User,
    session: Opened | undefined,
    body: string | undefined,
    request: HttpRequest,
    outcome: Outcome,
    word?: string,
  ): void {
    const names = new Set(request.headers.map(([name]) => name.toLowerCase()));
    const resumes = request.method === 'GET' && (names.has('last-event-id') || session === undefined);
    const asked = new Set(
      [...this.#given, word, ...(body?.match(/\bmk\.[a-z]+\.\d+/g) ?? [])].filter((one) => one !== undefined),
    );
    const shown = `${JSON.stringify(outcome.headers)}\n${outcome.text}`;
    const own = session?.user === user && !opens(body) ? session.canary : undefined;
    const strange = (text: string): string => text.replaceAll(new RegExp(`\\bmk\\.${user}\\.\\d+\\b`, 'g'), '');
    // A stream that is taken up again shows what another request of the same session asked for. So does what a child of a session says of its own
    // accord: stdio does not tell which of a session's calls a question belongs to. Answers, and all of 2026-07-28, are for the asker alone.
    if (resumes) checkWords(strange(shown), user, own, asked);
    else
      checkWords(
        isStateless(body) ? shown : shown.replaceAll(/^data: .*$/gm, (line) => (asks(line) ? strange(line) : line)),
        user,
        own,
        asked,
      );
    if (request.method === 'TRACE' || request.method === 'HEAD') return;
    const messages = checkAnswer(outcome, { body, resumes });
    for (const [, id = ''] of outcome.text.matchAll(/^id: ?(.+)$/gm)) this.#events.push(id);
    for (const message of messages)
      if (Object.hasOwn(message, 'method') && Object.hasOwn(message, 'id')) this.#asks.push(JSON.stringify(message.id));
    this.#questioned.push(...questionsIn(messages, user, body));
    const id = outcome.headers['mcp-session-id'];
    if (typeof id === 'string' && !this.#opened.some((one) => one.id === id)) {
      const canary = /\bcy\.[a-z]+\.\d+\b/.exec(outcome.text)?.[0];
      this.#opened.push({ user, id, canary, ended: false });
    }
  }

  #find(user: User, ref: SessionRef): Opened | undefined {
    if (ref.kind === 'none' || ref.kind === 'text') return undefined;
    const fits = this.#opened.filter((one) =>
      ref.kind === 'ended' ? one.ended : !one.ended && (one.user === user) === (ref.kind === 'own'),
    );
    return fits[ref.n % Math.max(1, fits.length)];
  }
}

/** Whether a line of a stream is a request or a notification. */
function asks(line: string): boolean {
  return messagesOf(line.slice('data: '.length)).some((message) => Object.hasOwn(message, 'method'));
}

/** Whether a body is for no session that there is: it opens one, or is of the revision without sessions. */
function opens(body = ''): boolean {
  return body.includes('io.modelcontextprotocol/') || messagesOf(body).some(({ method }) => method === 'initialize');
}

function turns(count: number): Promise<void> {
  return new Promise((resolve) => later(count, resolve));
}

/** Bytes that are no UTF-8, in the middle of the rest. */
function spoil(body: Buffer, at: number | undefined): Buffer {
  if (at === undefined) return body;
  const place = Math.min(at, body.length);
  return Buffer.concat([body.subarray(0, place), Buffer.from([0xc3, 0x28, 0xff]), body.subarray(place)]);
}

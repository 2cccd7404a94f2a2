/** Speaks newline-delimited JSON-RPC over a bare byte link, for tests of what is below the bridge. */
import { once } from 'node:events';
import { EventEmitter } from 'node:events';
import type { BackendLink } from '../../src/backends/contract';

export interface Line {
  readonly id?: number;
  readonly method?: string;
  readonly params?: any;
  readonly result?: any;
  readonly error?: { readonly code: number; readonly message: string };
}

/** Milliseconds for one answer. */
const ANSWER_MS = 30_000;

export class LinkClient {
  /** Bytes of stdout so far. */
  received = 0;
  stderr = '';
  /** Lines that are no JSON object. */
  readonly noise: string[] = [];
  /** Called for each message without an id, in the order of arrival. */
  onNotification: (line: Line) => void = () => undefined;
  readonly #events = new EventEmitter();
  readonly #answers = new Map<number, Line>();
  #parts: Buffer[] = [];
  #next = 1;

  constructor(readonly link: BackendLink) {
    link.onData((bytes) => this.#take(bytes));
    link.onStderr((bytes) => {
      this.stderr += bytes.toString('utf8');
      this.#events.emit('stderr');
    });
    this.#events.setMaxListeners(0);
  }

  /** Sends a tool call and returns its id at once. */
  async send(tool: string, args: unknown = {}): Promise<number> {
    const id = this.#next++;
    const params = { name: tool, arguments: args };
    await this.link.write(Buffer.from(`${JSON.stringify({ jsonrpc: '2.0', id, method: 'tools/call', params })}\n`));
    return id;
  }

  /** Waits for an answer, which may be there already. */
  async answer(id: number, ms = ANSWER_MS): Promise<Line> {
    const signal = AbortSignal.timeout(ms);
    for (;;) {
      const line = this.#answers.get(id);
      if (line !== undefined) {
        this.#answers.delete(id);
        return line;
      }
      await once(this.#events, 'answer', { signal });
    }
  }

  async call(tool: string, args: unknown = {}, ms = ANSWER_MS): Promise<Line> {
    return this.answer(await this.send(tool, args), ms);
  }

  /** A tool's first text; throws what the child answered instead. */
  async text(tool: string, args: unknown = {}, ms = ANSWER_MS): Promise<string> {
    const line = await this.call(tool, args, ms);
    if (line.error !== undefined) throw new Error(`${tool}: ${line.error.message}`);
    return String(line.result.content[0].text);
  }

  /** Waits until stderr holds a text. */
  async stderrHolds(text: string, ms = ANSWER_MS): Promise<void> {
    const signal = AbortSignal.timeout(ms);
    while (!this.stderr.includes(text)) await once(this.#events, 'stderr', { signal });
  }

  #take(bytes: Buffer): void {
    this.received += bytes.length;
    let from = 0;
    for (let at = bytes.indexOf(10); at !== -1; at = bytes.indexOf(10, from)) {
      this.#parts.push(bytes.subarray(from, at));
      this.#line(Buffer.concat(this.#parts).toString('utf8'));
      this.#parts = [];
      from = at + 1;
    }
    if (from < bytes.length) this.#parts.push(bytes.subarray(from));
  }

  #line(text: string): void {
    let line: Line | undefined;
    try {
      const value: unknown = JSON.parse(text);
      if (value !== null && typeof value === 'object' && 'jsonrpc' in value) line = value as Line;
    } catch {
      line = undefined;
    }
    if (line === undefined) {
      this.noise.push(text);
    } else if (line.id !== undefined && line.method === undefined) {
      this.#answers.set(line.id, line);
      this.#events.emit('answer');
    } else {
      this.onNotification(line);
    }
  }
}

/** One HTTP request as a client of bad habits sends it, and all that came back. */
import { type Agent, type IncomingHttpHeaders, request } from 'node:http';

/** When the client goes away, and how many turns of the event loop later. */
export interface Drop {
  readonly at: 'sent' | 'headers' | 'data';
  readonly turns: number;
}

export interface HttpRequest {
  readonly method: string;
  readonly path: string;
  /** In their order; a name may stand twice. */
  readonly headers: readonly (readonly [string, string])[];
  readonly body?: Buffer;
  readonly drop?: Drop;
}

export interface Outcome {
  /** Undefined where no answer began. */
  readonly status: number | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** `whole`: to its end; `cut`: the other side closed before; `dropped`: we did; `stuck`: neither in time. */
  readonly end: 'whole' | 'cut' | 'dropped' | 'stuck';
}

/** Milliseconds for one answer, far beyond every deadline of the gateway under test. */
export const DEADLINE_MS = 20_000;

/**
 * Sends it and waits for the end, whatever that is.
 * @param over aborts the wait: `stuck`. @param leave has us go away from an answer that need not end by itself: `dropped`.
 * @param came is told of every piece of the answer.
 */
export function send(
  port: number,
  agent: Agent,
  what: HttpRequest,
  over: AbortSignal,
  leave?: AbortSignal,
  came?: (text: string) => void,
): Promise<Outcome> {
  return new Promise((resolve) => {
    const { method, path, drop, body } = what;
    const headers: string[] = what.headers.flat();
    if (body !== undefined && !headers.some((name) => name.toLowerCase() === 'content-length')) {
      headers.push('Content-Length', String(body.length));
    }
    let dropped = false;
    let status: number | undefined;
    let given: IncomingHttpHeaders = {};
    const chunks: Buffer[] = [];
    const done = (end: Outcome['end']): void => {
      over.removeEventListener('abort', stuck);
      leave?.removeEventListener('abort', left);
      resolve({ status, headers: given, text: Buffer.concat(chunks).toString('utf8'), end: dropped ? 'dropped' : end });
    };
    const sent = request({ host: '127.0.0.1', port, agent, method, path, headers });
    const stuck = (): void => {
      done('stuck');
      sent.destroy();
    };
    const left = (): void => {
      dropped = true;
      sent.destroy();
    };
    over.addEventListener('abort', stuck);
    leave?.addEventListener('abort', left);
    const goAway = (at: Drop['at']): void => {
      if (drop?.at !== at || dropped) return;
      later(drop.turns, left);
    };
    sent.on('error', () => done('cut'));
    sent.on('response', (answer) => {
      status = answer.statusCode;
      given = answer.headers;
      answer.on('data', (chunk: Buffer) => {
        chunks.push(chunk);
        came?.(chunk.toString('utf8'));
        goAway('data');
      });
      answer.on('error', () => undefined); // `close` tells
      answer.on('close', () => done(answer.complete ? 'whole' : 'cut'));
      goAway('headers');
    });
    sent.end(body, () => goAway('sent'));
  });
}

/** Runs something some turns of the event loop later. */
export function later(turns: number, run: () => void): void {
  setImmediate(() => (turns > 0 ? later(turns - 1, run) : run()));
}

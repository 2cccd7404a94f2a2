/**
 * Requests of the gateway's own to the child. No client knows of them: they are no calls, so nothing that the child says is routed by them, and no
 * client can cancel one.
 */
import type { Clock, Timer } from '../clock';
import type { Answer } from './contract';
import { encodeId } from './ids';

interface Question {
  readonly timer: Timer;
  readonly settle: (answer: Answer | undefined) => void;
}

export interface QuestionsOptions {
  readonly clock: Clock;
  /** Sends a request to the child. */
  readonly send: (json: string) => void;
  /** Told of a request that was not answered in time. */
  readonly expired: (key: string) => void;
}

export class Questions {
  readonly #options: QuestionsOptions;
  readonly #open = new Map<string, Question>();
  #sequence = 0;
  #over = false;

  constructor(options: QuestionsOptions) {
    this.#options = options;
  }

  /** Resolves with the answer; with undefined where none comes within `ms` milliseconds, or the child has ended. */
  ask(method: string, params: Readonly<Record<string, unknown>>, ms: number): Promise<Answer | undefined> {
    if (this.#over) return Promise.resolve(undefined);
    const { clock, send, expired } = this.#options;
    this.#sequence += 1;
    const key = encodeId('g', '0', this.#sequence, String(this.#sequence));
    return new Promise((resolve) => {
      const timer = clock.after(ms, () => {
        this.answer(key, undefined);
        expired(key);
      });
      this.#open.set(key, { timer, settle: resolve });
      send(JSON.stringify({ jsonrpc: '2.0', id: key, method, params }));
    });
  }

  /** Takes what answers the request with this id; false where none is open. */
  answer(key: string, answer: Answer | undefined): boolean {
    const question = this.#open.get(key);
    if (question === undefined) return false;
    this.#open.delete(key);
    question.timer.cancel();
    question.settle(answer);
    return true;
  }

  /** No answer can come any more, to these or to later ones. */
  close(): void {
    this.#over = true;
    for (const key of [...this.#open.keys()]) this.answer(key, undefined);
  }
}

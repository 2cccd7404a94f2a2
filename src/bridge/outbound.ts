/** The way to the child's stdin: one JSON-RPC message a line, with a bound on what waits to be read. */
import type { BackendLink } from '../backends/contract';

/** A child may leave this much unread before nothing new is taken for it; one message of any size always fits. */
export const OUTBOUND_LIMIT = 1_048_576;

export class Outbound {
  readonly #link: Pick<BackendLink, 'write'>;
  #waiting = 0;

  constructor(link: Pick<BackendLink, 'write'>) {
    this.#link = link;
  }

  /** Whether so much waits already that a new message must be refused. */
  get full(): boolean {
    return this.#waiting >= OUTBOUND_LIMIT;
  }

  /**
   * Writes a message's JSON text, which must hold no newline: always serialised by us, because what a client sends may hold some between
   * its tokens.
   * Resolves when the link can take more; rejects with `LINK_CLOSED`.
   */
  send(json: string): Promise<void> {
    const bytes = Buffer.from(`${json}\n`);
    this.#waiting += bytes.length;
    const taken = (): void => {
      this.#waiting -= bytes.length;
    };
    const written = this.#link.write(bytes);
    written.then(taken, taken);
    return written;
  }
}

/** The bodies that are held whole because they have to be checked: how much all sessions hold together. */
import { AppError } from '../../errors';

/** What one request holds. */
export interface Hold {
  /** Counts bytes in. Throws `OVERLOADED`, and counts none of them, where all requests together would hold too much. */
  add(bytes: number): void;
  /** Gives everything back; to be called at the request's end, however it ends. */
  release(): void;
}

/** Counts bytes as they came from children. What they cost in memory once they are read is a multiple of it, so the bound is one of proportion. */
export class HeldBodies {
  private held = 0;

  /** `max`: bytes of all requests together. */
  constructor(private readonly max: number) {}

  /** Bytes now held. */
  get bytes(): number {
    return this.held;
  }

  /** A request that holds nothing yet. */
  open(): Hold {
    let own = 0;
    return {
      add: (bytes) => {
        if (this.held + bytes > this.max)
          throw new AppError('OVERLOADED', 'The credential proxy is busy with other large requests. Try again.', {
            detail: 'the bodies that are held to be checked reached proxy.maxHeldBodyBytes',
            retryAfter: 2,
          });
        own += bytes;
        this.held += bytes;
      },
      release: () => {
        this.held -= own;
        own = 0;
      },
    };
  }
}

/**
 * The storage of logins under way. Whoever knows the URL can begin one, so they are bounded: in number for this gateway, in time, and in size
 * by what a request line can carry.
 */
import { errors, type AdapterPayload } from 'oidc-provider';
import type { Clock } from '../../clock';
import { AppError } from '../../errors';
import type { Collection } from '../../stores/sealed';
import { Underway } from '../underway';

export interface InteractionsOptions {
  readonly interactions: Collection<AdapterPayload>;
  readonly clock: Clock;
  /** Logins that may be under way at once. */
  readonly max: number;
}

const ATTEMPTS = 4;

export class Interactions {
  readonly #options: InteractionsOptions;
  readonly #underway: Underway;

  constructor(options: InteractionsOptions) {
    this.#options = options;
    this.#underway = new Underway(options.max, options.clock);
  }

  /** Logins of this gateway that are under way. */
  get size(): number {
    return this.#underway.size;
  }

  async find(id: string): Promise<AdapterPayload | undefined> {
    return (await this.#options.interactions.get(id))?.value;
  }

  /**
   * Makes or changes one. @param expiresIn seconds.
   * @throws AppError `OVERLOADED` for a new one when there are as many as there may be.
   */
  async save(id: string, payload: AdapterPayload, expiresIn: number): Promise<void> {
    const { interactions, clock } = this.#options;
    const expiresAt = clock.wall() + expiresIn * 1000;
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const item = await interactions.get(id);
      if (item === undefined) {
        this.#underway.admit(id, expiresAt);
        try {
          if ((await interactions.create(id, payload, { expiresAt })) !== undefined) return;
        } catch (thrown) {
          this.#underway.leave(id);
          throw thrown;
        }
      } else if ((await interactions.replace(item, payload, { expiresAt })) !== undefined) {
        return;
      }
    }
    throw new AppError('STORE_UNAVAILABLE', 'The login is being changed elsewhere. Go back and try again.', {
      retryAfter: 1,
    });
  }

  /**
   * Ends one. It ends once: of two browsers that come back with the same login at the same time, one goes on.
   * @throws SessionNotFound for the other.
   */
  async destroy(id: string): Promise<void> {
    this.#underway.leave(id);
    if (!(await this.#options.interactions.delete(id)))
      throw new errors.SessionNotFound('interaction session not found');
  }
}

/** Sessions that another process has. */
import { AppError } from '../errors';

/** Another process has the session, and lives: the request is for it. */
export class HeldElsewhere extends AppError {
  /** The session's name. */
  readonly session: string;
  readonly holder: string;
  /** The generation that its holder has it in. */
  readonly generation: number;

  constructor({ name, generation }: { readonly name: string; readonly generation: number }, holder: string) {
    super('STORE_UNAVAILABLE', 'Another gateway has this session at the moment. Try again in a second.', {
      retryAfter: 1,
    });
    this.session = name;
    this.holder = holder;
    this.generation = generation;
  }
}

/** This process stops, and gives the session up once the calls that it has in flight are answered. Nothing was done. */
export class StillHere extends AppError {
  constructor({ message, retryAfter }: AppError) {
    super('DRAINING', message, retryAfter === undefined ? {} : { retryAfter });
  }
}

/** Request states as the gateway seals them, with keys of the test's. */
import { randomBytes } from 'node:crypto';
import { deriveKeys } from '../../src/auth/keys/derive';
import { masterKeys } from '../../src/auth/keys/master';
import { StateSeal } from '../../src/bridge/modern/state';
import { systemClock, type Clock } from '../../src/clock';
import { Seal } from '../../src/stores/seal';

/** @param keys the first one seals, all of them open; a fresh one where none is given. */
export function stateSeal(clock: Pick<Clock, 'wall'> = systemClock, ...keys: readonly Buffer[]): StateSeal {
  const masters = masterKeys(keys.length === 0 ? [randomBytes(32)] : keys);
  return new StateSeal(new Seal(deriveKeys(masters, 'request-states')), clock);
}

/** One of several processes with the same key, as {@link stateSeal}. */
export function stateSealAt(at: string, key: Buffer): StateSeal {
  return new StateSeal(new Seal(deriveKeys(masterKeys([key]), 'request-states')), systemClock, at);
}

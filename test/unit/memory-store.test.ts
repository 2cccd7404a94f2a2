/** The tests' own session store, held to the contract of the real ones. */
import { sessionStoreContract } from '../contract/session-store';
import { MemoryStore } from '../support/memory-store';

describe('session store of the tests', () => {
  for (const self of [undefined, 'one of several'])
    describe(self ?? 'alone', () =>
      sessionStoreContract({ hasUpkeep: true, hasView: self !== undefined, open: async () => new MemoryStore(self) }),
    );
});

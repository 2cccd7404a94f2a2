/** The tests' own session store, held to the contract of the real ones. */
import { sessionStoreContract } from '../contract/session-store';
import { MemoryStore } from '../support/memory-store';

describe('session store of the tests', () => {
  sessionStoreContract({ hasUpkeep: true, open: async () => new MemoryStore() });
});

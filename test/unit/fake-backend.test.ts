/** The fake is held to the contract as the drivers are: what tests learn from it is then true of them. */
import { backendContract } from '../contract/backend';
import { FakeBackend } from '../support/fake-backend';
import { serverSpec } from '../support/server-spec';

const backends = new Set<FakeBackend>();

backendContract('fake', async () => ({
  backend() {
    const backend = new FakeBackend();
    backends.add(backend);
    return backend;
  },
  server: serverSpec,
  leftovers: async () => [...backends].flatMap((backend) => [...backend.links].map(() => 'a child')),
  many: 20,
}));

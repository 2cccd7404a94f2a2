/** The pod driver on a real cluster: the contract of all drivers, and what only pods can do. */
import { expect } from 'chai';
import { backendContract } from '../contract/backend';
import { type PodRig, podRig } from '../support/pod-backend';
import { serverSpec } from '../support/server-spec';

let rig: PodRig;

before(async function () {
  this.timeout(900_000);
  rig = await podRig('child-fixture');
});
after(() => rig.close());

backendContract(
  'pod',
  async () => ({
    backend: () => rig.backend(),
    server: serverSpec,
    leftovers: () => rig.pods(),
    abandon: async () => {
      const name = await rig.abandon(serverSpec());
      expect(await rig.pods()).to.include(`pod/${name}`);
    },
    many: 20,
  }),
  120_000,
);

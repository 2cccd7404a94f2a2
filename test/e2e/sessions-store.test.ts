/** Session records as MCPSession objects on the real API server. */
import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { systemClock } from '../../src/clock';
import { KubeClient } from '../../src/kube/client';
import { Credentials } from '../../src/kube/credentials';
import type { SessionStore } from '../../src/sessions/ports';
import { openKubernetesSessionStore } from '../../src/stores/kubernetes/sessions';
import { aRecord, sessionStoreContract } from '../contract/session-store';
import { keptLog } from '../support/silent-log';
import { cluster, createNamespace, deleteNamespaces, kubectl } from '../support/cluster';

describe('kubernetes session store', function () {
  this.timeout(60_000);
  let namespace: string;
  let kube: KubeClient;
  const open = (holder: string): SessionStore =>
    openKubernetesSessionStore({ kube, namespace, install: 'contract', holder, clock: systemClock, log: keptLog() });
  /** Names are random: the namespace is one for all tests. */
  const named = () => ({ name: randomBytes(20).toString('hex') });
  const shown = async (name: string): Promise<any> =>
    JSON.parse(await kubectl(['-n', namespace, 'get', 'mcpsession', name, '-o', 'json']));

  before(async () => {
    await kubectl(['apply', '--server-side', '-f', 'crds/']);
    await kubectl(['wait', '--for=condition=Established', '--timeout=30s', '-f', 'crds/']);
    namespace = await createNamespace('mcpsessions');
    kube = new KubeClient(new Credentials(cluster().kubeconfig));
  });

  after(async () => {
    await kube.close();
    await deleteNamespaces(namespace);
  });

  describe('by the contract', () => {
    beforeEach(async () => {
      await kubectl(['-n', namespace, 'delete', 'mcpsessions', '--all']);
    });

    const holder = randomBytes(8).toString('hex');
    sessionStoreContract({
      hasUpkeep: false,
      hasView: true,
      open: async () => open(holder),
      reopen: async () => open(holder),
    });
  });

  it('shows whose session it is, its state and its pod, and nothing of what another child would be told once it has ended', async () => {
    const store = open('run-1');
    const child = { instance: 'uid-1', namespace, name: 'mcp-1', ip: '10.1.2.3' };
    const record = aRecord({ ...named(), state: 'starting' });
    const { uid } = await store.insert(record);
    const remembered = { protocolVersion: '2025-11-25', initialize: { secretive: true }, subscriptions: ['test://a'] };
    await store.update(record.name, { state: 'active', child, remembered });
    const { metadata, spec, status } = await shown(record.name);
    expect(metadata.uid).to.equal(uid);
    expect(spec).to.deep.equal({
      server: 'forgejo',
      user: { issuer: 'https://forge.example', id: '7' },
      client: 'client-1',
      mode: 'oauth',
    });
    expect(status).to.deep.include({ state: 'Active', holder: 'run-1', epoch: 1 });
    expect(status.pod).to.deep.equal({ namespace, name: 'mcp-1', uid: 'uid-1', ip: '10.1.2.3' });
    expect(Date.parse(status.startedAt)).to.be.above(0);
    await store.end(record.name, 'deleted', Date.now());
    const over = await shown(record.name);
    expect(over.status).to.include({ state: 'Ended', reason: 'deleted' });
    expect(over.status).to.not.have.any.keys('pod', 'initialize', 'replay', 'holder');
  });

  it('lets only the holder change or end a session, and the one that claimed it is the holder from then on', async () => {
    const [first, second] = [open('run-1'), open('run-2')];
    const record = aRecord(named());
    await first.insert(record);
    expect(await second.update(record.name, { grant: 'stolen' })).to.equal(false);
    await second.end(record.name, 'oom', 1);
    expect((await shown(record.name)).status).to.include({ state: 'Active', grant: 'grant-1' });
    expect(await second.claim(record.name, 1)).to.include({ generation: 2, holder: 'run-2' });
    expect(await first.update(record.name, { grant: 'late' })).to.equal(false);
    await first.end(record.name, 'oom', 1);
    expect(await second.update(record.name, { grant: 'grant-2' })).to.equal(true);
    expect((await shown(record.name)).status).to.include({ state: 'Active', grant: 'grant-2', epoch: 2 });
  });

  it('gives a session up that sleeps, for anybody to claim: of 20 gateways at once one has it', async () => {
    const record = aRecord(named());
    const first = open('run-1');
    await first.insert(record);
    await first.update(record.name, { state: 'hibernated', holder: null });
    expect((await shown(record.name)).status).to.not.have.property('holder');
    const stores = [...Array(20).keys()].map((n) => open(`run-${String(n + 2)}`));
    const claims = await Promise.all(stores.map((store) => store.claim(record.name, 1)));
    const won = claims.flatMap((claim) => (claim === undefined ? [] : [claim.holder]));
    expect(won).to.have.length(1);
    expect((await shown(record.name)).status).to.include({ holder: won[0], epoch: 2 });
  });

  it('takes a session that somebody deleted with kubectl as over', async () => {
    const store = open('run-1');
    const record = aRecord(named());
    await store.insert(record);
    await kubectl(['-n', namespace, 'delete', 'mcpsession', record.name]);
    expect(await store.update(record.name, { grant: 'late' })).to.equal(false);
    expect(await store.get(record.name)).to.equal(undefined);
    expect(await store.claim(record.name, 1)).to.equal(undefined);
  });

  it('loses no change where 10 writers are in each other’s way', async () => {
    const store = open('run-1');
    const record = aRecord(named());
    await store.insert(record);
    const others = [...Array(10).keys()].map((n) =>
      kubectl(['-n', namespace, 'label', 'mcpsession', record.name, `test/n${String(n)}=x`]),
    );
    const grants = [...Array(10).keys()].map((n) => store.update(record.name, { scopes: [], grant: `g${String(n)}` }));
    expect(await Promise.all(grants)).to.deep.equal(Array(10).fill(true));
    await Promise.all(others);
    const { metadata } = await shown(record.name);
    expect(Object.keys(metadata.labels).filter((label) => label.startsWith('test/'))).to.have.length(10);
  });
});

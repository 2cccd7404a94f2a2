import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import { AppError } from '../../src/errors';
import { KubeClient } from '../../src/kube/client';
import { Credentials } from '../../src/kube/credentials';
import { collection } from '../../src/stores/sealed';
import { openKubernetesRecordStore } from '../../src/stores/kubernetes/records';
import { recordStoreContract } from '../contract/record-store';
import { cluster, createNamespace, deleteNamespaces, kubectl } from '../support/cluster';

describe('kubernetes record store', function () {
  this.timeout(60_000);
  let namespace: string;
  let kube: KubeClient;
  let now = Date.now();
  const clock = { wall: () => now };
  const open = (install: string) => openKubernetesRecordStore({ kube, namespace, install, clock });

  before(async () => {
    namespace = await createNamespace('records');
    kube = new KubeClient(new Credentials(cluster().kubeconfig));
  });

  after(async () => {
    await kube.close();
    await deleteNamespaces(namespace);
  });

  recordStoreContract(async () => {
    const install = `contract-${randomBytes(4).toString('hex')}`; // each test sees its own records only
    return {
      open: async () => open(install),
      advance: async (ms) => void (now += ms),
      now: () => now,
    };
  }, 8);

  it('keeps no readable id, tag or value in the objects', async () => {
    const key = { id: '00000001', secret: randomBytes(32) };
    const tokens = collection<{ token: string }>(open('secrecy'), 'token', [key]);
    await tokens.create('id-8e1f0c', { token: 'value-77aa01' }, { tags: { user: 'tag-5502de' } });
    const list = JSON.parse(await kubectl(['-n', namespace, 'get', 'secrets', '-o', 'json'])) as { items: any[] };
    const text = JSON.stringify(
      list.items.map((one) => ({
        ...one,
        data: { value: Buffer.from(String(one.data?.value), 'base64').toString('latin1') },
      })),
    );
    for (const secret of ['id-8e1f0c', 'value-77aa01', 'tag-5502de']) expect(text).to.not.include(secret);
    expect((await tokens.get('id-8e1f0c'))?.value.token).to.equal('value-77aa01');
  });

  it('sees no record of another install', async () => {
    const at = { kind: 'grant', name: randomBytes(20).toString('hex') };
    await open('one').create(at, { value: Buffer.from('x') });
    expect(await open('two').find('grant')).to.deep.equal([]);
    expect(await open('two').sweep(10)).to.equal(0);
  });

  it('finds more records than fit a page of the API', async () => {
    const store = open('pages');
    const tag = randomBytes(20).toString('hex');
    const names = Array.from({ length: 260 }, () => randomBytes(20).toString('hex'));
    for (let i = 0; i < names.length; i += 20) {
      await Promise.all(
        names
          .slice(i, i + 20)
          .map((name) => store.create({ kind: 'page', name }, { value: Buffer.from('x'), tags: { user: tag } })),
      );
    }
    const found = await store.find('page', { name: 'user', value: tag });
    expect(found.map((one) => one.key.name).sort()).to.deep.equal(names.sort());
  });

  it('answers STORE_UNAVAILABLE where the namespace is not there', async () => {
    const nowhere = openKubernetesRecordStore({ kube, namespace: 'no-such-namespace', install: 'x', clock });
    const error = await nowhere
      .create({ kind: 'grant', name: 'a'.repeat(40) }, { value: Buffer.from('x') })
      .catch((thrown: unknown) => thrown);
    expect(error).to.not.equal(undefined);
    expect(error).to.be.instanceOf(AppError).with.property('code', 'STORE_UNAVAILABLE');
  });
});

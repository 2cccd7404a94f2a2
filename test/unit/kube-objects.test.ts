import { expect } from 'chai';
import { KubeError } from '../../src/kube/error';
import { type KubeObject, KubeObjects } from '../../src/kube/objects';
import { FakeApi, json, status } from '../support/fake-api';

interface Widget extends KubeObject {
  readonly spec?: { readonly size: number };
}

const WIDGETS = { group: 'example.org', version: 'v1', plural: 'widgets', kind: 'Widget' };
const PATH = '/apis/example.org/v1/namespaces/n/widgets';

const widget = (name: string, version?: string): Widget => ({
  apiVersion: 'example.org/v1',
  kind: 'Widget',
  metadata: { name, ...(version === undefined ? {} : { resourceVersion: version }) },
});

describe('custom objects', () => {
  let api: FakeApi;
  let widgets: KubeObjects<Widget>;

  beforeEach(async () => {
    api = await FakeApi.start();
    widgets = new KubeObjects<Widget>(api.kube(), WIDGETS, 'n');
    api.handle = (call, response) => json(response, 200, call.body === '' ? JSON.stringify(widget('w')) : call.body);
  });
  afterEach(() => api.close());

  const failure = async (work: Promise<unknown>): Promise<KubeError> => {
    const thrown: unknown = await work.then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(thrown).to.be.instanceOf(KubeError);
    return thrown as KubeError;
  };
  const made = (): [string, string, string | undefined] => {
    const { method, path, headers } = api.calls[0];
    return [method, path, headers['content-type']];
  };

  it('are read live: no resource version is named', async () => {
    expect((await widgets.get('w')).metadata.name).to.equal('w');
    expect(made()).to.deep.equal(['GET', `${PATH}/w`, undefined]);
    expect([...api.calls[0].query]).to.be.empty;
    expect(api.calls[0].headers.accept).to.equal('application/json');
  });

  it('are listed page by page', async () => {
    api.handle = (call, response) => {
      const next = call.query.get('continue');
      json(
        response,
        200,
        JSON.stringify({ metadata: next === null ? { continue: 'a b' } : {}, items: [widget(next ?? 'first')] }),
      );
    };
    expect((await widgets.list('a=b')).map(({ metadata }) => metadata.name)).to.deep.equal(['first', 'a b']);
    expect(api.calls.map(({ query }) => query.get('labelSelector'))).to.deep.equal(['a=b', 'a=b']);
    expect(api.calls[0].query.has('resourceVersion')).to.equal(false);
  });

  it('are created and replaced as they are handed over', async () => {
    await widgets.create(widget('w'));
    expect(made()).to.deep.equal(['POST', PATH, 'application/json']);
    await widgets.replace(widget('w', '7'));
    expect(api.calls[1]).to.include({ method: 'PUT', path: `${PATH}/w` });
    expect(JSON.parse(api.calls[1].body)).to.deep.equal(widget('w', '7'));
  });

  it('are patched by operations', async () => {
    const operations = [
      { op: 'test', path: '/status/epoch', value: 1 },
      { op: 'remove', path: '/status/holder' },
    ] as const;
    await widgets.patch('w', operations);
    expect(made()).to.deep.equal(['PATCH', `${PATH}/w`, 'application/json-patch+json']);
    expect(JSON.parse(api.calls[0].body)).to.deep.equal(operations);
  });

  it('have their status merged in its subresource, under a resource version where one is named', async () => {
    await widgets.patchStatus('w', { ready: true }, '9');
    expect(made()).to.deep.equal(['PATCH', `${PATH}/w/status`, 'application/merge-patch+json']);
    expect(JSON.parse(api.calls[0].body)).to.deep.equal({
      metadata: { resourceVersion: '9' },
      status: { ready: true },
    });
    await widgets.patchStatus('w', { ready: true });
    expect(JSON.parse(api.calls[1].body)).to.deep.equal({ status: { ready: true } });
  });

  it('are deleted under preconditions', async () => {
    await widgets.delete('w', { uid: 'u', resourceVersion: '3' });
    expect(made()).to.deep.equal(['DELETE', `${PATH}/w`, 'application/json']);
    expect(JSON.parse(api.calls[0].body)).to.deep.include({ preconditions: { uid: 'u', resourceVersion: '3' } });
  });

  it('have names that cannot lead elsewhere', async () => {
    await widgets.get('../../secrets/x?y');
    expect(api.calls[0].path).to.equal(`${PATH}/..%2F..%2Fsecrets%2Fx%3Fy`);
  });

  it('fail with status, reason and message, a write once and a read a few times', async () => {
    api.handle = (_call, response) => status(response, 409, 'Conflict', 'has been modified');
    expect(await failure(widgets.replace(widget('w', '1')))).to.include({ status: 409, reason: 'Conflict' });
    expect(api.calls).to.have.length(1);
    api.handle = (_call, response) => status(response, 503, 'ServiceUnavailable', 'starting');
    expect(await failure(widgets.patch('w', []))).to.include({ status: 503 });
    expect(api.calls).to.have.length(2);
    expect(await failure(widgets.get('w'))).to.include({ status: 503 });
    expect(api.calls).to.have.length(6);
  });

  it('are no object where the answer is no JSON', async () => {
    api.handle = (_call, response) => void response.writeHead(200).end('<html>private</html>');
    const error = await failure(widgets.get('w'));
    expect(error).to.include({ status: 0, reason: 'Unreachable' });
    expect(error.message).to.not.include('private');
  });

  it('are waited for no longer than the deadline or the caller', async () => {
    api.handle = () => undefined;
    expect(await failure(widgets.get('w', { timeout: 50 }))).to.include({ reason: 'Timeout' });
    const reason = new Error('enough');
    const controller = new AbortController();
    api.handle = () => controller.abort(reason);
    const thrown: unknown = await widgets.get('w', { signal: controller.signal }).catch((error: unknown) => error);
    expect(thrown).to.equal(reason);
  });
});

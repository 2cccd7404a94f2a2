import { readFileSync, writeFileSync } from 'node:fs';
import { inspect } from 'node:util';
import { expect } from 'chai';
import { KubeClient } from '../../src/kube/client';
import { Credentials } from '../../src/kube/credentials';
import { faultCode, fromAnswer, KubeError } from '../../src/kube/error';
import { FakeApi, json, status } from '../support/fake-api';

const list = (client: KubeClient, limits: { signal?: AbortSignal; timeout?: number } = {}): Promise<unknown> =>
  client.core((api, options) => api.listNamespacedPod({ namespace: 'n' }, options), limits);

async function failure(work: Promise<unknown>): Promise<KubeError> {
  const thrown: unknown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).to.be.instanceOf(KubeError);
  return thrown as KubeError;
}

describe('Kubernetes client', () => {
  let api: FakeApi;
  let client: KubeClient;

  beforeEach(async () => {
    api = await FakeApi.start();
    client = api.kube();
    api.handle = (_call, response) => json(response, 200, '{"kind":"PodList","items":[],"metadata":{}}');
  });
  afterEach(() => api.close());

  it('makes all calls over one shared pool of connections', async () => {
    for (let index = 0; index < 50; index++) await list(client);
    expect(api.calls).to.have.length(50);
    expect(api.connections).to.be.at.most(2);
  });

  it('authenticates, names itself and asks for JSON', async () => {
    await list(client);
    expect(api.calls[0]?.headers).to.include({
      authorization: 'Bearer token-of-the-test',
      'user-agent': 'forgejo-mcp-operator',
    });
    expect(api.calls[0]?.headers.accept).to.include('application/json');
  });

  it('sends bodies and reads typed answers', async () => {
    api.handle = (call, response) => json(response, 201, call.body);
    const made = await client.core((core, options) =>
      core.createNamespacedPod(
        { namespace: 'n', body: { metadata: { name: 'p' }, spec: { containers: [] } } },
        options,
      ),
    );
    expect(made.metadata?.name).to.equal('p');
    expect(api.calls[0]).to.include({ method: 'POST', path: '/api/v1/namespaces/n/pods' });
  });

  it('reads again after a fault that may pass, a few times, and writes once', async () => {
    const faults: ('drop' | 500 | 503)[] = [503, 'drop', 500];
    api.handle = (_call, response) => {
      const fault = faults.shift();
      if (fault === undefined) json(response, 200, '{"kind":"PodList","items":[],"metadata":{}}');
      else if (fault === 'drop') response.destroy();
      else status(response, fault, 'Unknown', 'not yet');
    };
    await list(client);
    expect(api.calls).to.have.length(4);

    faults.push(503, 503, 503, 503, 503);
    expect((await failure(list(client))).status).to.equal(503);
    expect(api.calls).to.have.length(8);

    const made = client.core((core, options) =>
      core.createNamespacedPod(
        { namespace: 'n', body: { metadata: { name: 'p' }, spec: { containers: [] } } },
        options,
      ),
    );
    expect((await failure(made)).status).to.equal(503);
    expect(api.calls).to.have.length(9);
  });

  it('keeps status, reason and message of a Status', async () => {
    api.handle = (_call, response) => status(response, 403, 'Forbidden', 'exceeded quota', { 'retry-after': '7' });
    const error = await failure(list(client));
    expect(error).to.include({ status: 403, reason: 'Forbidden', message: 'exceeded quota', retryAfter: 7 });
    expect(error.summary).to.equal('403 Forbidden: exceeded quota');
  });

  it('drops a body that is no Status, and cuts a message that never ends', async () => {
    api.handle = (_call, response) => json(response, 502, '<html>private</html>');
    expect((await failure(list(client))).message).to.not.include('private');
    api.handle = (_call, response) => status(response, 400, 'Bad', 'x'.repeat(10_000));
    expect((await failure(list(client))).message).to.have.length(1000);
    expect(fromAnswer(500, 'x', 'soon').retryAfter).to.equal(undefined);
  });

  it('reads rotated credentials after a 401, once', async () => {
    api.handle = (call, response) => {
      if (call.headers.authorization === 'Bearer rotated') return json(response, 200, '{"items":[]}');
      api.kubeconfig('rotated');
      return status(response, 401, 'Unauthorized', 'no');
    };
    await list(client);
    expect(api.calls).to.have.length(2);
    api.handle = (_call, response) => status(response, 401, 'Unauthorized', 'no');
    expect((await failure(list(client))).status).to.equal(401);
    expect(api.calls).to.have.length(4);
  });

  it('asks an overloaded server again when it says so, and not for ever', async () => {
    let refusals = 2;
    api.handle = (_call, response) =>
      refusals-- > 0
        ? status(response, 429, 'TooManyRequests', 'later', { 'retry-after': '0' })
        : json(response, 200, '{"items":[]}');
    await list(client);
    expect(api.calls).to.have.length(3);
    refusals = Infinity;
    expect((await failure(list(client))).status).to.equal(429);
    expect(api.calls).to.have.length(7);
  });

  it('gives up at the deadline', async () => {
    api.handle = () => undefined;
    expect(await failure(list(client, { timeout: 50 }))).to.include({ status: 0, reason: 'Timeout' });
  });

  it('gives up at the deadline in the middle of a body, and while it waits to ask again', async () => {
    api.handle = (_call, response) => void response.writeHead(200, { 'content-type': 'application/json' }).write('{');
    expect(await failure(list(client, { timeout: 50 }))).to.include({ reason: 'Timeout' });
    api.handle = (_call, response) => status(response, 429, 'TooManyRequests', 'later', { 'retry-after': '60' });
    expect(await failure(list(client, { timeout: 50 }))).to.include({ reason: 'Timeout' });
  });

  it('rejects with the reason of the caller’s own signal', async () => {
    const reason = new Error('enough');
    const controller = new AbortController();
    api.handle = () => controller.abort(reason);
    const thrown: unknown = await list(client, { signal: controller.signal }).catch((error: unknown) => error);
    expect(thrown).to.equal(reason);
  });

  it('goes on with what it has while its kubeconfig is being replaced', async () => {
    await list(client);
    writeFileSync(api.kubeconfig(), '{"clus');
    await client.access(true);
    await list(client);
    expect(api.calls).to.have.length(2);
  });

  it('names a fault of the connection by its code alone', async () => {
    const nowhere = new KubeClient(new Credentials(api.kubeconfig('t', 'http://127.0.0.1:1')));
    expect(await failure(list(nowhere))).to.include({ status: 0, reason: 'Unreachable', message: 'ECONNREFUSED' });
    await nowhere.close();
    expect(faultCode(new AggregateError([Object.assign(new Error('x'), { code: 'EHOSTUNREACH' })]))).to.equal(
      'EHOSTUNREACH',
    );
    expect(faultCode(new Error('a', { cause: Object.assign(new Error('b'), { code: 'ECONNRESET' }) }))).to.equal(
      'ECONNRESET',
    );
    expect(faultCode(Object.assign(new Error('x'), { code: 'Bearer abc' }))).to.equal('fault');
    expect(faultCode('text')).to.equal('fault');
  });

  it('lets no token into an error, however deep one looks', async () => {
    const answers: ((response: Parameters<FakeApi['handle']>[1]) => void)[] = [
      (response) => status(response, 401, 'Unauthorized', 'no'),
      (response) => status(response, 500, 'InternalError', 'no'),
      (response) => void response.socket?.destroy(),
      () => undefined,
    ];
    for (const answer of answers) {
      api.handle = (_call, response) => answer(response);
      const error = await failure(list(client, { timeout: 200 }));
      expect(inspect(error, { depth: Infinity, showHidden: true })).to.not.include('token-of-the-test');
    }
  });

  it('opens a stream and leaves its body to the caller', async () => {
    api.handle = (_call, response) => void response.writeHead(200).write('{"a":1}\n');
    const body = await client.stream('/watch', { watch: 'true' });
    const [part] = (await body.take(1).toArray()) as Buffer[];
    expect(String(part)).to.equal('{"a":1}\n');
    body.destroy();
    expect(api.calls[0]?.query.get('watch')).to.equal('true');
  });

  it('a stream that is refused or late is an error like any other', async () => {
    api.handle = (_call, response) => status(response, 410, 'Expired', 'too old');
    expect(await failure(client.stream('/watch', {}))).to.include({ status: 410, reason: 'Expired' });
    api.handle = () => undefined;
    expect(await failure(client.stream('/watch', {}, { timeout: 50 }))).to.include({ reason: 'Timeout' });
  });

  it('follows a kubeconfig that changes to another server', async () => {
    const other = await FakeApi.start();
    try {
      other.handle = api.handle;
      await list(client);
      api.kubeconfig('token-of-the-test', other.url);
      await client.access(true);
      await list(client);
      expect(other.calls).to.have.length(1);
    } finally {
      await other.close();
    }
  });

  it('says which configuration cannot be read, and nothing of what is in it', () => {
    const file = api.kubeconfig();
    const text = readFileSync(file, 'utf8');
    writeFileSync(file, `${text.slice(0, -2)},,, {{{`);
    expect(() => new Credentials(file))
      .to.throw(KubeError, file)
      .with.property('reason', 'Credentials');
    try {
      new Credentials(file);
    } catch (thrown) {
      expect(inspect(thrown, { depth: Infinity })).to.not.include('token-of-the-test');
    }
    expect(() => new Credentials('/does/not/exist')).to.throw(KubeError, /does\/not\/exist/);
    writeFileSync(file, '{"clusters":[],"users":[],"contexts":[]}');
    expect(() => new Credentials(file)).to.throw(KubeError, /no cluster/);
  });
});

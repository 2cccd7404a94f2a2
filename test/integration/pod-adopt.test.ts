/** Pods that change hands: two drivers, real launchers, attach streams over WebSocket, and an API server in memory. */
import { expect } from 'chai';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PodBackend, type PodBackendOptions } from '../../src/backends/pod/driver';
import { LinkKeys } from '../../src/backends/pod/link-keys';
import { Credentials } from '../../src/kube/credentials';
import { KubeClient } from '../../src/kube/client';
import type { BackendAddress, BackendLink } from '../../src/backends/contract';
import { never, refusal, sessionName, specOf } from '../contract/backend';
import { eventually, launcherBinary } from '../support/launcher';
import { status } from '../support/fake-api';
import { CutLine } from '../support/cut-line';
import { FakeClock } from '../support/fake-link';
import { PodContainers } from '../support/pod-containers';
import { serverSpec } from '../support/server-spec';
import { keptLog, type KeptLog } from '../support/silent-log';

const KEYS = [{ id: 'k1', secret: Buffer.alloc(32, 1) }];
const SERVER = serverSpec({ command: ['/bin/cat'], stopGrace: 1 });

describe('pods that change hands', function () {
  this.timeout(60_000);
  let world: PodContainers;
  const backends: PodBackend[] = [];

  let folder: string;

  before(() => {
    launcherBinary();
    folder = mkdtempSync(join(tmpdir(), 'fmo-adopt-'));
  });
  after(() => rmSync(folder, { recursive: true, force: true }));
  beforeEach(async () => {
    world = await PodContainers.start();
  });
  afterEach(async () => {
    await Promise.all(backends.splice(0).map((backend) => backend.stop()));
    await world.close();
  });

  const gateway = (run: string, over: Partial<PodBackendOptions> = {}): PodBackend => {
    const kube = world.cluster.api.kube();
    const common = { kube, namespace: world.namespace, install: 'i', run, log: keptLog() };
    const backend = new PodBackend({ ...common, linkKeys: new LinkKeys(KEYS), ...over });
    backends.push(backend);
    return backend;
  };
  interface Opened {
    readonly link: BackendLink;
    readonly child: BackendAddress;
    readonly session: string;
    text: string;
  }
  const heard = (link: BackendLink): { text: string } => {
    const got = { text: '' };
    link.onData((bytes) => (got.text += bytes.toString()));
    return got;
  };
  const opened = async (backend: PodBackend, server = SERVER): Promise<Opened> => {
    let child: BackendAddress | undefined;
    const session = sessionName();
    const secrets = async (address: BackendAddress): Promise<Record<string, string>> => {
      child = address;
      return { SECRET: 'in-no-pod-spec' };
    };
    const link = await backend.open(specOf(server, { session, secrets, epoch: 1 }), never());
    if (child === undefined) throw new Error('no address');
    return Object.assign(heard(link), { link, child, session });
  };
  const adopt = (
    backend: PodBackend,
    { session, child }: Pick<Opened, 'session' | 'child'>,
    epoch = 2,
  ): Promise<BackendLink> => backend.adopt({ session, server: SERVER, child, epoch }, AbortSignal.timeout(15_000));

  it('one that was released goes on under another gateway, with what it has in memory, and nobody removes its pod', async () => {
    const [a, b] = [gateway('a'), gateway('b')];
    const first = await opened(a);
    await first.link.write(Buffer.from('one\n'));
    await eventually(() => first.text === 'one\n');
    first.link.release?.();
    expect(await first.link.exited).to.deep.include({ reason: 'closed' });
    const second = await adopt(b, first);
    const got = heard(second);
    expect(second.takeover).to.deep.equal({ stdinMidLine: false, stdoutMidLine: false });
    await second.write(Buffer.from('two\n'));
    await eventually(() => got.text.endsWith('two\n'));
    await a.stop();
    await second.write(Buffer.from('three\n'));
    await eventually(() => got.text.endsWith('three\n'));
    expect(world.made).to.have.length(1);
    await second.close();
    expect(world.cluster.all(world.pods)).to.deep.equal([]);
  });

  it('one that was taken from a gateway that still lives is lost to that one, which removes nothing', async () => {
    const [a, b] = [gateway('a'), gateway('b')];
    const first = await opened(a);
    const second = await adopt(b, first);
    const got = heard(second);
    expect(await first.link.exited).to.deep.equal({ reason: 'lost' });
    expect((await refusal(first.link.write(Buffer.from('late\n')))).code).to.equal('LINK_CLOSED');
    await first.link.close();
    await second.write(Buffer.from('mine\n'));
    await eventually(() => got.text.endsWith('mine\n'));
    expect(got.text).to.not.include('late');
    expect(world.cluster.all(world.pods)).to.have.length(1);
  });

  describe('from a gateway that is cut off', () => {
    let line: CutLine;
    let kube: KubeClient;
    let clock: FakeClock;
    let log: KeptLog;
    let a: PodBackend;

    beforeEach(async () => {
      line = await CutLine.start(world.cluster.api.url);
      const kubeconfig = join(folder, 'kubeconfig');
      writeFileSync(kubeconfig, readFileSync(world.cluster.api.kubeconfig('of-a', line.url)));
      kube = new KubeClient(new Credentials(kubeconfig));
      [clock, log] = [new FakeClock(), keptLog()];
      a = gateway('a', { kube, clock, log });
    });
    afterEach(async () => {
      await timed(a.stop());
      await kube.close();
      await line.close();
    });
    /** Waits for something that waits on that gateway's clock, too. */
    const timed = async (work: Promise<unknown>): Promise<void> => {
      let isDone = false;
      void work.then(() => (isDone = true));
      await eventually(() => {
        if (!isDone) clock.advance(1_000);
        return isDone;
      });
    };
    const deleted = (): (string | undefined)[] =>
      world.cluster.api.calls.filter(({ method }) => method === 'DELETE').map(({ path }) => path.split('/').at(-1));
    const cut = async (): Promise<void> => {
      line.cut();
      await eventually(() => log.lines.some((entry) => entry.includes('attach.broken')));
    };

    it('they are not removed by that one, neither while it is nor once it is back', async () => {
      const first = await opened(a);
      await first.link.write(Buffer.from('one\n'));
      await eventually(() => first.text === 'one\n');
      await cut();
      const second = await adopt(gateway('b'), first);
      const got = heard(second);
      clock.advance(60_000);
      expect(await first.link.exited).to.deep.equal({ reason: 'lost' });
      await first.link.close();

      const [pod] = world.cluster.all(world.pods);
      if (pod === undefined) throw new Error('the pod is gone');
      world.cluster.put(world.pods, { ...pod, status: { ...pod.status, message: 'it is seen once more' } });
      // Whatever is seen after it tells that it was seen.
      world.cluster.put(world.pods, { ...pod, metadata: { ...pod.metadata, name: 'stray', uid: 'of-the-stray' } });
      line.mend();
      await eventually(() => {
        clock.advance(15_000);
        return deleted().length > 0;
      });
      await timed(a.stop());
      expect(deleted()).to.deep.equal(['stray']);
      await second.write(Buffer.from('two\n'));
      await eventually(() => got.text.endsWith('two\n'));
      await second.close();
      expect(world.cluster.all(world.pods)).to.deep.equal([]);
    });

    it('and that nobody has by then, they are left for whoever knows that', async () => {
      const first = await opened(a);
      await cut();
      clock.advance(60_000);
      expect(await first.link.exited).to.deep.equal({ reason: 'lost' });
      await first.link.close();
      line.mend();
      await timed(a.check(never()));
      expect(deleted()).to.deep.equal([]);
      await timed(a.discard(first.child));
      expect(deleted()).to.deep.equal([first.child.name]);
    });
  });

  it('one that the next gateway’s watch does not show is asked for: only the API’s answer says that it is not there', async () => {
    const kubeconfig = join(folder, 'kubeconfig');
    writeFileSync(kubeconfig, readFileSync(world.cluster.api.kubeconfig('of-b')));
    const kube = new KubeClient(new Credentials(kubeconfig));
    const { before } = world.cluster;
    let isDown = false;
    world.cluster.before = (call, response) => {
      if (call.headers.authorization !== 'Bearer of-b') return before(call, response);
      if (isDown) status(response, 403, 'Forbidden', 'not now');
      else if (!call.query.has('watch')) return before(call, response);
      else response.writeHead(200).flushHeaders(); // and never a word
      return true;
    };
    const [a, b] = [gateway('a'), gateway('b', { kube })];
    await b.check(never());
    const [first, gone] = [await opened(a), await opened(a)];
    await gone.link.close();
    expect((await refusal(adopt(b, gone))).code).to.equal('BACKEND_ENDED');
    isDown = true;
    expect((await refusal(adopt(b, first))).code).to.equal('BACKEND_UNAVAILABLE');
    isDown = false;
    const second = await adopt(b, first, 3);
    const got = heard(second);
    await second.write(Buffer.from('one\n'));
    await eventually(() => got.text === 'one\n');
    const name = `metadata.name=${first.child.name ?? ''}`;
    expect(world.cluster.api.calls.some(({ query }) => query.get('fieldSelector') === name)).to.equal(true);
    second.release?.(); // that gateway would not see that the pod is gone
    await second.exited;
    await b.stop();
    await kube.close();
  });

  it('what was taken for the child just before it was released reaches it', async () => {
    const [a, b] = [gateway('a'), gateway('b')];
    const first = await opened(a);
    const lines = Array.from({ length: 60 }, (_, i) => `line ${String(i)} ${'x'.repeat(2_000)}\n`);
    await Promise.all(lines.map((line) => first.link.write(Buffer.from(line))));
    first.link.release?.();
    expect((await refusal(first.link.write(Buffer.from('late\n')))).code).to.equal('LINK_CLOSED');
    await first.link.exited;
    const second = await adopt(b, first);
    const got = heard(second);
    await second.write(Buffer.from('last\n'));
    await eventually(() => got.text.endsWith('last\n'));
    for (const line of lines) expect(first.text + got.text).to.include(line);
  });

  it('what the child wrote while nobody was attached comes to the next holder, once', async () => {
    const [a, b] = [gateway('a'), gateway('b')];
    const [go, taken] = [join(folder, 'go'), join(folder, 'taken')];
    const script = `read line; echo > ${taken}; while [ ! -e ${go} ]; do /bin/sleep 0.01; done; echo "answer to $line"; exec /bin/cat`;
    const first = await opened(a, serverSpec({ command: ['/bin/sh', '-c', script] }));
    await first.link.write(Buffer.from('asked\n'));
    await eventually(() => existsSync(taken));
    first.link.release?.();
    await eventually(() => world.newest.streams.size === 0);
    writeFileSync(go, '');
    const second = await adopt(b, first);
    const got = heard(second);
    await second.write(Buffer.from('more\n'));
    await eventually(() => got.text.endsWith('more\n'));
    expect(first.text + got.text).to.equal('answer to asked\nmore\n');
  });

  it('what was handed over and held comes to the next holder again; once it is let go of, it does not', async () => {
    const [a, b, c] = [gateway('a'), gateway('b'), gateway('c')];
    const first = await opened(a);
    first.link.retain?.(true);
    await first.link.write(Buffer.from('one\n'));
    await eventually(() => first.text === 'one\n');
    const second = await adopt(b, first);
    const got = heard(second);
    await eventually(() => got.text === 'one\n');
    second.retain?.(true);
    second.retain?.(false);
    await second.write(Buffer.from('two\n')); // it carries what was released with it
    await eventually(() => got.text === 'one\ntwo\n');
    const third = await adopt(c, first, 3);
    const last = heard(third);
    await third.write(Buffer.from('three\n'));
    await eventually(() => last.text.endsWith('three\n'));
    expect(last.text).to.match(/^(two\n)?three\n$/);
  });

  it('is refused, and the pod left alone, where its key is not known, it is another pod by now, or is gone', async () => {
    const first = await opened(gateway('a'));
    const strange = gateway('b', { linkKeys: new LinkKeys([{ id: 'k2', secret: Buffer.alloc(32, 2) }]) });
    expect((await refusal(adopt(strange, first))).code).to.equal('BACKEND_REFUSED');
    const b = gateway('b');
    const another = { ...first, child: { ...first.child, instance: 'another' } };
    expect((await refusal(adopt(b, another))).code).to.equal('BACKEND_ENDED');
    expect(world.cluster.all(world.pods)).to.have.length(1);
    await first.link.close();
    expect((await refusal(adopt(b, first))).code).to.equal('BACKEND_ENDED');
  });

  it('a launcher that does not answer is given up when its caller does', async () => {
    const first = await opened(gateway('a'));
    world.newest.process.kill('SIGSTOP');
    const reason = new Error('late');
    const abort = new AbortController();
    const adopting = gateway('b').adopt({ ...first, server: SERVER, epoch: 2 }, abort.signal);
    await eventually(() => world.newest.streams.size === 2);
    abort.abort(reason);
    expect(await adopting.catch((thrown: unknown) => thrown)).to.equal(reason);
    world.newest.process.kill('SIGCONT');
    expect(world.cluster.all(world.pods)).to.have.length(1);
  });

  it('the pod names the key and holds nothing of it', async () => {
    await opened(gateway('a'));
    const [pod] = world.cluster.all(world.pods);
    expect(pod?.metadata.annotations['forgejo-mcp-operator/link-key']).to.equal('k1');
    expect(JSON.stringify(pod)).to.not.include('in-no-pod-spec');
  });
});

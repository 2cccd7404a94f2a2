import { expect } from 'chai';
import { X509Certificate } from 'node:crypto';
import { isPeerCertificate } from '../../src/peers/certificates';
import type { MCPServer } from '../../src/resources/server';
import { KubeClient } from '../../src/kube/client';
import { Credentials } from '../../src/kube/credentials';
import { ActingGateway } from '../support/acting-gateway';
import { apply, cluster, createNamespace, deleteNamespaces, get, kubectl } from '../support/cluster';
import { killOperators, type OperatorProcess, startOperator } from '../support/operator-process';
import { until } from '../support/until';

const INSTALL = 'operator-test';

describe('the operator on a cluster', function () {
  this.timeout(120_000);
  let namespace: string;
  let sessions: string;
  let kube: KubeClient;
  const operators: OperatorProcess[] = [];
  const gateways: ActingGateway[] = [];

  const operate = async (): Promise<OperatorProcess> => {
    const one = await startOperator({
      backend: { kind: 'pod', namespace: sessions, installId: INSTALL, kubeconfig: cluster().kubeconfig },
      auth: { mode: 'bearer' },
      sessions: { keepRecords: '60s' },
      operator: {
        namespace,
        lease: 'operator',
        leaseDuration: '10s',
        renewDeadline: '6s',
        retryPeriod: '1s',
        certificateSecret: 'peers',
      },
    });
    operators.push(one);
    return one;
  };
  const leader = (): Promise<OperatorProcess> =>
    until('one operator leads', async () => {
      const leading = await Promise.all(operators.map((one) => one.isLeading()));
      expect(leading.filter(Boolean).length).to.be.at.most(1);
      return operators[leading.indexOf(true)];
    });
  const gateway = async (): Promise<ActingGateway> => {
    const one = await new ActingGateway({ kube, namespace, sessionsNamespace: sessions, install: INSTALL }).start();
    gateways.push(one);
    return one;
  };
  const session = (name: string) => get('mcpsession', name, sessions);
  const state = async (name: string): Promise<string> => {
    const { status } = await session(name);
    return `${status.state} ${status.reason ?? ''}`.trim();
  };
  const becomes = (name: string, wanted: string, ms = 60_000): Promise<unknown> =>
    until(`${name} is ${wanted}`, async () => (await state(name)) === wanted, ms);
  const pods = async (): Promise<string[]> =>
    (await kubectl(['-n', sessions, 'get', 'pods', '-o', 'name'])).split('\n').filter((line) => line !== '');
  const server = (name: string, spec: object) =>
    apply({
      apiVersion: 'forgejo-mcp-operator.dev/v1alpha1',
      kind: 'MCPServer',
      metadata: { name, namespace },
      spec: {
        forgejo: { url: 'https://forge.example.com' },
        pod: { image: 'registry.example.com/child:1' },
        idleTimeout: '5s',
        startTimeout: '5s',
        ...spec,
      },
    });
  const said = async (name: string): Promise<string[]> =>
    ((await get<MCPServer>('mcpserver', name, namespace)).status?.conditions ?? []).map(
      ({ type, status, reason }) => `${type}=${status} ${reason}`,
    );

  before(async () => {
    await kubectl(['apply', '--server-side', '-f', 'crds/']);
    await kubectl(['wait', '--for=condition=Established', '--timeout=30s', '-f', 'crds/']);
    namespace = await createNamespace('operator');
    sessions = await createNamespace('operator-sessions');
    kube = new KubeClient(new Credentials(cluster().kubeconfig));
    await apply({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'peers', namespace } });
    await server('s', {});
    await server('stateful', { stateful: true });
    await Promise.all([operate(), operate()]);
    await leader();
  });

  afterEach(function () {
    if (this.currentTest?.state !== 'failed') return;
    for (const { lines } of operators) console.error(lines.slice(-40).join('\n'));
  });

  after(async () => {
    await killOperators();
    await Promise.all(gateways.map((one) => one.kill()));
    await kube.close();
    await deleteNamespaces(namespace, sessions);
  });

  it('is ready whether it leads or not', async () => {
    for (const one of operators) await until('it is ready', async () => (await one.ready()) === 200);
  });

  it('shows what is so of servers, with the reason, and counts their sessions', async () => {
    await server('wrong', { startTimeout: '10ms' });
    await server('paused', { paused: true });
    await until('all is said', async () => (await said('wrong')).length + (await said('paused')).length === 6);
    expect(await said('wrong')).to.deep.equal([
      'Accepted=False Invalid',
      'Ready=False NotAccepted',
      'Drained=False NotDraining',
    ]);
    expect(await said('paused')).to.deep.equal([
      'Accepted=True Valid',
      'Ready=False Paused',
      'Drained=False NotDraining',
    ]);
    expect(await said('s')).to.deep.equal([
      'Accepted=True Valid',
      'Ready=False NoGateway',
      'Drained=False NotDraining',
    ]);
    const one = await gateway();
    const names = [await one.open('s'), await one.open('s')].map(({ metadata }) => metadata.name);
    await until('they are counted', async () => {
      const { status } = await get<MCPServer>('mcpserver', 's', namespace);
      return status?.sessions?.active === 2 && (await said('s'))[1] === 'Ready=True Serving';
    });
    for (const name of names) await one.end(await one.objects.get(name));
    await until('they are not any more', async () => {
      const { status } = await get<MCPServer>('mcpserver', 's', namespace);
      return status?.sessions?.active === 0;
    });
  });

  it('makes the certificates of gateways', async () => {
    const { data } = await until('they are made', async () => {
      const secret = await get('secret', 'peers', namespace);
      return secret.data?.['tls.crt'] !== undefined && secret;
    });
    const text = (key: string): string => Buffer.from(data[key] as string, 'base64').toString();
    const leaf = new X509Certificate(text('tls.crt'));
    expect(isPeerCertificate(leaf)).to.equal(true);
    expect(leaf.verify(new X509Certificate(text('ca.crt')).publicKey)).to.equal(true);
  });

  it('ends what slept past its time', async () => {
    const one = await gateway();
    const slept = await one.hibernate(await one.open('s'), 2_000);
    const sleeps = await one.hibernate(await one.open('s'), 3_600_000);
    await becomes(slept.metadata.name, 'Ended expired');
    expect(await state(sleeps.metadata.name)).to.equal('Hibernated');
    await one.wake(sleeps);
    expect(await state(sleeps.metadata.name)).to.equal('Active');
  });

  it('has the sessions of a dead gateway sleep or end when nobody takes them, and removes their pods; those of another stay', async () => {
    const [dead, lives] = [await gateway(), await gateway()];
    const [mine, stateful, taken, podless, others] = [
      await dead.open('s'),
      await dead.open('stateful'),
      await dead.open('s'),
      await dead.open('s'),
      await lives.open('s'),
    ];
    const begun = await dead.create('s');
    await dead.pod(begun.metadata.name, 's');
    await dead.kill();
    await becomes(begun.metadata.name, 'Ended start-failed');
    await lives.write(await lives.objects.get(taken.metadata.name), { holder: lives.name, epoch: 2 });
    if (podless.status.pod !== undefined) await lives.removePod(podless.status.pod);
    await becomes(podless.metadata.name, 'Hibernated');
    await becomes(mine.metadata.name, 'Hibernated');
    await becomes(stateful.metadata.name, 'Ended lost');
    expect((await session(mine.metadata.name)).status).to.include({ epoch: 2, initialize: '{}' });
    await until('only the pods of those that live are left', async () => {
      const left = await pods();
      const has = (one: typeof mine): boolean => left.includes(`pod/${one.status.pod?.name ?? ''}`);
      return [mine, stateful, podless].every((one) => !has(one)) && has(taken) && has(others);
    });
    expect(await state(taken.metadata.name)).to.equal('Active');
    expect(await state(others.metadata.name)).to.equal('Active');
    await until('the pod that was never anybody’s is gone', async () => {
      return !(await pods()).some((name) => name.includes(begun.metadata.name));
    });
  });

  it('removes pods that a dead gateway left behind, and leaves one that is being made', async () => {
    const [dead, lives] = [await gateway(), await gateway()];
    const stray = await dead.pod('ab'.repeat(20), 's');
    const starting = await lives.create('s');
    const made = await lives.pod(starting.metadata.name, 's');
    await dead.kill();
    await until('the stray is gone', async () => !(await pods()).includes(`pod/${stray.name}`));
    expect(await pods()).to.include(`pod/${made.name}`);
    await lives.end(await lives.write(starting, { state: 'Active', pod: made }));
  });

  it('a session that kubectl deletes takes its pod along', async () => {
    const one = await gateway();
    const { metadata, status } = await one.open('s');
    await one.kill(); // otherwise it is its own business, for a minute
    await kubectl(['-n', sessions, 'delete', 'mcpsession', metadata.name]);
    await until('the pod is gone', async () => !(await pods()).includes(`pod/${status.pod?.name ?? ''}`), 60_000);
  });

  it('is taken over from when its leader is killed, and hands over when its leader stops', async () => {
    const killed = await leader();
    killed.signal('SIGKILL');
    await killed.exited;
    operators.splice(operators.indexOf(killed), 1);
    const next = await leader();
    await operate();
    const one = await gateway();
    const { metadata } = await one.hibernate(await one.open('s'), 1_000);
    await becomes(metadata.name, 'Ended expired');
    next.signal('SIGTERM');
    expect(await next.exited).to.equal(0);
    operators.splice(operators.indexOf(next), 1);
    const { spec } = await get('lease', 'operator', namespace);
    expect(spec.holderIdentity, 'given back, or another’s').to.not.equal(undefined);
    expect(next.lines.join('\n')).to.include('leader.ended').and.not.include('leader.not-released');
    await leader();
    await operate();
  });

  it('does nothing more when it is stopped and goes on after another leads', async () => {
    const stopped = await leader();
    stopped.signal('SIGSTOP');
    const others = operators.filter((one) => one !== stopped);
    await until('another leads', async () => (await Promise.all(others.map((one) => one.isLeading()))).includes(true));
    stopped.signal('SIGCONT');
    await until('it noticed', async () => !(await stopped.isLeading()));
    await leader();
  });

  it('300 sessions at random, gateways and leaders that are killed, conflicting writes: nothing is left', async function () {
    this.timeout(600_000);
    const random = (below: number): number => Math.floor(Math.random() * below);
    const acting = await Promise.all([gateway(), gateway(), gateway()]);
    const names: string[] = [];
    let isOver = false;
    /** Somebody writes to whatever there is, all the time. */
    const vandal = (async () => {
      while (!isOver) {
        const name = names[random(names.length)];
        const value = String(Date.now());
        if (name !== undefined) {
          await acting[0].objects
            .patch(name, [{ op: 'add', path: '/metadata/annotations', value: { disturbed: value } }])
            .catch(() => undefined);
        }
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    /** Everything that goes wrong by somebody else's write, or by a death, leaves things as they are. */
    const life = async (): Promise<void> => {
      const one = acting[random(acting.length)];
      const made = await one.create('s');
      names.push(made.metadata.name);
      const fresh = () => one.objects.get(made.metadata.name);
      try {
        if (random(12) === 0) return;
        const pod = await one.pod(made.metadata.name, 's');
        if (random(12) === 0) return;
        await one.write(await fresh(), { state: 'Active', pod, protocolVersion: '2025-11-25', initialize: '{}' });
        for (let i = random(3); i > 0; i--) {
          await one.hibernate(await fresh(), random(2) === 0 ? 1_000 : 3_600_000);
          if (random(3) === 0) return;
          await one.wake(await fresh());
        }
        if (random(3) > 0) await one.end(await fresh());
      } catch {
        return;
      }
    };
    let left = 300;
    const worker = async (): Promise<void> => {
      while (left > 0) {
        left--;
        if (left === 200 || left === 100) {
          const [dead] = acting.splice(random(acting.length), 1);
          await dead.kill();
          acting.push(await gateway());
          const killed = await leader();
          killed.signal('SIGKILL');
          operators.splice(operators.indexOf(killed), 1);
          await operate();
        }
        await life();
      }
    };
    await Promise.all(Array.from({ length: 8 }, worker));
    isOver = true;
    await vandal;
    expect(names).to.have.length(300);
    await Promise.all(gateways.map((one) => one.kill()));
    const list = async () => JSON.parse(await kubectl(['-n', sessions, 'get', 'mcpsessions', '-o', 'json'])).items;
    await until(
      'all sleep or have ended, and no pod is left',
      async () => {
        const states = (await list()).map(({ status }: any) => status.state as string);
        return states.every((one: string) => one === 'Hibernated' || one === 'Ended') && (await pods()).length === 0;
      },
      180_000,
    );
    // Their time passes.
    const past = new Date(Date.now() - 1_000).toISOString();
    for (const { metadata, status } of await list()) {
      if (status.state !== 'Hibernated') continue;
      await acting[0].objects
        .patch(metadata.name as string, [{ op: 'add', path: '/status/expiresAt', value: past }])
        .catch(() => undefined); // it has gone by itself
    }
    await until('no record is left', async () => (await list()).length === 0, 240_000);
    await until(
      'no gateway’s Lease is left',
      async () => !(await kubectl(['-n', namespace, 'get', 'leases', '-o', 'name'])).includes('/gateway-'),
      120_000,
    );
  });
});

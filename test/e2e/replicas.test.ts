/** Who is believed alive on a real cluster: replicas join, leave, are killed, are stopped and go on. Those of which a process must die have one of their own. */
import { expect } from 'chai';
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { systemClock } from '../../src/clock';
import { KubeClient } from '../../src/kube/client';
import { Credentials } from '../../src/kube/credentials';
import type { Replicas } from '../../src/peers/contract';
import { replicaName } from '../../src/peers/names';
import { createReplicas } from '../../src/peers/replicas';
import { cluster, createNamespace, deleteNamespaces, get, kubectl } from '../support/cluster';
import type { ReplicaMessage, ReplicaQuestion, ReplicaSetup } from '../support/replica-process';
import { keptLog } from '../support/silent-log';
import { until } from '../support/until';

const PROGRAM = join(__dirname, '../support/replica-process.ts');
/** Milliseconds for a program to start on a machine that has much else to do. */
const START_MS = 150_000;

/** A replica, wherever it runs. */
interface Member {
  readonly name: string;
  /** Whom it was told to be gone, in order. */
  readonly gone: readonly string[];
  isAlive(name: string): Promise<unknown>;
  addressOf(name: string): Promise<unknown>;
  leave(): Promise<unknown>;
}

class Process implements Member {
  readonly gone: string[] = [];
  suresAgain = 0;
  readonly #answers = new Map<number, (answer: string | boolean | null) => void>();
  #count = 0;

  private constructor(
    readonly child: ChildProcess,
    readonly name: string,
  ) {
    child.on('message', (message: ReplicaMessage) => {
      if (message.kind === 'gone') this.gone.push(message.name);
      else if (message.kind === 'sure-again') this.suresAgain++;
      else if (message.kind === 'answer') this.#answers.get(message.id)?.(message.answer);
    });
  }

  static async start(setup: Omit<ReplicaSetup, 'kubeconfig'>): Promise<Process> {
    const child = fork(PROGRAM, { execArgv: ['-r', 'ts-node/register/transpile-only'] });
    child.send({ kubeconfig: cluster().kubeconfig, ...setup } satisfies ReplicaSetup);
    const [message] = (await once(child, 'message', { signal: AbortSignal.timeout(START_MS) })) as [ReplicaMessage];
    if (message.kind !== 'ready') throw new Error(`the replica said ${message.kind} first`);
    return new Process(child, message.name);
  }

  ask(what: ReplicaQuestion['what'], name?: string): Promise<string | boolean | null> {
    const id = ++this.#count;
    const answered = new Promise<string | boolean | null>((resolve) => this.#answers.set(id, resolve));
    this.child.send({ id, what, ...(name === undefined ? {} : { name }) } satisfies ReplicaQuestion);
    return answered;
  }

  isAlive(name: string): Promise<unknown> {
    return this.ask('alive', name);
  }

  addressOf(name: string): Promise<unknown> {
    return this.ask('address', name);
  }

  async leave(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const exited = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await exited;
  }
}

describe('replicas on a cluster', function () {
  this.timeout(300_000);
  let namespace: string;
  let kube: KubeClient;
  let members: Member[] = [];
  let count = 0;

  before(async () => {
    namespace = await createNamespace('replicas');
    kube = new KubeClient(new Credentials(cluster().kubeconfig));
  });

  afterEach(async () => {
    await Promise.all(members.map((member) => member.leave()));
    members = [];
  });

  after(async () => {
    await kube.close();
    await deleteNamespaces(namespace);
  });

  /** One in this process. */
  async function here(install: string): Promise<Member> {
    const address = `10.0.0.${++count}:9443`;
    const gone: string[] = [];
    const replicas: Replicas = createReplicas({
      kube,
      namespace,
      install,
      address,
      clock: systemClock,
      log: keptLog(),
    });
    replicas.onGone((name) => gone.push(name));
    await replicas.start(AbortSignal.timeout(START_MS));
    const member: Member = {
      name: replicas.self,
      gone,
      isAlive: (name) => replicas.isAlive(name),
      addressOf: (name) => replicas.addressOf(name),
      leave: () => replicas.stop(),
    };
    members.push(member);
    return member;
  }

  /** One in a process of its own. */
  async function apart(install: string): Promise<Process> {
    const member = await Process.start({ namespace, install, address: `10.0.0.${++count}:9443` });
    members.push(member);
    return member;
  }

  const several = (many: number, install: string): Promise<Member[]> =>
    Promise.all(Array.from({ length: many }, () => here(install)));

  /** What each of `askers` says of each of `names`. */
  const alive = (askers: readonly Member[], names: readonly Member[]): Promise<unknown[]> =>
    Promise.all(askers.flatMap((asker) => names.map(({ name }) => asker.isAlive(name))));

  const renewals = async (name: string): Promise<string> =>
    (await get('lease', name, namespace)).spec.renewTime as string;

  it('join, and each knows all others, and none of another install', async () => {
    const [ours, theirs] = await Promise.all([several(5, 'one'), several(5, 'two')]);
    const own = await Promise.all(ours.map((each) => each.addressOf(each.name)));
    expect(new Set(own).size).to.equal(5);
    for (const asker of ours) {
      expect(await Promise.all(ours.map(({ name }) => asker.addressOf(name)))).to.deep.equal(own);
    }
    expect(await alive(ours, ours)).to.not.include(false);
    expect(await alive(ours, theirs)).to.not.include(true);
    expect(await alive(theirs, ours)).to.not.include(true);
    expect(await ours[0].addressOf(theirs[0].name)).to.equal(undefined);
    expect(await ours[0].isAlive(replicaName())).to.equal(false);
  });

  it('live as long as they renew; one that is killed is dead to all others, and only that one', async () => {
    const [killed, rest] = await Promise.all([apart('three'), several(4, 'three')]);
    const all = [killed, ...rest];
    const first = await renewals(killed.name);
    await until('it has renewed', async () => {
      for (let i = 0; i < 20; i++) expect(await alive(all, all)).to.not.include(false);
      return (await renewals(killed.name)) !== first;
    });
    await killed.leave();
    const last = await renewals(killed.name);
    await until('all others know it', async () => {
      expect(await alive(rest, rest)).to.not.include(false);
      return rest.every(({ gone }) => gone.length > 0);
    });
    expect(await renewals(killed.name)).to.equal(last);
    expect(await alive(rest, [killed])).to.not.include(true);
    for (const { gone } of rest) expect(gone).to.deep.equal([killed.name]);
    const late = await here('three');
    expect(await late.isAlive(killed.name), 'has its whole duration with one that never saw it').to.equal(true);
    await until('and not longer', async () => late.gone.includes(killed.name));
    expect(await late.isAlive(killed.name)).to.equal(false);
    expect(await alive([late], rest)).to.not.include(false);
  });

  it('one that leaves in order is gone at once, and so is its Lease', async () => {
    const [left, ...rest] = await several(5, 'four');
    await left.leave();
    await until('all others know it', async () => rest.every(({ gone }) => gone.length > 0));
    for (const { gone } of rest) expect(gone).to.deep.equal([left.name]);
    expect(await alive(rest, [left])).to.not.include(true);
    expect(await rest[0].addressOf(left.name)).to.equal(undefined);
    expect(await kubectl(['-n', namespace, 'get', 'lease', left.name, '--ignore-not-found', '-o', 'name'])).to.equal(
      '',
    );
  });

  it('one that is stopped is dead to the others, knows it when it goes on, and lives again', async () => {
    const [stopped, rest] = await Promise.all([apart('five'), several(4, 'five')]);
    stopped.child.kill('SIGSTOP');
    await until('all others know it', async () => rest.every(({ gone }) => gone.includes(stopped.name)), 60_000);
    expect(await alive(rest, [stopped])).to.not.include(true);
    const sure = stopped.ask('sure'); // the first that it reads
    stopped.child.kill('SIGCONT');
    expect(await sure).to.equal(false);
    await until('it is sure again', async () => (await stopped.ask('sure')) === true);
    expect(stopped.suresAgain).to.be.at.least(1);
    await until('the others know it', async () => !(await alive(rest, [stopped])).includes(false));
    expect(await alive([stopped], rest), 'it has not seen them for long, and they live').to.not.include(false);
    expect(stopped.gone).to.deep.equal([]);
  });

  it('an administrator who deletes all Leases kills nobody', async () => {
    const all = await several(5, 'six');
    const ofInstall = ['-n', namespace, '-l', 'app.kubernetes.io/instance=six'];
    await kubectl([...ofInstall, 'delete', 'leases']);
    await until('they are made again', async () => {
      expect(await alive(all, all)).to.not.include(false);
      return (await kubectl([...ofInstall, 'get', 'leases', '-o', 'name'])).trim().split('\n').length === 5;
    });
    for (const { gone } of all) expect(gone).to.deep.equal([]);
  });
});

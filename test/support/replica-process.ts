/** A replica in a process of its own, so that it can be killed and stopped: the program that `replicas.test.ts` forks. It is asked over IPC. */
import { systemClock } from '../../src/clock';
import { KubeClient } from '../../src/kube/client';
import { Credentials } from '../../src/kube/credentials';
import type { Replicas } from '../../src/peers/contract';
import { createReplicas } from '../../src/peers/replicas';
import { keptLog } from './silent-log';

/** What the test sends first. */
export interface ReplicaSetup {
  readonly kubeconfig: string;
  readonly namespace: string;
  readonly install: string;
  readonly address: string;
}

/** What the test sends from then on. */
export interface ReplicaQuestion {
  readonly id: number;
  readonly what: 'alive' | 'address' | 'sure' | 'leave';
  /** Whom it is about. */
  readonly name?: string;
}

/** What comes back. */
export type ReplicaMessage =
  | { readonly kind: 'ready'; readonly name: string }
  | { readonly kind: 'gone'; readonly name: string }
  | { readonly kind: 'sure-again' }
  /** `answer` is null for nothing. */
  | { readonly kind: 'answer'; readonly id: number; readonly answer: string | boolean | null };

const say = (message: ReplicaMessage): void => void process.send?.(message);

async function answer(replicas: Replicas, { what, name = '' }: ReplicaQuestion): Promise<string | boolean | null> {
  switch (what) {
    case 'alive':
      return replicas.isAlive(name);
    case 'address':
      return (await replicas.addressOf(name)) ?? null;
    case 'sure':
      return replicas.isSure;
    case 'leave':
      await replicas.stop();
      return null;
  }
}

process.once('message', (setup: ReplicaSetup) => {
  void (async () => {
    const { kubeconfig, namespace, install, address } = setup;
    const kube = new KubeClient(new Credentials(kubeconfig));
    const replicas = createReplicas({ kube, namespace, install, address, clock: systemClock, log: keptLog() });
    replicas.onGone((name) => say({ kind: 'gone', name }));
    replicas.onSureAgain(() => say({ kind: 'sure-again' }));
    await replicas.start(AbortSignal.timeout(30_000));
    process.on('message', (question: ReplicaQuestion) => {
      void answer(replicas, question).then((found) => say({ kind: 'answer', id: question.id, answer: found }));
    });
    say({ kind: 'ready', name: replicas.self });
  })();
});
process.once('disconnect', () => process.exit());

import { expect } from 'chai';
import { ending, isFinal, needsStatus } from '../../src/backends/pod/ending';
import { explainDeadline, judge } from '../../src/backends/pod/judge';
import { type PodState, podState } from '../../src/backends/pod/pod-state';
import type { SealedExit } from '../../src/backends/pod/sealed/contract';

const pod = (status: object, metadata: object = {}, spec: object = { nodeName: 'n1' }): PodState => {
  const state = podState({ metadata: { name: 'p', uid: 'u', resourceVersion: '1', ...metadata }, spec, status });
  if (state === undefined) throw new Error('no pod');
  return state;
};
const child = (state: object): object => ({ phase: 'Pending', containerStatuses: [{ state }] });
const waiting = (reason: string, message = 'm'): PodState => pod(child({ waiting: { reason, message } }));
const init = (state: object): PodState =>
  pod({
    phase: 'Pending',
    initContainerStatuses: [{ state }],
    containerStatuses: [{ state: { waiting: { reason: 'PodInitializing' } } }],
  });
const unscheduled = pod(
  {
    phase: 'Pending',
    conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/1 nodes' }],
  },
  {},
  {},
);

describe('what a starting pod’s state means', () => {
  const table: readonly (readonly [string, PodState, string])[] = [
    ['nothing is reported yet', pod({ phase: 'Pending' }), 'waiting'],
    ['the container is being created', waiting('ContainerCreating'), 'waiting'],
    ['it cannot be scheduled: room may come', unscheduled, 'waiting'],
    ['it runs', pod(child({ running: {} })), 'running'],
    ['the launcher is being copied', init({ running: {} }), 'waiting'],
    ['the launcher was copied', init({ terminated: { exitCode: 0 } }), 'waiting'],
    ['the launcher could not be copied', init({ terminated: { exitCode: 1, reason: 'Error' } }), 'BACKEND_CRASHED'],
    ['the launcher’s image cannot be pulled', init({ waiting: { reason: 'ErrImagePull' } }), 'BACKEND_IMAGE'],
    ...['ErrImagePull', 'ImagePullBackOff', 'ErrImageNeverPull', 'InvalidImageName'].map(
      (reason) => [reason, waiting(reason), 'BACKEND_IMAGE'] as const,
    ),
    ['the registry’s own rate limit passes', waiting('ErrImagePull', 'pull QPS exceeded'), 'waiting'],
    ...['CreateContainerError', 'CreateContainerConfigError', 'RunContainerError'].map(
      (reason) => [reason, waiting(reason), 'BACKEND_CRASHED'] as const,
    ),
    ['a busy runtime passes', waiting('CreateContainerError', 'context deadline exceeded'), 'waiting'],
    [
      'it ended at once',
      pod(child({ terminated: { exitCode: 1, reason: 'StartError', message: 'exec' } })),
      'BACKEND_CRASHED',
    ],
    ['it failed as a whole', pod({ phase: 'Failed', reason: 'DeadlineExceeded' }), 'BACKEND_CRASHED'],
    ['the kubelet turned it away', pod({ phase: 'Failed', reason: 'OutOfcpu' }), 'BACKEND_UNSCHEDULABLE'],
    ['it was evicted', pod({ phase: 'Failed', reason: 'Evicted' }), 'BACKEND_UNSCHEDULABLE'],
    ['somebody deletes it', pod(child({ running: {} }), { deletionTimestamp: 'now' }), 'BACKEND_UNAVAILABLE'],
    [
      'it is preempted',
      pod({
        phase: 'Pending',
        conditions: [{ type: 'DisruptionTarget', status: 'True', reason: 'PreemptionByScheduler' }],
      }),
      'BACKEND_UNAVAILABLE',
    ],
  ];
  for (const [name, state, expected] of table) {
    it(`${name}: ${expected}`, () => {
      const verdict = judge(state);
      expect(verdict.kind === 'failed' ? verdict.error.code : verdict.kind).to.equal(expected);
      if (verdict.kind === 'failed') {
        expect(verdict.error.message).to.match(/administrator|Try again/);
        expect(verdict.error.message).to.not.match(/\bp\b|exec/);
        expect(verdict.error.detail).to.include('pod p');
      }
    });
  }

  it('tells of memory when memory was the reason', () => {
    const verdict = judge(pod(child({ terminated: { exitCode: 137, reason: 'OOMKilled' } })));
    expect(verdict.kind === 'failed' && verdict.error.message).to.match(/memory limit/);
  });

  it('explains a deadline by what stood in the way', () => {
    expect(explainDeadline(unscheduled, 60).code).to.equal('BACKEND_UNSCHEDULABLE');
    expect(explainDeadline(unscheduled, 60).detail).to.include('0/1 nodes');
    expect(explainDeadline(unscheduled, 60).retryAfter).to.be.above(0);
    expect(explainDeadline(waiting('ErrImagePull', 'pull QPS exceeded'), 60).code).to.equal('BACKEND_IMAGE');
    expect(explainDeadline(waiting('ContainerCreating'), 60).code).to.equal('BACKEND_START_DEADLINE');
    expect(explainDeadline(undefined, 60).code).to.equal('BACKEND_START_DEADLINE');
    expect(explainDeadline(undefined, 60).message).to.include('60 seconds');
  });
});

describe('projection of a pod', () => {
  it('keeps the facts and drops the rest', () => {
    expect(
      podState({
        metadata: {
          name: 'p',
          uid: 'u',
          resourceVersion: '7',
          creationTimestamp: '2026-01-02T03:04:05Z',
          labels: {
            'forgejo-mcp-operator/run': 'r',
            'forgejo-mcp-operator/server': 's',
            'forgejo-mcp-operator/template': 't',
            'app.kubernetes.io/component': 'warm',
          },
          annotations: { big: 'x', 'forgejo-mcp-operator/link-key': 'k1' },
        },
        spec: { hostUsers: false },
        status: {
          phase: 'Running',
          podIP: '10.0.0.1',
          containerStatuses: [{ state: { running: { startedAt: 'x' } } }],
        },
      }),
    ).to.deep.equal({
      name: 'p',
      uid: 'u',
      resourceVersion: '7',
      run: 'r',
      component: 'warm',
      server: 's',
      template: 't',
      createdAt: Date.UTC(2026, 0, 2, 3, 4, 5),
      linkKey: 'k1',
      phase: 'Running',
      reason: undefined,
      message: undefined,
      ip: '10.0.0.1',
      deleting: false,
      userNamespace: true,
      scheduled: false,
      sandbox: false,
      unschedulable: undefined,
      disrupted: undefined,
      child: { running: true },
      init: undefined,
    });
  });

  it('takes dates of typed answers and strings of watches alike, and survives any nonsense', () => {
    expect(pod({}, { deletionTimestamp: new Date() }).deleting).to.equal(true);
    expect(pod({}, { deletionTimestamp: '2026-01-01T00:00:00Z' }).deleting).to.equal(true);
    for (const nonsense of [undefined, null, 1, 'x', [], {}, { metadata: null }, { metadata: { name: 1, uid: 'u' } }]) {
      expect(podState(nonsense)).to.equal(undefined);
    }
    const odd = pod({ phase: 5, conditions: 'x', containerStatuses: [null], initContainerStatuses: [{ state: 7 }] });
    expect(odd.phase).to.equal('Unknown');
    expect(judge(odd).kind).to.equal('waiting');
  });
});

describe('why a pod’s child is gone', () => {
  const running = pod(child({ running: {} }));
  const oom = pod(child({ terminated: { exitCode: 137, reason: 'OOMKilled' } }));
  const deleting = pod(child({ running: {} }), { deletionTimestamp: 'now' });
  const over = pod(child({ terminated: { exitCode: 137, reason: 'Error' } }));
  const exited: SealedExit = { kind: 'exited', code: 3 };
  const killed: SealedExit = { kind: 'signaled', signal: 'SIGKILL' };
  const silent: SealedExit = { kind: 'container-ended', detail: 'd' };
  const table: readonly (readonly [string, SealedExit, PodState | 'gone' | undefined, boolean, object])[] = [
    ['it exits', exited, running, false, { reason: 'exited', code: 3 }],
    ['it crashes', { kind: 'signaled', signal: 'SIGSEGV' }, running, false, { reason: 'exited', signal: 'SIGSEGV' }],
    ['somebody kills it', killed, running, false, { reason: 'killed', signal: 'SIGKILL' }],
    ['the kernel kills it for memory', killed, oom, false, { reason: 'oom', signal: 'SIGKILL' }],
    ['a helper was killed for memory, and it exits later', exited, oom, false, { reason: 'exited', code: 3 }],
    ['the whole container is killed for memory', silent, oom, false, { reason: 'oom', signal: 'SIGKILL' }],
    ['the whole container is killed', silent, over, false, { reason: 'killed', signal: 'SIGKILL' }],
    ['the container ended and nothing is known', silent, running, false, { reason: 'killed' }],
    [
      'the pod is deleted under it',
      { kind: 'signaled', signal: 'SIGTERM' },
      deleting,
      false,
      { reason: 'deleted', signal: 'SIGTERM' },
    ],
    [
      'it takes a deletion’s SIGTERM gracefully',
      { kind: 'exited', code: 0 },
      deleting,
      false,
      { reason: 'deleted', code: 0 },
    ],
    [
      'it takes an eviction’s SIGTERM gracefully',
      { kind: 'exited', code: 0 },
      pod({ phase: 'Failed', reason: 'Evicted' }),
      false,
      { reason: 'deleted', code: 0 },
    ],
    ['the pod is gone', silent, 'gone', false, { reason: 'deleted' }],
    ['it is evicted', silent, pod({ phase: 'Failed', reason: 'Evicted' }), false, { reason: 'deleted' }],
    ['no stream can be had', { kind: 'lost', detail: 'd' }, running, false, { reason: 'lost' }],
    ['another holder has it', { kind: 'fenced', epoch: 2 }, running, false, { reason: 'lost' }],
    ['we closed it', { kind: 'exited', code: 0 }, running, true, { reason: 'closed', code: 0 }],
    ['we closed it by force', killed, undefined, true, { reason: 'closed', signal: 'SIGKILL' }],
    ['we closed it and it did not answer', { kind: 'lost', detail: 'd' }, running, true, { reason: 'closed' }],
  ];
  for (const [name, exit, seen, closing, expected] of table) {
    it(`${name}: ${(expected as { reason: string }).reason}`, () => {
      expect(ending(exit, seen, closing)).to.deep.equal(expected);
    });
  }

  it('waits for the pod’s status only where it can know more', () => {
    const well: SealedExit = { kind: 'exited', code: 0 };
    expect([exited, well, killed, silent].map((exit) => needsStatus(exit, running))).to.deep.equal([
      false,
      true, // a child that SIGTERM ends may exit with 0
      true,
      true,
    ]);
    expect([well, silent].map((exit) => needsStatus(exit, deleting))).to.deep.equal([false, true]);
    expect([well, killed, silent].map((exit) => needsStatus(exit, 'gone'))).to.deep.equal([false, false, false]);
    expect([undefined, running, deleting].map(isFinal)).to.deep.equal([false, false, false]);
    expect(['gone' as const, oom, pod({ phase: 'Failed' })].map(isFinal)).to.deep.equal([true, true, true]);
  });
});

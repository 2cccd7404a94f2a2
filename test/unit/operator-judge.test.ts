import { expect } from 'chai';
import { DEFAULT_TIMES, type PodFacts, type SessionFacts } from '../../src/operator/facts';
import { judgeSession, orphanIn, type PodSight, type SessionSight, sleepsUntil } from '../../src/operator/judge';

const WALL = 1_800_000_000_000;
const MINUTE = 60_000;

const session = (more: Partial<SessionFacts> = {}): SessionFacts => ({
  name: 'n',
  uid: 'u',
  resourceVersion: '1',
  server: 's',
  state: 'Active',
  holder: 'g',
  epoch: 1,
  pod: { namespace: 'sessions', name: 'p', uid: 'pod-1' },
  replayable: true,
  createdAt: WALL - MINUTE,
  expiresAt: undefined,
  endedAt: undefined,
  deleting: false,
  ...more,
});

const sight = (facts: Partial<SessionFacts>, more: Partial<Omit<SessionSight, 'session'>> = {}): SessionSight => ({
  session: session(facts),
  times: DEFAULT_TIMES,
  holderDeadFor: undefined,
  hasPod: true,
  wall: WALL,
  keepRecords: 60 * MINUTE,
  ...more,
});

describe('what is to be done about a session', () => {
  const stateful = { ...DEFAULT_TIMES, stateful: true };
  const drained = { ...DEFAULT_TIMES, drain: true };
  const nothing = { act: 'nothing' } as const;
  const table: [string, SessionSight, ReturnType<typeof judgeSession>][] = [
    ['a live holder’s: nothing', sight({}), nothing],
    ['a live holder’s, past its time: nothing', sight({ expiresAt: WALL - 1 }), nothing],
    ['a live holder’s whose pod is gone: nothing', sight({}, { hasPod: false }), nothing],
    ['a live holder’s that starts: nothing', sight({ state: 'Starting' }), nothing],
    ['one in a state of another version: nothing', sight({ state: undefined }, { holderDeadFor: 1e9 }), nothing],
    ['one that is being deleted: nothing', sight({ state: 'Hibernated', expiresAt: 1, deleting: true }), nothing],
    [
      'asleep, in its time: a look at its end',
      sight({ state: 'Hibernated', holder: '', expiresAt: WALL + 5 }),
      { act: 'nothing', again: 5 },
    ],
    ['asleep, past its time, and being woken: nothing', sight({ state: 'Hibernated', expiresAt: WALL }), nothing],
    [
      'asleep, past its time, its waker dead: expired',
      sight({ state: 'Hibernated', expiresAt: WALL }, { holderDeadFor: 0 }),
      { act: 'end', reason: 'expired' },
    ],
    [
      'asleep, of a server that is drained: ended',
      sight({ state: 'Hibernated', holder: '', expiresAt: WALL + 5 }, { times: drained }),
      { act: 'end', reason: 'drained' },
    ],
    ['a live holder’s, of a server that is drained: its own business', sight({}, { times: drained }), nothing],
    [
      'a dead holder’s, of a server that is drained: ended at once',
      sight({}, { holderDeadFor: 0, times: drained }),
      { act: 'end', reason: 'drained' },
    ],
    ['asleep, for ever: nothing', sight({ state: 'Hibernated', holder: '' }), nothing],
    [
      'asleep, past its time: expired',
      sight({ state: 'Hibernated', holder: '', expiresAt: WALL }),
      { act: 'end', reason: 'expired' },
    ],
    ['ended lately: kept', sight({ state: 'Ended', endedAt: WALL - MINUTE }), { act: 'nothing', again: 59 * MINUTE }],
    ['ended long ago: removed', sight({ state: 'Ended', endedAt: WALL - 60 * MINUTE }), { act: 'remove' }],
    [
      'ended, nobody says when: removed by its beginning',
      sight({ state: 'Ended', createdAt: WALL - 60 * MINUTE }),
      { act: 'remove' },
    ],
    [
      'a dead holder’s, lately: a look when it would be idle',
      sight({}, { holderDeadFor: MINUTE }),
      { act: 'nothing', again: 4 * MINUTE },
    ],
    ['a dead holder’s, without a taker: sleeps', sight({}, { holderDeadFor: 5 * MINUTE }), { act: 'hibernate' }],
    [
      'a dead holder’s that is stateful: lost',
      sight({}, { holderDeadFor: 5 * MINUTE, times: stateful }),
      { act: 'end', reason: 'lost' },
    ],
    [
      'a dead holder’s that no child can be told of: lost',
      sight({ replayable: false }, { holderDeadFor: 5 * MINUTE }),
      { act: 'end', reason: 'lost' },
    ],
    [
      'a dead holder’s without its pod: sleeps at once',
      sight({}, { holderDeadFor: 0, hasPod: false }),
      { act: 'hibernate' },
    ],
    [
      'a dead holder’s without its pod, stateful: lost at once',
      sight({}, { holderDeadFor: 0, hasPod: false, times: stateful }),
      { act: 'end', reason: 'lost' },
    ],
    [
      'a dead holder’s that had just begun: start-failed',
      sight({ state: 'Starting', replayable: false }, { holderDeadFor: 0 }),
      { act: 'end', reason: 'start-failed' },
    ],
    [
      'a dead holder’s that was being woken: sleeps on',
      sight({ state: 'Starting' }, { holderDeadFor: 0 }),
      { act: 'hibernate' },
    ],
    [
      'a dead holder’s past its time: expired',
      sight({ expiresAt: WALL - 1 }, { holderDeadFor: 0 }),
      { act: 'end', reason: 'expired' },
    ],
    [
      'a dead holder’s past its life: lifetime',
      sight({}, { holderDeadFor: 0, times: { ...DEFAULT_TIMES, maxLifetime: MINUTE } }),
      { act: 'end', reason: 'lifetime' },
    ],
  ];
  for (const [name, given, verdict] of table) {
    it(name, () => expect(judgeSession(given)).to.deep.equal(verdict));
  }

  it('sleeps until its server’s time is up, and no longer than its life', () => {
    expect(sleepsUntil({ createdAt: WALL - MINUTE }, DEFAULT_TIMES, WALL)).to.equal(WALL + DEFAULT_TIMES.ttl);
    const short = { ...DEFAULT_TIMES, maxLifetime: 3 * MINUTE };
    expect(sleepsUntil({ createdAt: WALL - MINUTE }, short, WALL)).to.equal(WALL + 2 * MINUTE);
  });
});

describe('what is to be done about a pod', () => {
  const pod = (more: Partial<PodFacts> = {}): PodFacts => ({
    name: 'p',
    uid: 'pod-1',
    resourceVersion: '1',
    component: 'session',
    session: 'n',
    server: 's',
    run: 'gateway-0123456789abcdef',
    over: false,
    deleting: false,
    ...more,
  });
  const look = (more: Partial<PodSight>): PodSight => ({
    pod: pod(),
    session: session({ pod: undefined }),
    times: DEFAULT_TIMES,
    makerLives: false,
    holderLives: false,
    unclaimedFor: 0,
    ...more,
  });
  const NOBODY = 10_000;
  const GATEWAY = 60_000;
  const START = GATEWAY + DEFAULT_TIMES.start;
  const table: [string, PodSight, number | undefined][] = [
    ['its session’s: kept', look({ session: session() }), undefined],
    ['its session’s that starts: kept', look({ session: session({ state: 'Starting' }) }), undefined],
    [
      'that of a session that has ended since, its maker lives: the maker’s for a while',
      look({ session: session({ state: 'Ended' }), makerLives: true }),
      GATEWAY,
    ],
    [
      'that of a session that has ended, its maker is dead: soon',
      look({ session: session({ state: 'Ended' }) }),
      NOBODY,
    ],
    [
      'that of a session that sleeps again: soon',
      look({ session: session({ state: 'Hibernated', holder: '' }) }),
      NOBODY,
    ],
    [
      'one that is being made for a session that starts: the time of a start',
      look({ session: session({ state: 'Starting', pod: undefined }), makerLives: true, holderLives: true }),
      START,
    ],
    [
      'one of a session that is being woken, by its maker only: the time of a start',
      look({ session: session({ state: 'Hibernated', holder: '' }), makerLives: true }),
      START,
    ],
    ['one of a session whose holder lives, made by another: the time of a start', look({ holderLives: true }), START],
    [
      'one of a session that has another pod, its makers dead: soon',
      look({ session: session({ pod: { namespace: 'x', name: 'y', uid: 'pod-2' } }) }),
      NOBODY,
    ],
    [
      'one without a session, its maker lives: the maker’s for a while',
      look({ session: undefined, makerLives: true }),
      GATEWAY,
    ],
    ['one without a session, its maker dead: soon', look({ session: undefined, unclaimedFor: 4_000 }), 6_000],
    ['one that is being deleted: kept', look({ session: undefined, pod: pod({ deleting: true }) }), undefined],
    [
      'one of a gateway that has no Lease: kept',
      look({ session: undefined, pod: pod({ run: '0123456789abcdef' }) }),
      undefined,
    ],
    ['one of another component: kept', look({ session: undefined, pod: pod({ component: 'pool' }) }), undefined],
    ['a canary of a dead gateway: soon', look({ session: undefined, pod: pod({ component: 'canary' }) }), NOBODY],
    [
      'a canary of one that lives: in its time',
      look({ session: undefined, makerLives: true, pod: pod({ component: 'canary' }) }),
      600_000,
    ],
  ];
  for (const [name, given, wait] of table) it(name, () => expect(orphanIn(given)).to.equal(wait));
});

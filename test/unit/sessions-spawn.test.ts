import { expect } from 'chai';
import type { Backend, BackendSpec } from '../../src/backends/contract';
import { AppError } from '../../src/errors';
import type { ChildPlace } from '../../src/sessions/ports';
import { userLabel } from '../../src/sessions/ids';
import { spawnWith } from '../../src/sessions/spawn';
import { cites } from '../requirements';
import { aRequest, RecordingObserver } from '../support/channel';
import { anAuth, aServer, refusal } from '../support/fake-sessions';
import { FakeClock, FakeLink, FakeSink } from '../support/fake-link';

describe('spawning over a backend', () => {
  const request = {
    session: 'a'.repeat(40),
    auth: anAuth(),
    server: aServer({ callTimeout: 5, startTimeout: 2, maxCallsInFlight: 1 }),
    generation: 3,
    placed: async (place: ChildPlace) => void places.push(place),
  };
  const places: ChildPlace[] = [];

  beforeEach(() => places.splice(0));

  function setUp(open?: Backend['open']) {
    const link = new FakeLink();
    const asked: { spec: BackendSpec; signal: AbortSignal }[] = [];
    const backend: Backend = {
      kind: 'fake',
      open:
        open ??
        (async (spec, signal) => {
          asked.push({ spec, signal });
          return link;
        }),
      removeOrphans: async () => 0,
      check: async () => undefined,
      stop: async () => undefined,
    };
    const clock = new FakeClock();
    const observer = new RecordingObserver();
    const started: string[] = [];
    const spawn = spawnWith({
      backend,
      clock,
      secrets: async ({ session }, { instance }) => ({ TOKEN: `${session}@${instance}` }),
      observer: () => observer,
      started: ({ session }, each) => started.push(`${session} ${String(each === link)}`),
    });
    return { link, asked, clock, observer, started, spawn };
  }

  it('asks for a child by the session’s name and an opaque user, and never by a login', async () => {
    const { asked, spawn, started, link } = setUp();
    const { signal } = new AbortController();
    const channel = await spawn(request, signal);
    expect(asked).to.have.length(1);
    expect(asked[0]?.spec).to.include({
      session: request.session,
      user: userLabel(request.auth.user),
      server: request.server,
    });
    expect(asked[0]?.signal).to.equal(signal);
    expect(JSON.stringify(asked[0]?.spec)).to.not.include(request.auth.user.login);
    expect(await asked[0]?.spec.secrets({ instance: 'pod-1' })).to.deep.equal({ TOKEN: `${request.session}@pod-1` });
    expect(places, 'told where it runs').to.deep.equal([{ instance: 'pod-1' }]);
    expect(started).to.deep.equal([`${request.session} true`]);
    link.exit({ reason: 'exited' });
    expect(await channel.ended).to.deep.include({ reason: 'exited' });
  });

  it('takes limits and times from the server, and the shorter time for initialize', async () => {
    cites('2025-03-26/lifecycle/18');
    const { spawn, clock, link, observer } = setUp();
    const channel = await spawn(request, new AbortController().signal);
    const sink = new FakeSink();
    const call = channel.call(aRequest(1), sink);
    expect(await refusal(channel.call(aRequest(2), sink))).to.include({ code: 'CALLS_TOO_MANY' });
    clock.advance(5_000);
    await call;
    const initialize = channel.call(aRequest(3, 'initialize'), sink);
    clock.advance(2_000);
    await initialize;
    expect(observer.calls.map(({ outcome }) => outcome)).to.deep.equal(['deadline', 'deadline']);
    link.exit({ reason: 'exited' });
  });

  it('passes on why a child did not start', async () => {
    const { spawn, started } = setUp(async () => {
      throw new AppError('BACKEND_UNSCHEDULABLE', 'no room');
    });
    expect(await refusal(spawn(request, new AbortController().signal))).to.include({ code: 'BACKEND_UNSCHEDULABLE' });
    expect(started).to.deep.equal([]);
  });
});

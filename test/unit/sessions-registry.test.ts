import { expect } from 'chai';
import type { AuthContext, Scope } from '../../src/auth/context';
import { AppError } from '../../src/errors';
import type { RegistryOptions } from '../../src/sessions/registry';
import { SessionIds } from '../../src/sessions/ids';
import { aRequest } from '../support/channel';
import { anAuth, aServer, refusal, SessionBench } from '../support/fake-sessions';
import { FakeSink, settle } from '../support/fake-link';

describe('registry', () => {
  let bench: SessionBench;
  const signal = new AbortController().signal;

  function setUp(over: Partial<RegistryOptions> = {}): void {
    bench = new SessionBench(over);
  }

  const open = (auth = anAuth(), server = aServer()) => bench.registry.open(auth, server, signal);
  const use = (id: string | undefined, auth = anAuth(), server = aServer()) => bench.registry.use(auth, server, id);

  beforeEach(() => setUp());

  afterEach(async () => {
    bench.store.broken = false;
    for (const { link, come } of bench.starts) {
      link.exitOnClose = true;
      come();
    }
    const stopped = bench.registry.stop(0);
    await settle();
    for (const { link } of bench.starts) link.exit({ reason: 'closed' });
    bench.clock.advance(60_000);
    await stopped;
    await settle();
    bench.clock.advance(3_600_000);
    await settle();
    expect(bench.registry.size, 'sessions left').to.equal(0);
    expect(bench.clock.timers, 'timers left').to.equal(0);
    expect(bench.log.last).to.satisfy((last: object) => Object.values(last).every((count) => count === 0));
  });

  describe('opening', () => {
    it('records, spawns, and gives an id that works from then on', async () => {
      const { id, name, link } = await bench.session();
      expect(id).to.match(/^[0-9a-f]{48}$/);
      expect(name).to.match(/^[0-9a-f]{40}$/);
      expect(bench.lastStart.request).to.deep.include({ session: name, auth: anAuth(), server: aServer() });
      expect(await bench.recordOf(id)).to.deep.equal({
        name,
        server: 'forgejo',
        userIssuer: 'https://forge.example',
        userId: '7',
        mode: 'oauth',
        grant: 'grant-7',
        client: 'client-1',
        scopes: ['forgejo:read'],
        state: 'active',
        generation: 1,
        remembered: {
          protocolVersion: '2025-11-25',
          initialize: { protocolVersion: '2025-11-25' },
          subscriptions: [],
        },
        createdAt: bench.clock.wall(),
      });
      const handle = await use(id);
      expect(handle.protocolVersion).to.equal('2025-11-25');
      expect([handle.id, handle.name]).to.deep.equal([id, name]);
      const sink = new FakeSink();
      const call = handle.call(aRequest(1), sink);
      link.reply(link.last, 'ok');
      await call;
      handle.release();
      expect(sink.last.result).to.equal('ok');
      expect(bench.log.last).to.deep.equal({ starting: 0, active: 1, hibernated: 0, ending: 0 });
      expect(bench.log.openedNames).to.deep.equal([name]);
    });

    it('keeps neither id nor token in the record', async () => {
      const { id } = await bench.session();
      expect(JSON.stringify(await bench.recordOf(id))).to.not.include(id);
    });

    it('records before it spawns', async () => {
      let record: () => void = () => undefined;
      bench.store.gate = new Promise((resolve) => (record = resolve));
      const opening = open();
      await settle();
      expect(bench.starts).to.have.length(0);
      record();
      (await opening).release();
    });

    it('without an authentication context is refused with 500 AUTH_CONTEXT_ABSENT and starts nothing', async () => {
      const error = await refusal(bench.registry.open(undefined, aServer(), signal));
      expect(error).to.include({ code: 'AUTH_CONTEXT_ABSENT', status: 500 });
      expect(bench.starts).to.have.length(0);
      expect(bench.store.calls).to.equal(0);
    });

    it('is refused with 503 when the store cannot record, starts nothing and gives the place back', async () => {
      setUp({ maxTotal: 1 });
      bench.store.broken = true;
      expect(await refusal(open())).to.include({ code: 'STORE_UNAVAILABLE', status: 503 });
      expect(bench.starts).to.have.length(0);
      bench.store.broken = false;
      (await open()).release();
    });

    it('is refused with 503 when the store does not answer in time', async () => {
      bench.store.gate = new Promise(() => undefined);
      const opening = refusal(open());
      await settle();
      bench.clock.advance(10_000);
      expect(await opening).to.include({ code: 'STORE_UNAVAILABLE', retryAfter: 5 });
      bench.store.gate = undefined;
    });

    it('passes on why the child did not start, records that, and gives the place back', async () => {
      setUp({ maxTotal: 1 });
      bench.autoStart = false;
      const opening = refusal(open());
      await settle();
      bench.lastStart.fail(new AppError('BACKEND_IMAGE', 'no such image'));
      expect(await opening).to.include({ code: 'BACKEND_IMAGE', status: 502 });
      expect(await bench.store.inner.get(bench.lastStart.request.session)).to.include({ endReason: 'start-failed' });
      expect(bench.log.refusals).to.deep.equal(['BACKEND_IMAGE']);
      expect(bench.registry.size).to.equal(0);
      bench.autoStart = true;
      await bench.session();
    });

    it('gives up a start when the opener goes away, and ends a child that comes up all the same', async () => {
      setUp({ maxTotal: 1 });
      bench.autoStart = false;
      const opener = new AbortController();
      const opening = bench.registry.open(anAuth(), aServer(), opener.signal).catch((thrown: unknown) => thrown);
      await settle();
      const gone = new Error('the client went away');
      opener.abort(gone);
      expect(await opening).to.equal(gone);
      expect(bench.lastStart.signal.reason).to.equal(gone);
      expect(await refusal(open()), 'the child may still be on its way').to.include({ code: 'SESSION_CAP_INSTALL' });
      bench.lastStart.come();
      await settle();
      expect(bench.running).to.equal(0);
      expect(bench.registry.size).to.equal(0);
      bench.autoStart = true;
      await bench.session();
    });

    it('starts nothing for an opener that went away before or while the session was recorded', async () => {
      const gone = AbortSignal.abort(new Error('gone'));
      expect(await bench.registry.open(anAuth(), aServer(), gone).catch((e: Error) => e.message)).to.equal('gone');
      let record: () => void = () => undefined;
      bench.store.gate = new Promise((resolve) => (record = resolve));
      const opener = new AbortController();
      const opening = bench.registry.open(anAuth(), aServer(), opener.signal).catch((e: Error) => e.message);
      opener.abort(new Error('gone too'));
      record();
      expect(await opening).to.equal('gone too');
      expect(bench.starts).to.have.length(0);
    });

    it('ends a child that came up in the very moment in which its opener went away', async () => {
      bench.autoStart = false;
      const opener = new AbortController();
      const opening = bench.registry.open(anAuth(), aServer(), opener.signal).catch((e: Error) => e.message);
      await settle();
      bench.lastStart.come();
      opener.abort(new Error('gone'));
      expect(await opening).to.equal('gone');
      await settle();
      expect(bench.running).to.equal(0);
    });

    it('ends a child that came up between two turns of which one was the opener going away', async () => {
      bench.autoStart = false;
      const opener = new AbortController();
      const opening = bench.registry.open(anAuth(), aServer(), opener.signal).catch((e: Error) => e.message);
      await settle();
      bench.lastStart.come();
      queueMicrotask(() => opener.abort(new Error('gone')));
      expect(await opening).to.equal('gone');
      await settle();
      expect(bench.running).to.equal(0);
    });

    it('answers 503 BACKEND_START_DEADLINE for a driver that forgets its own deadline', async () => {
      bench.autoStart = false;
      const opening = refusal(open());
      await settle();
      bench.clock.advance(125_000);
      expect(await opening).to.include({ code: 'BACKEND_START_DEADLINE', status: 503, retryAfter: 10 });
      bench.lastStart.fail(new Error('late'));
    });
  });

  describe('a session whose initialize comes to nothing', () => {
    it('ends when the child answers it with an error', async () => {
      bench.autoInitialize = false;
      const handle = await open();
      const sink = new FakeSink();
      const done = bench.initialize(handle, sink);
      const { link } = bench.lastStart;
      link.say({ jsonrpc: '2.0', id: link.last.id, error: { code: -32602, message: 'no' } });
      await done;
      expect(sink.last.error).to.deep.equal({ code: -32602, message: 'no' });
      expect(await bench.recordOf(handle.id)).to.include({ endReason: 'initialize-failed' });
      expect(await refusal(use(handle.id))).to.include({ code: 'SESSION_ENDED' });
    });

    it('ends when its opener lets go without it', async () => {
      const handle = await open();
      handle.release();
      handle.release();
      expect(await bench.recordOf(handle.id)).to.include({ endReason: 'initialize-failed' });
      expect(bench.running).to.equal(0);
    });

    it('ends at once when its opener goes away meanwhile', async () => {
      bench.autoInitialize = false;
      const opener = new AbortController();
      const handle = await bench.registry.open(anAuth(), aServer(), opener.signal);
      const done = bench.initialize(handle);
      opener.abort(new Error('gone'));
      await done;
      expect(bench.running).to.equal(0);
      expect(await bench.recordOf(handle.id)).to.include({ endReason: 'initialize-failed' });
    });

    it('ends when the answer could not be delivered, because then nobody knows its id', async () => {
      const handle = await open();
      const sink = new FakeSink('post-1');
      sink.gone = true;
      await bench.initialize(handle, sink);
      expect(bench.lastStart.link.sent[0]?.id).to.match(/^ipost-1\./);
      expect(await bench.recordOf(handle.id)).to.include({ endReason: 'initialize-failed' });
    });

    it('lives on when its opener goes away after the answer', async () => {
      const opener = new AbortController();
      const handle = await bench.registry.open(anAuth(), aServer(), opener.signal);
      await bench.initialize(handle);
      opener.abort();
      (await use(handle.id)).release();
    });
  });

  describe('finding', () => {
    it('without an authentication context answers 500, whatever the id', async () => {
      const { id } = await bench.session();
      for (const each of [id, undefined, 'x']) {
        expect(await refusal(bench.registry.use(undefined, aServer(), each))).to.include({
          code: 'AUTH_CONTEXT_ABSENT',
        });
        expect(await refusal(bench.registry.listen(undefined, aServer(), each, new FakeSink()))).to.include({
          status: 500,
        });
        expect(await refusal(bench.registry.end(undefined, aServer(), each))).to.include({ status: 500 });
      }
      expect(bench.running).to.equal(1);
    });

    it('answers 400 where the id is missing', async () => {
      for (const id of [undefined, ''])
        expect(await refusal(use(id))).to.include({ code: 'SESSION_ID_MISSING', status: 400 });
    });

    it('answers 410 for an id that was never minted here, without asking the store', async () => {
      const foreign = new SessionIds([Buffer.alloc(32, 9)]).mint();
      for (const id of ['x', '0'.repeat(48), foreign, '../../etc', 'ü'.repeat(9999)]) {
        expect(await refusal(use(id))).to.include({ code: 'SESSION_UNKNOWN', status: 410, rpc: -32001 });
      }
      expect(bench.store.calls).to.equal(0);
    });

    it('answers 404 for a session that has ended, and for one that is recorded nowhere', async () => {
      const { id } = await bench.session();
      await bench.registry.end(anAuth(), aServer(), id);
      for (const each of [id, bench.ids.mint()]) {
        const error = await refusal(use(each));
        expect(error).to.include({ code: 'SESSION_ENDED', status: 404, rpc: -32001, message: 'Session not found' });
      }
    });

    it('answers 404 for a session of an earlier run', async () => {
      const id = bench.ids.mint();
      const { name } = await bench.session();
      const record = await bench.store.inner.get(name);
      await bench.store.inner.insert({ ...(record as NonNullable<typeof record>), name: 'f'.repeat(40) });
      await bench.store.upkeep.recover(1, 2);
      expect(await refusal(use(id))).to.include({ status: 404 });
    });

    it('answers 503 and never 404 when the store cannot tell', async () => {
      bench.store.broken = true;
      const id = bench.ids.mint();
      expect(await refusal(use(id))).to.include({ code: 'STORE_UNAVAILABLE', status: 503 });
      bench.store.broken = false;
      bench.store.gate = new Promise(() => undefined);
      const waiting = refusal(use(id));
      await settle();
      bench.clock.advance(10_000);
      expect(await waiting).to.include({ code: 'STORE_UNAVAILABLE', status: 503 });
      bench.store.gate = undefined;
    });

    it('serves a live session while the store is away', async () => {
      const { id } = await bench.session();
      bench.store.broken = true;
      (await use(id)).release();
    });

    it('answers 403 to another user, and 404 once the session has ended', async () => {
      const { id } = await bench.session();
      expect(await refusal(use(id, anAuth('8')))).to.include({ code: 'SESSION_FORBIDDEN', status: 403 });
      expect(await refusal(bench.registry.end(anAuth('8'), aServer(), id))).to.include({ status: 403 });
      expect(await refusal(bench.registry.listen(anAuth('8'), aServer(), id, new FakeSink()))).to.include({
        status: 403,
      });
      expect(bench.running).to.equal(1);
      await bench.registry.end(anAuth(), aServer(), id);
      expect(await refusal(use(id, anAuth('8')))).to.include({ status: 404 });
    });

    it('answers 403 to another bearer token of the same user', async () => {
      const token = (grant: string) => anAuth('7', { mode: 'bearer', client: 'bearer', grant });
      const { id } = await bench.session(token('one'));
      (await use(id, token('one'))).release();
      expect(await refusal(use(id, token('two')))).to.include({ status: 403 });
    });

    it('answers 404 through another server, and to another client of the same user', async () => {
      const { id } = await bench.session();
      expect(await refusal(use(id, anAuth(), aServer({ name: 'other' })))).to.include({ status: 404 });
      expect(await refusal(use(id, anAuth('7', { grant: 'new', client: 'client-2' })))).to.include({ status: 404 });
      (await use(id)).release();
    });

    it('lets a new login of the same user and client adopt the session, and records it', async () => {
      const { id } = await bench.session();
      const later = anAuth('7', { grant: 'later', scopes: new Set(['forgejo:read', 'forgejo:write']) });
      const handle = await use(id, later);
      handle.release();
      expect(await bench.recordOf(id)).to.include({ grant: 'later' });
      expect(bench.registry.live(handle.name)?.auth).to.equal(later);
      expect(await refusal(use(id, anAuth('7', { client: 'client-2' })))).to.include({ status: 404 });
    });

    describe('with scopes', () => {
      const read = new Set<Scope>(['forgejo:read']);
      const both = new Set<Scope>(['forgejo:read', 'forgejo:write']);
      const token = (scopes: ReadonlySet<Scope>, granted: ReadonlySet<Scope>, over: Partial<AuthContext> = {}) =>
        anAuth('7', { scopes, granted, ...over });
      const choice = { owners: ['alice'], repositories: ['alice/notes'] };
      const authOf = (name: string) => bench.registry.live(name)?.auth;

      it('answers 403 AUTH_SCOPE to a token that is narrower than the session, for every method, and lets the session be', async () => {
        const { id, name } = await bench.session(token(both, both));
        const narrow = token(read, both);
        expect(await refusal(use(id, narrow))).to.include({ status: 403, code: 'AUTH_SCOPE' });
        expect(await refusal(bench.registry.listen(narrow, aServer(), id, new FakeSink()))).to.include({ status: 403 });
        expect(await refusal(bench.registry.end(narrow, aServer(), id))).to.include({ status: 403 });
        expect(authOf(name)?.scopes).to.equal(both);
        (await use(id, token(both, both))).release();
      });

      it('takes the wider scopes and the newer choice of a refreshed token from then on', async () => {
        const { id, name } = await bench.session(token(read, read));
        (await use(id, token(read, both))).release();
        expect(authOf(name)?.scopes, 'the token is of before').to.equal(read);
        (await use(id, token(both, both, { choice }))).release();
        expect(authOf(name)).to.deep.include({ scopes: both, choice });
        expect(await refusal(use(id, token(read, both)))).to.include({ status: 403, code: 'AUTH_SCOPE' });
      });

      it('narrows with its grant without a refusal, and widens again with it', async () => {
        const { id, name } = await bench.session(token(both, both));
        (await use(id, token(read, read, { choice }))).release();
        expect(authOf(name)).to.deep.include({ scopes: read, choice });
        (await use(id, token(both, both))).release();
        expect(authOf(name)?.scopes).to.equal(both);
        expect(authOf(name)).not.to.have.property('choice');
      });

      it('is as wide as the later login that adopts it, and adopts none that is narrower than its own grant', async () => {
        const { id, name } = await bench.session(token(both, both));
        const partial = token(read, both, { grant: 'later' });
        expect(await refusal(use(id, partial))).to.include({ status: 403, code: 'AUTH_SCOPE' });
        expect(authOf(name)?.grant).to.equal('grant-7');
        (await use(id, token(read, read, { grant: 'later' }))).release();
        expect(authOf(name)).to.deep.include({ grant: 'later', scopes: read });
        expect(await bench.recordOf(id)).to.include({ grant: 'later' });
      });

      it('tells another user and another client nothing of it: 403 and 404 come first', async () => {
        const { id } = await bench.session(token(both, both));
        const other = anAuth('8', { scopes: read, granted: both });
        expect(await refusal(use(id, other))).to.include({ code: 'SESSION_FORBIDDEN' });
        const client = token(read, both, { grant: 'x', client: 'client-2' });
        expect(await refusal(use(id, client))).to.include({ code: 'SESSION_ENDED' });
      });

      it('is decided for each of a hundred requests at once, and stays as wide as the widest', async () => {
        const { id, name } = await bench.session(token(read, read));
        const results = await Promise.allSettled(
          Array.from({ length: 100 }, (_, at) => use(id, at < 50 ? token(read, both) : token(both, both))),
        );
        const wide = await Promise.allSettled(
          Array.from({ length: 100 }, (_, at) => use(id, at % 2 === 0 ? token(read, both) : token(both, both))),
        );
        expect(results.every(({ status }) => status === 'fulfilled')).to.equal(true);
        expect(wide.map(({ status }) => status)).to.deep.equal(
          Array.from({ length: 100 }, (_, at) => (at % 2 === 0 ? 'rejected' : 'fulfilled')),
        );
        expect(authOf(name)?.scopes).to.deep.equal(both);
        for (const result of [...results, ...wide]) if (result.status === 'fulfilled') result.value.release();
      });

      it('is adopted once by a hundred requests of a later login at once', async () => {
        const { id, name } = await bench.session(token(both, both));
        const before = bench.store.calls;
        const later = token(both, both, { grant: 'later' });
        for (const handle of await Promise.all(Array.from({ length: 100 }, () => use(id, later)))) handle.release();
        await settle();
        expect(bench.store.calls - before, 'writes').to.equal(1);
        expect(authOf(name)).to.equal(later);
      });
    });

    it('answers 403 to a new login where binding is strict', async () => {
      setUp({ binding: 'strict' });
      const { id } = await bench.session();
      expect(await refusal(use(id, anAuth('7', { grant: 'later' })))).to.include({ status: 403 });
    });
  });

  describe('ending', () => {
    it('by DELETE resolves when the child is gone, and the session is nobody’s from the first moment', async () => {
      const { id, name, link } = await bench.session();
      link.exitOnClose = false;
      let over = false;
      const ending = bench.registry.end(anAuth(), aServer(), id).then(() => (over = true));
      await settle();
      expect(over).to.equal(false);
      expect(bench.registry.live(name)).to.equal(undefined);
      expect(bench.log.last).to.deep.equal({ starting: 0, active: 0, hibernated: 0, ending: 1 });
      expect(await refusal(use(id))).to.include({ status: 404 });
      link.exit({ reason: 'closed' });
      await ending;
      expect(await bench.recordOf(id)).to.include({ endReason: 'deleted', endedAt: bench.clock.wall() });
      expect(bench.log.ends).to.deep.equal(['deleted']);
    });

    for (const [exit, reason] of [
      [{ reason: 'exited', code: 0 }, 'exited'],
      [{ reason: 'oom' }, 'oom'],
      [{ reason: 'killed', signal: 'SIGKILL' }, 'killed'],
      [{ reason: 'deleted' }, 'lost'],
      [{ reason: 'lost' }, 'lost'],
      [{ reason: 'closed' }, 'lost'],
    ] as const) {
      it(`by the child (${exit.reason}) of one that cannot sleep reaps the entry, answers the call in flight and records ${reason}`, async () => {
        const server = aServer({ stateful: true });
        const { id, link } = await bench.session(anAuth(), server);
        const handle = await bench.registry.use(anAuth(), server, id);
        const sink = new FakeSink();
        const call = handle.call(aRequest(1), sink);
        link.exit(exit);
        await call;
        handle.release();
        expect(sink.last.error.data).to.deep.equal({ code: 'BACKEND_ENDED', reason: exit.reason });
        expect(await bench.recordOf(id)).to.include({ endReason: reason });
        expect(bench.registry.size).to.equal(0);
        expect(await refusal(use(id))).to.include({ status: 404 });
      });
    }

    it('before the news of it reached the registry is a 404 as well, so that the client starts again', async () => {
      const { id, link } = await bench.session();
      const handle = await use(id);
      link.exit({ reason: 'exited' });
      await link.exited;
      expect(await refusal(handle.call(aRequest(1), new FakeSink()))).to.include({ code: 'SESSION_ENDED' });
      expect(await refusal(handle.notify({ jsonrpc: '2.0', method: 'x' }))).to.include({ code: 'SESSION_ENDED' });
      expect(await refusal(handle.answer({ jsonrpc: '2.0', id: 1, result: {} }))).to.include({ code: 'SESSION_ENDED' });
      handle.release();
    });

    it('passes every other refusal of the channel on as it is', async () => {
      const { id } = await bench.session(anAuth(), aServer({ maxCallsInFlight: 1 }));
      const handle = await use(id);
      const first = handle.call(aRequest(1), new FakeSink());
      expect(await refusal(handle.call(aRequest(2), new FakeSink()))).to.include({ code: 'CALLS_TOO_MANY' });
      bench.lastStart.link.exit({ reason: 'exited' });
      await first;
      handle.release();
    });

    it('gives a child up that does not end, and its place back', async () => {
      setUp({ maxTotal: 1 });
      const { id, link } = await bench.session();
      link.exitOnClose = false;
      const ending = bench.registry.end(anAuth(), aServer(), id);
      await settle();
      bench.clock.advance(20_000);
      await ending;
      await bench.session();
    });

    it('by revoking a grant ends its sessions and starts, and no others', async () => {
      const [mine, other] = [await bench.session(), await bench.session(anAuth('8'))];
      bench.autoStart = false;
      const opening = refusal(open());
      await settle();
      const start = bench.lastStart;
      start.signal.addEventListener('abort', () => start.fail(new Error('aborted')));
      await bench.registry.endGrant('grant-7');
      expect(await opening).to.include({ code: 'SESSION_ENDED' });
      expect(await bench.recordOf(mine.id)).to.include({ endReason: 'revoked' });
      (await use(other.id, anAuth('8'))).release();
    });

    it('by its user resolves when the child is gone, with false where there is none', async () => {
      const { id, name, link } = await bench.session();
      link.exitOnClose = false;
      let gone = false;
      const all = Promise.all(Array.from({ length: 20 }, () => bench.registry.endNamed(name, 'user')));
      void all.then(() => (gone = true));
      await settle();
      expect(gone).to.equal(false);
      expect(await refusal(use(id))).to.include({ status: 404 });
      link.exit({ reason: 'closed' });
      expect(await all).to.deep.equal(Array.from({ length: 20 }, () => true));
      expect(await bench.recordOf(id)).to.include({ endReason: 'user' });
      expect(await bench.registry.endNamed(name, 'user')).to.equal(false);
    });

    it('of a start by its user gives the start up', async () => {
      bench.autoStart = false;
      const opening = refusal(open());
      await settle();
      const start = bench.lastStart;
      start.signal.addEventListener('abort', () => start.fail(new Error('aborted')));
      expect(await bench.registry.endNamed(start.request.session, 'user')).to.equal(true);
      expect(await opening).to.include({ code: 'SESSION_ENDED' });
    });

    for (const [reason, code, end] of [
      ['user', 'SESSION_ENDED', () => bench.registry.endNamed(bench.lastStart.request.session, 'user')],
      ['revoked', 'SESSION_ENDED', () => bench.registry.endGrant('grant-7')],
      ['stopped', 'DRAINING', () => bench.registry.stop(0)],
    ] as const) {
      it(`of a start is recorded as "${reason}", whether its child comes up or fails`, async () => {
        for (const outcome of ['come', 'fail'] as const) {
          setUp();
          bench.autoStart = false;
          const opening = refusal(open());
          await settle();
          const { request, come, fail } = bench.lastStart;
          const ended = end();
          expect(bench.registry.live(request.session), 'from the moment its end begins').to.equal(undefined);
          expect(bench.registry.sessionsOf(anAuth().user)).to.deep.equal([]);
          expect(await opening).to.include({ code });
          bench.clock.advance(1_000);
          if (outcome === 'come') come();
          else fail(new AppError('BACKEND_CRASHED', 'it crashed'));
          await ended;
          const record = await bench.store.inner.get(request.session);
          expect(record).to.include({ endReason: reason, endedAt: bench.clock.wall() - 1_000 });
          expect(bench.running).to.equal(0);
        }
      });

      it(`of a start that is being recorded is recorded as "${reason}", and nothing is started`, async () => {
        let write: () => void = () => undefined;
        bench.store.gate = new Promise((resolve) => (write = resolve));
        const opening = refusal(open());
        const [starting] = bench.registry.sessionsOf(anAuth().user);
        const name = starting?.record.name ?? '';
        const ended = reason === 'user' ? bench.registry.endNamed(name, 'user') : end();
        write();
        expect(await opening).to.include({ code });
        await ended;
        await settle();
        expect(await bench.store.inner.get(name)).to.include({ endReason: reason });
        expect(bench.starts).to.have.length(0);
      });

      it(`of a start is recorded as "${reason}" in each turn in which its child may come up, and leaves none`, async () => {
        for (let turns = 0; turns < 12; turns += 1) {
          setUp();
          bench.autoStart = false;
          const opening = open()
            .then((handle) => bench.initialize(handle))
            .catch(() => undefined);
          await settle();
          const { request, come } = bench.lastStart;
          come();
          for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
          await end();
          await opening;
          await settle();
          expect(bench.running, `children after ${turns} turns`).to.equal(0);
          const { state, endReason } = (await bench.store.inner.get(request.session)) ?? {};
          // Once it runs, a stop lets its opener go first, and what its opener knows of sleeps.
          const reasons = reason === 'stopped' ? [reason, 'initialize-failed', 'hibernated'] : [reason];
          expect(endReason ?? state, `after ${turns} turns`).to.be.oneOf(reasons);
        }
      });
    }

    it('of many starts in the same moment is recorded for each with its own reason', async () => {
      bench.autoStart = false;
      const openings = Array.from({ length: 60 }, (_, i) => refusal(open(anAuth(String(i)))));
      await settle();
      const ends = bench.starts.map(({ request, come, fail, signal: given }, i) => {
        given.addEventListener('abort', () => (i % 2 === 0 ? come() : fail(new Error('aborted'))));
        if (i % 3 === 0) return bench.registry.endNamed(request.session, 'user');
        if (i % 3 === 1) return bench.registry.endGrant(`grant-${i}`);
        return fail(new AppError('BACKEND_IMAGE', 'no such image'));
      });
      await Promise.all([...openings, ...ends]);
      await settle();
      const reasons = await Promise.all(bench.starts.map(({ request }) => bench.store.inner.get(request.session)));
      expect(reasons.map((record) => record?.endReason)).to.deep.equal(
        Array.from({ length: 60 }, (_, i) => ['user', 'revoked', 'start-failed'][i % 3]),
      );
    });

    it('of a start whose opener had gone away stays "start-failed"', async () => {
      bench.autoStart = false;
      const opener = new AbortController();
      const opening = bench.registry.open(anAuth(), aServer(), opener.signal).catch((e: Error) => e.message);
      await settle();
      const { request, come } = bench.lastStart;
      opener.abort(new Error('gone'));
      const ended = bench.registry.endNamed(request.session, 'user');
      come();
      expect(await opening).to.equal('gone');
      expect(await ended).to.equal(true);
      await settle();
      expect(await bench.store.inner.get(request.session)).to.include({ endReason: 'start-failed' });
    });

    it('of all of a user’s sessions leaves those of others, at the same forge or another', async () => {
      const mine = [await bench.session(), await bench.session(anAuth('7', { grant: 'second', client: 'client-2' }))];
      const namesake = anAuth('7', { user: { issuer: 'https://other.example', id: '7', login: 'x' } });
      const others = [await bench.session(anAuth('8')), await bench.session(namesake)];
      await bench.registry.endUser({ issuer: 'https://forge.example', id: '7' }, 'revoked');
      for (const { id } of mine) expect(await bench.recordOf(id)).to.include({ endReason: 'revoked' });
      for (const { name } of others) expect(bench.registry.live(name)?.record.name).to.equal(name);
      expect(bench.registry.size).to.equal(2);
    });

    it('is recorded as soon as the store can, with the reason and time of then', async () => {
      const { id, link } = await bench.session();
      bench.store.broken = true;
      const at = bench.clock.wall();
      link.exit({ reason: 'oom' });
      await settle();
      for (const pause of [500, 1_000, 2_000]) {
        bench.clock.advance(pause);
        await settle();
      }
      expect(await bench.recordOf(id)).to.not.have.property('endReason');
      bench.store.broken = false;
      bench.clock.advance(4_000);
      expect(await bench.recordOf(id)).to.include({ endReason: 'oom', endedAt: at });
    });

    it('is recorded although the grant was just being recorded', async () => {
      const { id } = await bench.session();
      let write: () => void = () => undefined;
      bench.store.gate = new Promise((resolve) => (write = resolve));
      const later = anAuth('7', { grant: 'later' });
      (await use(id, later)).release();
      const ending = bench.registry.end(later, aServer(), id);
      await settle();
      write();
      bench.store.gate = undefined;
      await ending;
      expect(await bench.recordOf(id)).to.include({ grant: 'later', endReason: 'deleted' });
    });

    it('leaves an adopted session’s end as the last word', async () => {
      const { id } = await bench.session();
      bench.store.broken = true;
      (await use(id, anAuth('7', { grant: 'later' }))).release();
      await bench.registry.end(anAuth('7', { grant: 'later' }), aServer(), id);
      await settle();
      bench.store.broken = false;
      bench.clock.advance(30_000);
      expect(await bench.recordOf(id)).to.include({ endReason: 'deleted' });
    });
  });

  describe('GET streams', () => {
    const listen = (id: string, sink = new FakeSink()) => bench.registry.listen(anAuth(), aServer(), id, sink);
    const changed = { jsonrpc: '2.0', method: 'notifications/tools/list_changed' };

    it('carry what belongs to no call, until they stop', async () => {
      const { id, link } = await bench.session();
      const sink = new FakeSink();
      const stream = await listen(id, sink);
      link.say(changed);
      stream.stop();
      link.say(changed);
      expect(sink.messages).to.deep.equal([changed]);
    });

    it('end with their session, and say why', async () => {
      const { id, link } = await bench.session();
      const [a, b] = [await listen(id), await listen(id)];
      link.exit({ reason: 'oom' });
      expect([await a.ended, await b.ended]).to.deep.equal(['oom', 'oom']);
    });

    it('beyond the bound supersede the oldest', async () => {
      setUp({ maxStreams: 2 });
      const { id, link } = await bench.session();
      const sinks = [new FakeSink(), new FakeSink(), new FakeSink()];
      const streams = [];
      for (const sink of sinks) streams.push(await listen(id, sink));
      expect(await streams[0]?.ended).to.equal('superseded');
      streams[2]?.stop();
      link.say(changed);
      expect(sinks.map(({ messages }) => messages.length)).to.deep.equal([0, 1, 0]);
    });

    it('are no activity', async () => {
      const server = aServer({ stateful: true });
      const { id } = await bench.session(anAuth(), server);
      const stream = await bench.registry.listen(anAuth(), server, id, new FakeSink());
      bench.clock.advance(300_000);
      expect(await stream.ended).to.equal('idle');
    });
  });

  it('lists a user’s sessions that start or run, oldest first, and the grants of all', async () => {
    const user = { issuer: 'https://forge.example', id: '7' };
    const names = (): string[] => bench.registry.sessionsOf(user).map(({ record }) => record.name);
    expect(names()).to.deep.equal([]);
    expect(bench.registry.grants()).to.deep.equal([]);
    const first = await bench.session();
    bench.clock.advance(1_000);
    await bench.session(anAuth('8'));
    const second = await bench.session();
    bench.autoStart = false;
    const opening = open(anAuth('7', { grant: 'third' }));
    await settle();
    const starting = bench.lastStart.request.session;
    expect(names()).to.deep.equal([first.name, second.name, starting]);
    expect(bench.registry.sessionsOf(user).map(({ record }) => record.createdAt - bench.clock.wall())).to.deep.equal([
      -1_000, 0, 0,
    ]);
    expect(bench.registry.grants()).to.deep.equal(['grant-7', 'grant-8', 'third']);
    first.link.exitOnClose = false;
    const ending = bench.registry.endNamed(first.name, 'user');
    expect(names(), 'from the moment its end begins').to.deep.equal([second.name, starting]);
    first.link.exit({ reason: 'closed' });
    await ending;
    bench.lastStart.come();
    (await opening).release();
  });

  it('opens none of a server that is paused: 503 SERVER_PAUSED; those that are open go on', async () => {
    const { id } = await bench.session();
    const paused = aServer({ paused: true });
    expect(await refusal(open(anAuth(), paused))).to.include({ code: 'SERVER_PAUSED', status: 503, retryAfter: 60 });
    expect(bench.starts).to.have.length(1);
    expect(bench.log.refusals).to.deep.equal(['SERVER_PAUSED']);
    (await use(id, anAuth(), paused)).release();
    expect(bench.registry.size).to.equal(1);
  });

  it('knows a session by name while it starts and runs, for the credential proxy', async () => {
    bench.autoStart = false;
    const opening = open();
    await settle();
    const { session: name } = bench.lastStart.request;
    expect(bench.registry.live(name)).to.deep.include({ auth: anAuth(), server: aServer() });
    bench.lastStart.come();
    const handle = await opening;
    expect(bench.registry.live(name)?.record).to.deep.include({ name, userId: '7' });
    await bench.initialize(handle);
    await bench.registry.end(anAuth(), aServer(), handle.id);
    expect(bench.registry.live(name)).to.equal(undefined);
    expect(bench.registry.live('f'.repeat(40))).to.equal(undefined);
  });
});

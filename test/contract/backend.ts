/** What every driver must do, whatever runs the child. The child is `fixture-child`, or something that acts like it. */
import { createHash, randomBytes } from 'node:crypto';
import { expect } from 'chai';
import type { Backend, BackendLink, BackendSpec } from '../../src/backends/contract';
import type { ServerSpec } from '../../src/config/server';
import { AppError } from '../../src/errors';
import { LinkClient } from '../support/link-client';
import type { SpecChanges } from '../support/server-spec';
import { until } from '../support/until';

export interface BackendHarness {
  /** A driver of its own, as a gateway that has just started has one. The suite stops it. */
  backend(): Backend;
  /** A server whose child is the fixture. */
  server(changes?: SpecChanges): ServerSpec;
  /** What of the suite's children is still there: process ids, pods. */
  leftovers(): Promise<readonly string[]>;
  /** Leaves a child behind as a gateway that was killed does. Absent where nothing can outlive the driver. */
  abandon?(): Promise<void>;
  /** Sessions to open side by side. */
  readonly many: number;
}

const MIB = 1024 * 1024;

export function sessionName(): string {
  return randomBytes(20).toString('hex');
}

/** A spec without secrets of its own. */
export function specOf(server: ServerSpec, changes: Partial<BackendSpec> = {}): BackendSpec {
  return { session: sessionName(), user: 'u1', server, secrets: async () => ({}), ...changes };
}

export const never = (): AbortSignal => new AbortController().signal;

/** The AppError with which something rejects. */
export async function refusal(work: Promise<unknown>): Promise<AppError> {
  try {
    await work;
  } catch (thrown) {
    expect(thrown).to.be.instanceOf(AppError);
    return thrown as AppError;
  }
  throw new Error('did not reject');
}

/** `timeout`: milliseconds for one test. */
export function backendContract(name: string, make: () => Promise<BackendHarness>, timeout = 30_000): void {
  describe(`backend contract: ${name}`, function () {
    this.timeout(timeout);
    let harness: BackendHarness;
    const backends: Backend[] = [];

    const fresh = (): Backend => {
      const backend = harness.backend();
      backends.push(backend);
      return backend;
    };
    const open = (changes: SpecChanges = {}): Promise<BackendLink> =>
      fresh().open(specOf(harness.server(changes)), never());
    const nothingLeft = (): Promise<true> =>
      until('nothing is left', async () => ((await harness.leftovers()).length === 0 ? (true as const) : false));

    before(async () => {
      harness = await make();
    });
    afterEach(async () => {
      await Promise.all(backends.splice(0).map((backend) => backend.stop()));
      await nothingLeft();
    });

    describe('bytes', () => {
      it('carries calls and their answers', async () => {
        const client = new LinkClient(await open());
        expect(await client.text('echo', { text: 'hello' })).to.equal('hello');
      });

      it('hands over what the child wrote before anybody listened', async () => {
        const link = await open({ env: { FIXTURE_START: 'noise' } });
        await link.write(Buffer.from('{"jsonrpc":"2.0","id":1,"method":"ping"}\n'));
        const client = new LinkClient(link);
        await client.answer(1);
        expect(client.noise[0]).to.equal('fixture-child is starting');
      });

      it('keeps the order of everything that the child writes', async () => {
        const client = new LinkClient(await open());
        const sum = createHash('sha256');
        client.onNotification = (line) => sum.update(line.params.data as string);
        const told = JSON.parse(await client.text('big', { messages: 500, bytes: 9_999 })) as { sha256: string };
        expect(sum.digest('hex')).to.equal(told.sha256);
      });

      it('writes whole and in order, small beside huge', async () => {
        const client = new LinkClient(await open());
        const texts = Array.from({ length: 40 }, (_, index) =>
          String.fromCharCode(97 + (index % 26)).repeat(index % 10 === 0 ? 700_000 : index * 3 + 1),
        );
        const answers = await Promise.all(texts.map((text) => client.text('echo', { text })));
        expect(answers.map((text) => text.length)).to.deep.equal(texts.map((text) => text.length));
        expect(answers).to.deep.equal(texts);
      });

      it('keeps every byte value', async () => {
        const client = new LinkClient(await open());
        const text = '\u00a0\u2028\u2029👩‍👩‍👧‍👦\u0000\u001b';
        expect(await client.text('echo', { text })).to.equal(text);
      });

      it('keeps stderr apart from stdout', async () => {
        const client = new LinkClient(await open());
        await client.text('stderr', { text: 'a diagnosis\n', times: 1 });
        await client.stderrHolds('a diagnosis');
        expect(client.noise).to.be.empty;
      });
    });

    describe('back-pressure', () => {
      it('holds 100 MiB back in bounded memory while paused, and loses nothing', async () => {
        const client = new LinkClient(await open());
        const sum = createHash('sha256');
        let first = true;
        client.onNotification = (line) => {
          if (first) client.link.pause();
          first = false;
          sum.update(line.params.data as string);
        };
        const id = await client.send('big', { messages: 100, bytes: MIB });
        await until('the first message', async () => !first);
        const before = process.memoryUsage().rss;
        await quiet(() => client.received);
        const atRest = client.received;
        expect(process.memoryUsage().rss - before).to.be.below(64 * MIB);
        expect(atRest).to.be.below(32 * MIB);
        client.link.resume();
        const told = (await client.answer(id, 120_000)).result.content[0].text as string;
        expect(sum.digest('hex')).to.equal((JSON.parse(told) as { sha256: string }).sha256);
        expect(client.received).to.be.above(100 * MIB);
      });

      it('makes a writer wait for a child that does not read', async () => {
        const link = await open({ env: { FIXTURE_START: 'hang' }, stopGrace: 0.5 });
        const block = Buffer.alloc(64 * 1024, 'x');
        let accepted = 0;
        let last: Promise<void> | undefined;
        while (accepted < 64 * MIB) {
          last = link.write(block);
          last.catch(() => undefined);
          const taken = await Promise.race([
            last.then(() => true),
            new Promise<false>((resolve) => setTimeout(resolve, 1000, false)),
          ]);
          if (!taken) break;
          accepted += block.length;
        }
        expect(accepted).to.be.below(8 * MIB);
        await link.close();
      });
    });

    describe('the end', () => {
      it('tells the exit code of a child that ends by itself', async () => {
        const client = new LinkClient(await open());
        await client.send('exit', { code: 3 });
        expect(await client.link.exited).to.deep.include({ reason: 'exited', code: 3 });
        await nothingLeft();
      });

      it('hands over the last bytes before it tells the end', async () => {
        const client = new LinkClient(await open());
        const id = await client.send('exit', { code: 0, answer: true });
        const exit = await client.link.exited;
        expect((await client.answer(id, 1)).result.content[0].text).to.equal('exiting with 0');
        expect(exit).to.deep.include({ reason: 'exited', code: 0 });
      });

      it('tells a kill from outside', async () => {
        const client = new LinkClient(await open());
        await client.send('crash', { signal: 9 });
        expect(await client.link.exited).to.deep.include({ reason: 'killed', signal: 'SIGKILL' });
        await nothingLeft();
      });

      it('tells a crash right at the start', async () => {
        const link = await open({ env: { FIXTURE_START: 'exit:7' } });
        expect(await link.exited).to.deep.include({ reason: 'exited', code: 7 });
        await nothingLeft();
      });

      it('rejects writes after the end with LINK_CLOSED', async () => {
        const client = new LinkClient(await open());
        await client.send('exit', { code: 0 });
        await client.link.exited;
        expect((await refusal(client.link.write(Buffer.from('x')))).code).to.equal('LINK_CLOSED');
      });
    });

    describe('close', () => {
      it('ends the child by EOF and leaves nothing behind, however often it is called', async () => {
        const client = new LinkClient(await open());
        await client.text('echo', { text: 'x' });
        const { link } = client;
        await Promise.all([link.close(), link.close()]);
        await link.close();
        expect(await link.exited).to.deep.include({ reason: 'closed', code: 0 });
        expect((await refusal(link.write(Buffer.from('x')))).code).to.equal('LINK_CLOSED');
        expect(await harness.leftovers()).to.be.empty;
      });

      it('kills a child that ignores EOF and SIGTERM [2024-11-05/lifecycle/14]', async () => {
        const client = new LinkClient(await open({ env: { FIXTURE_START: 'ignore-eof,ignore-term' }, stopGrace: 0.3 }));
        await client.text('echo', { text: 'x' });
        await client.link.close();
        expect(await client.link.exited).to.deep.include({ reason: 'closed', signal: 'SIGKILL' });
        expect(await harness.leftovers()).to.be.empty;
      });

      it('closes a link that is paused with output under way', async () => {
        const client = new LinkClient(await open({ stopGrace: 0.5 }));
        await client.send('big', { messages: 20, bytes: MIB });
        await until('the first bytes', async () => client.received > 0);
        client.link.pause();
        await client.link.close();
        expect((await client.link.exited).reason).to.equal('closed');
      });

      it('takes the descendants along', async () => {
        const client = new LinkClient(await open());
        await client.text('orphan', { ms: 600_000 });
        await client.link.close();
        await nothingLeft();
      });
    });

    describe('start', () => {
      it('gives the child exactly the environment that was named', async () => {
        const seen: unknown[] = [];
        const spec = specOf(harness.server({ env: { PLAIN: 'one' } }), {
          secrets: async (address) => {
            seen.push(address);
            return { SECRET: 'two' };
          },
        });
        const client = new LinkClient(await fresh().open(spec, never()));
        const env = JSON.parse(await client.text('env')) as Record<string, string>;
        delete env.NODE_V8_COVERAGE; // node hands this one on by itself when coverage is measured
        expect(env).to.deep.equal({ PLAIN: 'one', SECRET: 'two' });
        expect(seen).to.have.length(1);
        expect((seen[0] as { instance: string }).instance).to.match(/\S/);
      });

      it('measures its phases in seconds', async () => {
        const link = await open();
        expect(Object.keys(link.phases)).to.not.be.empty;
        for (const seconds of Object.values(link.phases)) expect(seconds).to.be.within(0, 60);
      });

      it('answers BACKEND_CRASHED for a program that does not exist, and leaves nothing', async () => {
        const error = await refusal(open({ command: ['/does-not-exist'] }));
        expect(error.code).to.equal('BACKEND_CRASHED');
        expect(error.message).to.match(/administrator|command/);
        await nothingLeft();
      });

      it('answers BACKEND_START_DEADLINE when the time is up, and leaves nothing', async () => {
        const spec = specOf(harness.server({ startTimeout: 3 }), { secrets: () => new Promise(() => undefined) });
        expect((await refusal(fresh().open(spec, never()))).code).to.equal('BACKEND_START_DEADLINE');
        await nothingLeft();
      });

      it('rejects with the reason of a signal that was aborted before', async () => {
        const reason = new AppError('DRAINING', 'no');
        const spec = specOf(harness.server());
        expect(await refusal(fresh().open(spec, AbortSignal.abort(reason)))).to.equal(reason);
      });

      it('rejects with the reason of a signal that aborts meanwhile, and leaves nothing', async () => {
        const reason = new AppError('DRAINING', 'no');
        const controller = new AbortController();
        const spec = specOf(harness.server(), {
          secrets: () => {
            controller.abort(reason);
            return new Promise(() => undefined);
          },
        });
        expect(await refusal(fresh().open(spec, controller.signal))).to.equal(reason);
        await nothingLeft();
      });

      it('passes on why the secrets could not be had, and leaves nothing', async () => {
        const reason = new AppError('FORGE_TOKEN_UNAVAILABLE', 'no');
        const spec = specOf(harness.server(), { secrets: () => Promise.reject(reason) });
        expect(await refusal(fresh().open(spec, never()))).to.equal(reason);
        await nothingLeft();
      });

      it('opens many at once, each with a child of its own', async () => {
        const backend = fresh();
        const clients = await Promise.all(
          Array.from(
            { length: harness.many },
            async () => new LinkClient(await backend.open(specOf(harness.server()), never())),
          ),
        );
        const texts = clients.map((_, index) => `session ${index}`);
        expect(
          await Promise.all(clients.map((client, index) => client.text('echo', { text: texts[index] }))),
        ).to.deep.equal(texts);
        await Promise.all(clients.map((client) => client.link.close()));
      });

      it('keeps a fault in one session from the others', async () => {
        const backend = fresh();
        const one = new LinkClient(await backend.open(specOf(harness.server()), never()));
        const other = new LinkClient(await backend.open(specOf(harness.server()), never()));
        await one.send('crash');
        expect(await one.link.exited).to.deep.include({ reason: 'exited', code: 2 });
        expect(await other.text('echo', { text: 'still here' })).to.equal('still here');
      });
    });

    describe('the driver', () => {
      it('proves that it can work', async () => {
        await fresh().check(never());
      });

      it('ends every child when it stops, and opens no more', async () => {
        const backend = fresh();
        const client = new LinkClient(await backend.open(specOf(harness.server()), never()));
        await client.text('echo', { text: 'x' });
        await backend.stop();
        expect((await client.link.exited).reason).to.equal('closed');
        expect((await refusal(backend.open(specOf(harness.server()), never()))).code).to.equal('BACKEND_UNAVAILABLE');
        expect(await harness.leftovers()).to.be.empty;
      });

      it('finds and removes what a killed gateway left, and nothing else', async () => {
        if (harness.abandon === undefined) {
          expect(await fresh().removeOrphans()).to.equal(0);
          return;
        }
        await harness.abandon();
        const backend = fresh();
        const mine = new LinkClient(await backend.open(specOf(harness.server()), never()));
        expect(await backend.removeOrphans()).to.equal(1);
        expect(await mine.text('echo', { text: 'still here' })).to.equal('still here');
        expect(await backend.removeOrphans()).to.equal(0);
        await mine.link.close();
        await nothingLeft();
      });
    });
  });
}

/** Resolves once a counter has stood still for a while: what was under way has arrived. */
async function quiet(counter: () => number): Promise<void> {
  for (let last = -1; counter() !== last;) {
    last = counter();
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
}

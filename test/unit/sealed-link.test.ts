/** The gateway's end of a sealed link, frame by frame: the launcher is played by hand, and the clock is the test's. */
import { expect } from 'chai';
import { Codec, Direction } from '../../src/backends/pod/sealed/codec';
import { type Frame, FrameType, MAX_BODY } from '../../src/backends/pod/sealed/frame';
import { type CountedLink, openSealedLink, type SealedLinkOptions } from '../../src/backends/pod/sealed/link';
import { type AttachTransport, OutageError, type TransportClosed } from '../../src/backends/pod/transport';
import { AppError } from '../../src/errors';
import { FakeClock } from '../support/fake-link';

const key = Buffer.from('0123456789abcdefghijklmnopqrstuv');
const codec = new Codec(key, Direction.fromLauncher);
const WINDOW = 64 * 1024;

/** Lets everything run that waits for nothing but other promises. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve));

/** One attach stream, with the test at its other end. */
class Wire implements AttachTransport {
  readonly frames: Frame[] = [];
  readonly plain: string[] = [];
  readonly closed: Promise<TransportClosed>;
  over = false;
  /** Set: writes wait. */
  gate: Promise<void> | undefined;
  private settle!: (closed: TransportClosed) => void;
  private consumer: (bytes: Buffer) => void = () => undefined;

  constructor() {
    this.closed = new Promise((resolve) => (this.settle = resolve));
  }

  async write(bytes: Buffer): Promise<void> {
    if (this.over) throw new AppError('LINK_CLOSED', 'over');
    for (const line of bytes.toString('latin1').split('\n')) {
      if (line === '') continue;
      const frame = codec.open(Buffer.from(line, 'latin1'));
      if (frame === 'bad') this.plain.push(line);
      else if (frame !== 'malformed') this.frames.push(frame);
    }
    await this.gate;
  }

  onData(consumer: (bytes: Buffer) => void): void {
    this.consumer = consumer;
  }

  pause(): void {
    throw new Error('a sealed link never pauses its stream');
  }

  resume(): void {
    throw new Error('a sealed link never pauses its stream');
  }

  close(): void {
    this.end({ kind: 'broken', detail: 'closed here' });
  }

  end(closed: TransportClosed): void {
    this.over = true;
    this.settle(closed);
  }

  raw(text: string): void {
    this.consumer(Buffer.from(text, 'latin1'));
  }

  /** What the link has said since the last call. */
  heard(): Frame[] {
    return this.frames.splice(0);
  }

  types(): number[] {
    return this.heard().map((frame) => frame.type);
  }
}

/** A launcher by hand. */
class Hand {
  readonly clock = new FakeClock();
  readonly wires: Wire[] = [];
  readonly brokenBy: string[] = [];
  connectError: AppError | undefined;
  number = 0;
  seq = 0;

  get wire(): Wire {
    return this.wires[this.wires.length - 1];
  }

  say(type: number, over: Partial<Frame> = {}): void {
    this.number += 1;
    const frame = {
      epoch: 3,
      number: this.number,
      type,
      received: 0,
      released: 0,
      seq: 0,
      body: Buffer.alloc(0),
      ...over,
    };
    this.wire.raw(codec.seal(frame).toString('latin1'));
  }

  out(text: string | Buffer, over: Partial<Frame> = {}): void {
    this.seq += 1;
    this.say(FrameType.Stdout, { seq: this.seq, body: Buffer.from(text), ...over });
  }

  welcome({
    first = 1,
    queued = 0,
    flags = 0,
    ...over
  }: Partial<Frame> & { first?: number; queued?: number; flags?: number } = {}) {
    const body = Buffer.alloc(19);
    body[0] = flags;
    body.writeUIntBE(first, 1, 6);
    body.writeUInt32BE(queued, 7);
    body.writeUInt32BE(WINDOW, 11);
    body.writeUInt32BE(WINDOW, 15);
    this.say(FrameType.Welcome, { body, ...over });
  }

  options(over: Partial<SealedLinkOptions> = {}): SealedLinkOptions {
    return {
      key,
      epoch: 3,
      claim: { argv: ['child'], env: {} },
      clock: this.clock,
      limits: { outputWindowBytes: WINDOW, stdinWindowBytes: WINDOW },
      signal: new AbortController().signal,
      events: { onBroken: (detail) => this.brokenBy.push(detail) },
      connect: async () => {
        if (this.connectError !== undefined) throw this.connectError;
        this.wires.push(new Wire());
        return this.wire;
      },
      ...over,
    };
  }

  async open(
    over: Partial<SealedLinkOptions> = {},
    welcome: Parameters<Hand['welcome']>[0] = {},
  ): Promise<CountedLink> {
    const opening = openSealedLink(this.options(over));
    await settled();
    this.seq = (welcome.first ?? 1) - 1;
    this.welcome(welcome);
    const link = await opening;
    this.wire.heard();
    return link;
  }
}

async function rejection(promise: Promise<unknown>): Promise<AppError> {
  const error: unknown = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).to.be.instanceOf(AppError);
  return error as AppError;
}

describe('sealed link', () => {
  let hand: Hand;
  beforeEach(() => (hand = new Hand()));

  describe('opening', () => {
    it('sends claim and Hello, again every 250 ms, until the launcher answers', async () => {
      const opening = openSealedLink(hand.options());
      await settled();
      hand.clock.advance(500);
      expect(hand.wire.plain).to.have.length(3);
      expect(hand.wire.plain[0]).to.match(/^FMO1 CLAIM /);
      const hellos = hand.wire.heard();
      expect(hellos.map(({ type, number }) => [type, number])).to.deep.equal([
        [FrameType.Hello, 1],
        [FrameType.Hello, 2],
        [FrameType.Hello, 3],
      ]);
      hand.welcome();
      await opening;
      hand.clock.advance(10_000);
      expect(hand.wire.plain).to.have.length(3);
      expect(hand.clock.timers).to.equal(0);
    });

    it('cuts a stream on which nobody answers, opens another one, and gives up at the deadline', async () => {
      const opening = rejection(openSealedLink(hand.options()));
      for (let i = 0; i < 400; i++) {
        await settled();
        hand.clock.advance(100);
      }
      expect((await opening).code).to.equal('BACKEND_START_DEADLINE');
      expect(hand.wires.length).to.be.within(4, 7);
      expect(hand.wires.every((wire) => wire.over)).to.equal(true);
      expect(hand.clock.timers).to.equal(0);
    });

    it('tries again after BACKEND_UNAVAILABLE, and hands any other error on', async () => {
      hand.connectError = new AppError('BACKEND_UNAVAILABLE', 'Down.');
      const opening = openSealedLink(hand.options());
      await settled();
      hand.connectError = undefined;
      hand.clock.advance(2_000);
      await settled();
      hand.welcome();
      await opening;

      const fresh = new Hand();
      fresh.connectError = new AppError('BACKEND_REFUSED', 'No.');
      expect(await rejection(openSealedLink(fresh.options()))).to.equal(fresh.connectError);
      expect(fresh.clock.timers).to.equal(0);
    });

    it('is BACKEND_CRASHED where the container ends instead of answering', async () => {
      const opening = rejection(openSealedLink(hand.options()));
      await settled();
      hand.wire.end({ kind: 'ended', detail: 'exit code 1' });
      const error = await opening;
      expect([error.code, error.detail]).to.deep.equal(['BACKEND_CRASHED', 'exit code 1']);
    });

    it('is BACKEND_ENDED where a container that was to be taken over ends instead of answering', async () => {
      const opening = rejection(openSealedLink(hand.options({ claim: undefined })));
      await settled();
      hand.wire.end({ kind: 'ended', detail: 'exit code 1' });
      expect((await opening).code).to.equal('BACKEND_ENDED');
    });

    it('is BACKEND_CRASHED with the reason where the program cannot be started, and acknowledges that', async () => {
      const opening = rejection(openSealedLink(hand.options()));
      await settled();
      hand.welcome({ flags: 4 });
      hand.wire.heard();
      hand.say(FrameType.Exit, { seq: 1, body: Buffer.from('\x02\x7fcannot start "x"') });
      expect((await opening).detail).to.equal('cannot start "x"');
      const last = hand.wire.heard().pop();
      expect(last).to.include({ type: FrameType.Ack, received: 1 });
      expect(hand.clock.timers).to.equal(0);
    });

    it('rejects with the signal’s reason, at once and before anything is opened', async () => {
      const reason = new Error('enough');
      const error: unknown = await openSealedLink(hand.options({ signal: AbortSignal.abort(reason) })).catch(
        (e: unknown) => e,
      );
      expect(error).to.equal(reason);
      expect(hand.wires).to.have.length(0);
    });

    it('is LINK_CLOSED where a higher epoch holds the session already', async () => {
      const opening = rejection(openSealedLink(hand.options()));
      await settled();
      hand.say(FrameType.Fenced, { epoch: 4 });
      expect((await opening).code).to.equal('LINK_CLOSED');
      expect(hand.wire.over).to.equal(true);
    });
  });

  describe('to the child', () => {
    it('numbers frames, cuts long writes, and gives every line a number of its own', async () => {
      const link = await hand.open();
      await link.write(Buffer.alloc(MAX_BODY + 1, 'x'));
      const [first, second] = hand.wire.heard() as [Frame, Frame];
      expect([first.seq, first.body.length, second.seq, second.body.length]).to.deep.equal([1, MAX_BODY, 2, 1]);
      expect(second.number).to.equal(first.number + 1);
    });

    it('writes nothing for no bytes', async () => {
      const link = await hand.open();
      await link.write(Buffer.alloc(0));
      expect(hand.wire.heard()).to.deep.equal([]);
    });

    it('keeps within the window until frames are released; received alone does not help', async () => {
      const link = await hand.open();
      let written = false;
      const writing = link.write(Buffer.alloc(4 * MAX_BODY)).then(() => (written = true));
      await settled();
      expect(hand.wire.types()).to.deep.equal([FrameType.Data, FrameType.Data]);
      hand.say(FrameType.Ack, { received: 2 });
      await settled();
      expect(hand.wire.heard()).to.deep.equal([]);
      hand.say(FrameType.Ack, { received: 2, released: 1 });
      await settled();
      expect(written).to.equal(false);
      hand.say(FrameType.Ack, { received: 3, released: 3 });
      await writing;
      expect(hand.wire.heard().map(({ seq }) => seq)).to.deep.equal([3, 4]);
    });

    it('sends all after the gap again when asked, and says so', async () => {
      const link = await hand.open();
      for (const text of ['a', 'b', 'c']) await link.write(Buffer.from(text));
      await settled();
      hand.wire.heard();
      hand.say(FrameType.Nak, { received: 1 });
      await settled();
      expect(hand.wire.heard().map(({ body }) => body.toString())).to.deep.equal(['b', 'c']);
      hand.say(FrameType.Nak, { received: 3 });
      await settled();
      expect(hand.wire.heard()).to.deep.equal([]);
      expect(link.stats.resent).to.equal(1);
    });

    it('sends the oldest frame again after silence, and the rest once that shows what is missing', async () => {
      const link = await hand.open();
      for (const text of ['a', 'b', 'c']) await link.write(Buffer.from(text));
      await settled();
      hand.wire.heard();
      hand.clock.advance(200);
      await settled();
      expect(hand.wire.heard().map(({ seq }) => seq)).to.deep.equal([1]);
      hand.say(FrameType.Ack, { received: 1 });
      await settled();
      expect(hand.wire.heard().map(({ seq }) => seq)).to.deep.equal([2, 3]);
    });

    it('cuts the stream when nothing is confirmed for the stall deadline, and sends it on the next one', async () => {
      const link = await hand.open();
      await link.write(Buffer.from('a'));
      const stalled = hand.wire;
      for (let i = 0; i < 130; i++) {
        await settled();
        hand.clock.advance(100);
      }
      expect(stalled.over).to.equal(true);
      expect(hand.brokenBy).to.have.length(1);
      await settled();
      hand.wire.heard();
      hand.welcome();
      await settled();
      expect(hand.wire.heard().map(({ type, seq }) => [type, seq])).to.deep.equal([[FrameType.Data, 1]]);
      expect(link.stats.reattached).to.equal(1);
    });

    it('puts a signal ahead of bytes that found no room', async () => {
      const link = await hand.open();
      const writing = rejection(link.write(Buffer.alloc(8 * MAX_BODY)));
      const shutdown = link.shutdown(1_000);
      hand.wire.heard();
      hand.clock.advance(1_000);
      await settled();
      expect(hand.wire.heard().pop()).to.deep.include({ type: FrameType.Signal, seq: 3, body: Buffer.of(15) });
      hand.clock.advance(1_000);
      await settled();
      hand.clock.advance(1_000);
      expect((await shutdown).kind).to.equal('lost');
      expect((await writing).code).to.equal('LINK_CLOSED');
      expect(hand.clock.timers).to.equal(0);
    });

    it('takes up another holder’s numbers and what it left in the window', async () => {
      const link = await hand.open(
        { claim: undefined },
        { received: 9, released: 8, first: 21, queued: WINDOW - 100, flags: 3 },
      );
      expect(link.takeover).to.deep.equal({ stdinMidLine: true, stdoutMidLine: true });
      expect(hand.wire.plain).to.deep.equal([]);
      const writing = link.write(Buffer.from('more than there is room for'));
      await link.write(Buffer.alloc(0));
      hand.out('next\n');
      await settled();
      const before = hand.wire.heard().map(({ type, seq }) => [type, seq]);
      expect(before).to.deep.equal([[FrameType.Data, 10]]);
      hand.say(FrameType.Ack, { received: 9, released: 9 });
      await writing;
    });
  });

  describe('from the child', () => {
    it('hands over in order, once, and acknowledges after 50 ms unless a frame carries it', async () => {
      const link = await hand.open();
      let got = '';
      link.onData((bytes) => (got += bytes.toString()));
      hand.out('one\n');
      hand.seq = 0;
      hand.out('one\n');
      expect(hand.wire.types()).to.deep.equal([FrameType.Ack]); // for the one that came twice
      hand.out('two\n');
      hand.clock.advance(49);
      expect(hand.wire.heard()).to.deep.equal([]);
      await settled();
      hand.clock.advance(1);
      await settled();
      expect(hand.wire.heard().pop()).to.include({ type: FrameType.Ack, received: 2, released: 2 });
      hand.out('three\n');
      await link.write(Buffer.from('x'));
      expect(hand.wire.heard().pop()).to.include({ type: FrameType.Data, received: 3, released: 3 });
      hand.say(FrameType.Ack, { received: 1, released: 1 });
      hand.clock.advance(1_000);
      expect(hand.wire.heard()).to.deep.equal([]);
      expect(got).to.equal('one\ntwo\nthree\n');
    });

    it('keeps what comes before its consumer, both streams apart', async () => {
      const link = await hand.open();
      hand.out('early\n');
      hand.seq += 1;
      hand.say(FrameType.Stderr, { seq: hand.seq, body: Buffer.from('warning') });
      let out = '';
      let err = '';
      link.onStderr((bytes) => (err += bytes.toString()));
      expect([out, err]).to.deep.equal(['', 'warning']);
      link.onData((bytes) => (out += bytes.toString()));
      expect(out).to.equal('early\n');
    });

    it('asks for a gap once, and again after a pause', async () => {
      await hand.open();
      hand.seq = 1;
      hand.out('b');
      hand.out('c');
      await settled();
      expect(hand.wire.types()).to.deep.equal([FrameType.Nak]);
      hand.clock.advance(100);
      hand.wire.raw('torn half of a line\n');
      await settled();
      expect(hand.wire.types()).to.deep.equal([FrameType.Nak]);
    });

    it('counts lines that are no frames, the long ones too, and passes over empty ones', async () => {
      const link = await hand.open();
      hand.wire.raw(`\n\nnoise\n${'x'.repeat(40_000)}\n`);
      expect(link.stats.badLines).to.equal(2);
    });

    it('releases whole lines only, so that the next holder gets a message whole', async () => {
      const link = await hand.open();
      link.onData(() => undefined);
      hand.out('whole\n');
      hand.out('half');
      hand.clock.advance(50);
      await settled();
      expect(hand.wire.heard().pop()).to.include({ received: 2, released: 1 });
      hand.out(' and half\n');
      hand.clock.advance(50);
      await settled();
      expect(hand.wire.heard().pop()).to.include({ received: 3, released: 3 });
    });

    it('keeps back no more than a quarter of the window of a line that is longer', async () => {
      const link = await hand.open();
      link.onData(() => undefined);
      for (let i = 0; i < 20; i++) hand.out(Buffer.alloc(8_000, 'x'));
      await settled();
      const last = hand.wire.heard().pop() as Frame;
      expect(last.received - last.released).to.be.within(1, 2);
    });

    it('paused, takes a window and no more, releases nothing, and tells the launcher that it is there', async () => {
      const link = await hand.open();
      let got = 0;
      link.onData((bytes) => (got += bytes.length));
      link.pause();
      for (let i = 0; i < 8; i++) hand.out(Buffer.alloc(8_000, 'x'));
      await settled();
      expect(got).to.equal(0);
      hand.wire.heard();
      hand.clock.advance(10_000);
      await settled();
      const said = hand.wire.heard();
      expect(said.map(({ type }) => type)).to.include(FrameType.Ack);
      expect(said.every(({ received, released }) => received === 8 && released === 0)).to.equal(true);
      link.resume();
      expect(got).to.equal(64_000);
      await settled();
      expect(hand.wire.heard().pop()).to.include({ type: FrameType.Ack, received: 8, released: 6 });
      expect(hand.clock.timers).to.equal(0);
    });

    it('detached after an exit that waits for a paused consumer, ends at once', async () => {
      const link = await hand.open();
      link.onData(() => undefined);
      link.pause();
      hand.out('never taken');
      hand.seq += 1;
      hand.say(FrameType.Exit, { seq: hand.seq, body: Buffer.of(0, 3) });
      link.detach();
      expect(await link.exited).to.deep.equal({ kind: 'exited', code: 3 });
    });

    it('hands over nothing more once its consumer has detached it', async () => {
      const link = await hand.open();
      const got: string[] = [];
      link.onData((bytes) => {
        got.push(bytes.toString());
        link.detach();
      });
      const lines = ['one', 'two'].map((text, i) =>
        codec.seal({
          epoch: 3,
          number: 50 + i,
          type: 0x11,
          received: 0,
          released: 0,
          seq: 1 + i,
          body: Buffer.from(text),
        }),
      );
      hand.wire.raw(Buffer.concat(lines).toString('latin1'));
      expect(got).to.deep.equal(['one']);
    });

    it('ends with the exit only when a paused consumer has all', async () => {
      const link = await hand.open();
      let got = '';
      let ended = false;
      void link.exited.then(() => (ended = true));
      link.onData((bytes) => (got += bytes.toString()));
      link.pause();
      hand.out('last words');
      hand.seq += 1;
      hand.say(FrameType.Exit, { seq: hand.seq, body: Buffer.of(1, 9) });
      await settled();
      expect(ended).to.equal(false);
      link.resume();
      expect(await link.exited).to.deep.equal({ kind: 'signaled', signal: 'SIGKILL' });
      expect(got).to.equal('last words');
    });

    it('acknowledges an exit that comes again on its last stream, and cuts that after a second', async () => {
      const link = await hand.open();
      hand.say(FrameType.Exit, { seq: 1, body: Buffer.of(0, 0) });
      await link.exited;
      hand.wire.heard();
      hand.say(FrameType.Exit, { seq: 1, body: Buffer.of(0, 0) });
      await settled();
      expect(hand.wire.types()).to.deep.equal([FrameType.Ack]);
      hand.clock.advance(1_000);
      expect(hand.wire.over).to.equal(true);
      expect(hand.clock.timers).to.equal(0);
    });
  });

  describe('fencing', () => {
    it('ends at the first frame of a higher epoch, whatever it is', async () => {
      const link = await hand.open();
      hand.say(FrameType.Ack, { epoch: 7 });
      expect(await link.exited).to.deep.equal({ kind: 'fenced', epoch: 7 });
      expect(hand.wire.over).to.equal(true);
      expect(hand.clock.timers).to.equal(0);
    });

    it('passes over frames of a lower epoch and lines that are played again', async () => {
      const link = await hand.open();
      let got = '';
      link.onData((bytes) => (got += bytes.toString()));
      hand.out('old', { epoch: 2 });
      hand.seq = 0;
      hand.out('new');
      hand.number -= 1;
      hand.seq = 1;
      hand.out('again');
      expect(got).to.equal('new');
    });
  });

  describe('a launcher that breaks the protocol', () => {
    const breaches: Record<string, (hand: Hand) => void> = {
      'acknowledges what was never sent': () => hand.say(FrameType.Ack, { received: 1 }),
      'sends a malformed frame': () => hand.say(FrameType.Stdout, { seq: 0 }),
      'sends more than its window': () => {
        for (let i = 0; i < 3; i++) hand.out(Buffer.alloc(MAX_BODY));
      },
      'sends a malformed exit': () => hand.say(FrameType.Exit, { seq: 1 }),
      'sends a malformed welcome': () => hand.say(FrameType.Welcome),
      'sends a numbered frame of another type': () => hand.say(FrameType.Data, { seq: 1, body: Buffer.from('x') }),
      'has lost frames': () => hand.welcome({ first: 5 }),
      'says that we broke it': () => hand.say(FrameType.Error, { body: Buffer.from('nonsense') }),
    };
    for (const [name, breach] of Object.entries(breaches)) {
      it(`and ${name} ends the link as lost, and only that`, async () => {
        const link = await hand.open();
        breach(hand);
        if (name.includes('window')) link.onData(() => undefined);
        expect((await link.exited).kind).to.equal('lost');
        expect(hand.wire.over).to.equal(true);
        expect(hand.clock.timers).to.equal(0);
      });
    }

    it('passes over types that it does not know yet', async () => {
      const link = await hand.open();
      hand.say(0x7f, { body: Buffer.from('later') });
      await link.write(Buffer.from('x'));
      expect(hand.wire.types()).to.deep.equal([FrameType.Data]);
    });
  });

  describe('a broken stream', () => {
    it('is followed by another one, with Hello and no claim, and goes on where it was', async () => {
      const link = await hand.open();
      let got = '';
      link.onData((bytes) => (got += bytes.toString()));
      hand.out('one\n');
      await link.write(Buffer.from('first'));
      hand.wire.end({ kind: 'broken', detail: '1006' });
      await settled();
      await link.write(Buffer.from('second'));
      hand.clock.advance(50);
      await settled();
      expect(hand.wires).to.have.length(2);
      expect(hand.wire.plain).to.deep.equal([]);
      expect(hand.wire.heard()[0]).to.include({ type: FrameType.Hello, received: 1 });
      hand.welcome({ first: 2, received: 1 });
      await settled();
      expect(hand.wire.heard().map(({ body }) => body.toString())).to.deep.equal(['second']);
      hand.out('two\n');
      expect(got).to.equal('one\ntwo\n');
      expect(link.stats).to.deep.equal({ broken: 1, reattached: 1, badLines: 0, resent: 0 });
    });

    describe('in an outage of the API', () => {
      const away = new OutageError(new AppError('BACKEND_UNAVAILABLE', 'No answer.'));
      const limits = { reattachDeadlineMs: 60_000, outageDeadlineMs: 480_000 };
      const pass = async (ms: number): Promise<void> => {
        for (let i = 0; i < ms / 1_000; i++) {
          await settled();
          hand.clock.advance(1_000);
        }
        await settled();
      };
      const exitOf = (link: CountedLink): string[] => {
        const ends: string[] = [];
        void link.exited.then(({ kind }) => ends.push(kind));
        return ends;
      };

      it('is waited for, and goes on where it was when the API is back', async () => {
        const link = await hand.open({ limits });
        const ends = exitOf(link);
        void link.write(Buffer.from('x'));
        hand.connectError = away;
        hand.wire.end({ kind: 'broken', detail: '1006' });
        await pass(400_000);
        hand.connectError = undefined;
        await pass(3_000);
        expect(hand.wires).to.have.length(2);
        hand.welcome();
        await settled();
        expect(hand.wire.types()).to.include(FrameType.Data);
        expect([ends, link.stats.reattached]).to.deep.equal([[], 1]);
        link.detach();
      });

      it('is given up when it has lasted too long, or when another fault lasts after it', async () => {
        const long = exitOf(await hand.open({ limits }));
        hand.connectError = away;
        hand.wire.end({ kind: 'broken', detail: '1006' });
        await pass(479_000);
        expect(long).to.deep.equal([]);
        await pass(1_000);
        expect(long).to.deep.equal(['lost']);

        hand = new Hand();
        const other = exitOf(await hand.open({ limits }));
        hand.connectError = away;
        hand.wire.end({ kind: 'broken', detail: '1006' });
        await pass(100_000);
        hand.connectError = new AppError('BACKEND_UNAVAILABLE', 'Its node is gone.');
        await pass(57_000); // the last attempt before was at most two seconds old
        expect(other).to.deep.equal([]);
        await pass(3_000);
        expect(other).to.deep.equal(['lost']);
      });

      it('passes over a refusal of an API server that has just begun', async () => {
        const link = await hand.open({ limits });
        const ends = exitOf(link);
        hand.connectError = new AppError('BACKEND_REFUSED', 'It does not know the roles yet.');
        hand.wire.end({ kind: 'broken', detail: '1006' });
        await pass(10_000);
        hand.connectError = undefined;
        await pass(3_000);
        hand.welcome();
        await settled();
        expect([ends, link.stats.reattached]).to.deep.equal([[], 1]);
        link.detach();
      });
    });

    it('that says the container has ended ends the link, and no other is opened', async () => {
      const link = await hand.open();
      hand.wire.end({ kind: 'ended', detail: 'done' });
      expect(await link.exited).to.deep.equal({ kind: 'container-ended', detail: 'done' });
      expect(hand.wires).to.have.length(1);
    });

    it('after which the container is gone ends the link as container-ended', async () => {
      const link = await hand.open();
      hand.connectError = new AppError('BACKEND_ENDED', 'Gone.', { detail: 'no such pod' });
      hand.wire.close();
      await settled();
      hand.clock.advance(50);
      expect(await link.exited).to.deep.equal({ kind: 'container-ended', detail: 'no such pod' });
      expect(hand.clock.timers).to.equal(0);
    });

    it('whose old bytes still trickle in is not listened to any more', async () => {
      const link = await hand.open();
      let got = '';
      link.onData((bytes) => (got += bytes.toString()));
      const old = hand.wire;
      old.close();
      await settled();
      hand.wires.push(old);
      hand.out('late');
      expect(got).to.equal('');
    });

    describe('released', () => {
      const isOver = (link: CountedLink): (() => boolean) => {
        let over = false;
        void link.exited.then(() => (over = true));
        return () => over;
      };

      it('takes nothing more, and is detached once the launcher has all that was written', async () => {
        const link = await hand.open();
        await link.write(Buffer.from('x'));
        await link.write(Buffer.from('y'));
        const over = isOver(link);
        link.release(2_000);
        expect((await rejection(link.write(Buffer.from('z')))).code).to.equal('LINK_CLOSED');
        hand.say(FrameType.Ack, { received: 1 });
        await settled();
        expect([over(), hand.wire.over]).to.deep.equal([false, false]);
        hand.say(FrameType.Ack, { received: 2 });
        expect(await link.exited).to.deep.equal({ kind: 'detached' });
        expect([hand.wire.over, hand.clock.timers]).to.deep.equal([true, 0]);
      });

      it('waits for what has found no room yet as well', async () => {
        const link = await hand.open();
        const written = link.write(Buffer.alloc(2 * WINDOW));
        const over = isOver(link);
        await settled();
        link.release(2_000);
        for (let sent = 0; !over();) {
          const { seq } = hand.wire.heard().findLast(({ type }) => type === FrameType.Data) ?? { seq: 0 };
          expect(seq).to.be.above(sent);
          sent = seq;
          hand.say(FrameType.Ack, { received: sent, released: sent });
          await settled();
        }
        await written;
        expect(await link.exited).to.deep.equal({ kind: 'detached' });
        expect(hand.clock.timers).to.equal(0);
      });

      it('is detached at once where the launcher has all, or no stream is up', async () => {
        const idle = await hand.open();
        idle.release(2_000);
        expect(await idle.exited).to.deep.equal({ kind: 'detached' });
        expect(hand.clock.timers).to.equal(0);
        hand = new Hand();
        const cut = await hand.open();
        await cut.write(Buffer.from('x'));
        hand.connectError = new AppError('BACKEND_UNAVAILABLE', 'no');
        hand.wire.end({ kind: 'broken', detail: 'cut' });
        await settled();
        cut.release(2_000);
        expect(await cut.exited).to.deep.equal({ kind: 'detached' });
        expect(hand.clock.timers).to.equal(0);
      });

      it('is detached when its stream breaks, and none is opened for it', async () => {
        const link = await hand.open();
        await link.write(Buffer.from('x'));
        link.release(2_000);
        hand.wire.end({ kind: 'broken', detail: 'cut' });
        expect(await link.exited).to.deep.equal({ kind: 'detached' });
        await settled();
        expect([hand.wires.length, hand.clock.timers]).to.deep.equal([1, 0]);
      });

      it('waits no longer than it may', async () => {
        const link = await hand.open();
        await link.write(Buffer.from('x'));
        const over = isOver(link);
        link.release(2_000);
        hand.clock.advance(1_999);
        await settled();
        expect(over()).to.equal(false);
        hand.clock.advance(1);
        expect(await link.exited).to.deep.equal({ kind: 'detached' });
        expect(hand.clock.timers).to.equal(0);
      });

      it('hands over and releases nothing that comes meanwhile, not even the exit: they are for the next holder', async () => {
        const link = await hand.open();
        let got = '';
        link.onData((bytes) => (got += bytes.toString()));
        await link.write(Buffer.from('x'));
        link.release(2_000);
        hand.out('late\n');
        link.resume();
        hand.clock.advance(50);
        await settled();
        hand.seq += 1;
        hand.say(FrameType.Exit, { seq: hand.seq, body: Buffer.of(0, 3) });
        expect(await link.exited).to.deep.equal({ kind: 'exited', code: 3 });
        expect([got, hand.wire.over, hand.clock.timers]).to.deep.equal(['', true, 0]);
        expect(hand.wire.heard().every(({ released }) => released === 0)).to.equal(true);
      });
    });

    it('detached, leaves the child alone and no timer behind', async () => {
      const link = await hand.open();
      await link.write(Buffer.from('x'));
      link.detach();
      expect(await link.exited).to.deep.equal({ kind: 'detached' });
      expect(hand.wire.types()).to.deep.equal([FrameType.Data]);
      expect(hand.clock.timers).to.equal(0);
    });
  });
});

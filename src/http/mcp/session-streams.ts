/** Which streams each session has, and how much all of them may keep. */
import type { SessionHandle, SessionStream } from '../../sessions/ports';
import { AppError } from '../../errors';
import { ReplayStream, type ReplayStreamOptions, type Room, type StreamKind } from './replay';

export interface ReplayLimits {
  /** Bytes that one stream keeps. */
  readonly maxStreamBytes: number;
  /** Bytes that all streams of a session keep. */
  readonly maxSessionBytes: number;
  /** Bytes that all sessions keep. */
  readonly maxBytes: number;
  /** Streams that a session keeps; those with calls in flight are kept beyond it. */
  readonly maxStreams: number;
  /** Milliseconds for which a stream is kept after its client went away and its answer came, whichever was later. */
  readonly keepMs: number;
}

/** From this revision on streams are primed (MCP 2025-11-25, 'Sending Messages to the Server'); older clients fail on an event without data. */
const PRIMES_FROM = '2025-11-25';

/** A stream whose messages were given up says so for this many times as long as they were kept. */
const REMEMBER = 4;

/** Streams that a session may name in one process. */
const NAMES = 2 ** 32;

/** Events that a stream may have in one process. */
const EVENTS = 100_000_000;

/** The name of a stream and a place in it. */
const EVENT_ID = /^([pg])([0-9a-z]{1,16})\.(\d{1,15})$/;

/** What a client asks for that comes back. */
export interface Place {
  readonly stream: ReplayStream;
  readonly last: number;
}

/** Whether streams of a session of this revision may begin with an event without data. */
export function primes(version: string | undefined): boolean {
  return version !== undefined && version >= PRIMES_FROM;
}

/** Every session's streams. One timer, which runs while something is kept, ends what was kept for long enough. */
export class KeptStreams {
  readonly limits: ReplayLimits;
  readonly #sessions = new Map<string, SessionStreams>();
  #bytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(limits: ReplayLimits) {
    this.limits = limits;
  }

  /** Bytes that are kept now. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Streams that are kept now. */
  get size(): number {
    let size = 0;
    for (const { size: each } of this.#sessions.values()) size += each;
    return size;
  }

  /** The streams of a session, until it ends. */
  of(handle: Pick<SessionHandle, 'name' | 'protocolVersion' | 'firstGeneration' | 'ended'>): SessionStreams {
    const found = this.#sessions.get(handle.name);
    if (found !== undefined) return found;
    const made = new SessionStreams(this.limits, primes(handle.protocolVersion), handle.firstGeneration, {
      full: (bytes) => this.#bytes + bytes > this.limits.maxBytes,
      count: (bytes) => void (this.#bytes += bytes),
    });
    this.#sessions.set(handle.name, made);
    this.#timer ??= setInterval(() => this.sweep(performance.now()), this.limits.keepMs / 4).unref();
    void handle.ended.then(() => {
      made.clear();
      this.#sessions.delete(handle.name);
      if (this.#sessions.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    });
    return made;
  }

  /** Gives up what was kept for long enough at `now`, in milliseconds of `performance`. */
  sweep(now: number): void {
    for (const session of this.#sessions.values()) session.sweep(now);
  }
}

/** What all sessions share. */
interface Shared {
  full(bytes: number): boolean;
  count(bytes: number): void;
}

/** The streams of one session. */
export class SessionStreams implements Room {
  /** Whether streams begin with an event without data. */
  readonly primes: boolean;
  readonly #limits: ReplayLimits;
  readonly #shared: Shared;
  /** The oldest first. */
  readonly #streams = new Map<string, ReplayStream>();
  /** The places of GET streams among those that get what belongs to no call. */
  readonly #listening = new Map<ReplayStream, SessionStream>();
  readonly #generation: number;
  /** The highest number of a stream that another process may have named. */
  readonly #before: number;
  #named: number;
  #bytes = 0;

  /** @param generation no two processes that have the session one after the other have the same. */
  constructor(limits: ReplayLimits, primed: boolean, generation: number, shared: Shared) {
    this.#limits = limits;
    this.primes = primed;
    this.#generation = generation;
    this.#named = this.#before = (generation - 1) * NAMES;
    this.#shared = shared;
  }

  get size(): number {
    return this.#streams.size;
  }

  /** A name for a new stream: `p` of a POST, `g` of a GET. No two of a session are the same. */
  name(letter: 'p' | 'g'): string {
    this.#named += 1;
    return letter + this.#named.toString(36);
  }

  /** Opens the stream of a name; the oldest that is not needed makes place for it. */
  open(name: string, kind: StreamKind): ReplayStream {
    return this.#add({ name, kind, room: this, primes: this.primes });
  }

  /**
   * Finds the place that an event id names. Undefined for a GET stream that is not kept any more, or was another process's: its client is best served
   * with a new one.
   * @throws AppError `EVENT_UNKNOWN` for what is no event id of this session, or of a call whose stream is not kept any more.
   */
  find(eventId: string): Place | undefined {
    const [, letter, number = '', sequence] = EVENT_ID.exec(eventId) ?? [];
    const named = Number.parseInt(number, 36);
    if (letter === undefined || named > this.#named) throw unknown();
    const last = Number(sequence);
    const stream = this.#streams.get(letter + number);
    if (stream === undefined && letter === 'g') return undefined;
    if (stream?.knows(last) !== true) throw unknown();
    return { stream, last };
  }

  /**
   * The stream of a call that an event id names and that another process began, which had the session before; undefined where it is none of those, or is here
   * already.
   */
  former(eventId: string): { readonly name: string; readonly last: number } | undefined {
    const [, letter, number = '', sequence] = EVENT_ID.exec(eventId) ?? [];
    const name = `p${number}`;
    if (letter !== 'p' || this.#streams.has(name) || Number.parseInt(number, 36) > this.#before) return undefined;
    return { name, last: Number(sequence) };
  }

  /** Goes on with the stream of a call that another process began. */
  inherit(name: string): ReplayStream {
    return this.#add({ name, kind: 'call', room: this, primes: this.primes, after: this.#generation * EVENTS });
  }

  /** Gives up a GET stream's place among those that get what belongs to no call. */
  unlisten(stream: ReplayStream): void {
    this.#listening.get(stream)?.stop();
    this.#listening.delete(stream);
  }

  /** Notes that a GET stream gets messages by this place, which is given up with it. */
  listens(stream: ReplayStream, place: SessionStream): void {
    this.#listening.set(stream, place);
    void place.ended.then((why) => {
      if (this.#listening.get(stream) !== place) return;
      if (why === 'superseded') stream.disconnect();
      else stream.end();
    });
  }

  /** Hands what waits on GET streams whose clients are away over to a new one, whose client did not say where it was. */
  takeOver(to: ReplayStream): void {
    for (const stream of this.#streams.values()) {
      if (stream !== to && stream.kind === 'get' && stream.away && !stream.over) stream.moveUnsent(to);
    }
  }

  /** See {@link Room.make}. Streams that were read to their end go first, then what was sent already. */
  make(stream: ReplayStream, bytes: number): boolean {
    const { maxStreamBytes, maxSessionBytes } = this.#limits;
    if (bytes > maxStreamBytes || bytes > maxSessionBytes) return false;
    while (stream.bytes + bytes > maxStreamBytes) if (!stream.evict()) return false;
    while (this.#bytes + bytes > maxSessionBytes || this.#shared.full(bytes)) {
      if (!this.#shrinkOne(stream) && !stream.evict()) return false;
    }
    return true;
  }

  /** See {@link Room.count}. */
  count(bytes: number): void {
    this.#bytes += bytes;
    this.#shared.count(bytes);
  }

  /** Gives up what was kept for long enough at `now`. */
  sweep(now: number): void {
    const { keepMs } = this.#limits;
    for (const stream of this.#streams.values()) {
      const idle = stream.idle(now);
      if (idle >= keepMs && stream.kind === 'get') this.giveUp(stream);
      else if (idle >= keepMs * REMEMBER) this.giveUp(stream);
      else if (idle >= keepMs) stream.shrink();
    }
  }

  /** The session is over. */
  clear(): void {
    for (const stream of this.#streams.values()) this.giveUp(stream);
  }

  /** Lets go of a stream and of what it keeps. */
  giveUp(stream: ReplayStream): void {
    this.#streams.delete(stream.stream);
    stream.clear();
    this.unlisten(stream);
  }

  #add(options: ReplayStreamOptions): ReplayStream {
    if (this.#streams.size >= this.#limits.maxStreams) this.#giveUpOne();
    const stream = new ReplayStream(options);
    this.#streams.set(options.name, stream);
    return stream;
  }

  /** Takes the oldest stream out that is over, or else the oldest whose client is away from it and that no call needs. */
  #giveUpOne(): void {
    const all = [...this.#streams.values()];
    const least =
      all.find(({ over, delivered }) => over && delivered) ??
      all.find(({ over }) => over) ??
      all.find(({ kind, away }) => kind === 'get' && away);
    if (least !== undefined) this.giveUp(least);
  }

  #shrinkOne(except: ReplayStream): boolean {
    for (const stream of this.#streams.values()) {
      if (stream === except || !stream.over || !stream.delivered || stream.bytes === 0) continue;
      stream.shrink();
      return true;
    }
    return false;
  }
}

function unknown(): AppError {
  return new AppError('EVENT_UNKNOWN', 'Bad Request: Last-Event-ID names no event that is kept. Make the call again.');
}

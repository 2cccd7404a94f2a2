/**
 * Streams that outlive their connections (MCP 2025-11-25, 'Resumability and Redelivery'). An event's id is `<stream>.<sequence>`; what was sent on a
 * stream is kept within bounds, so that a client whose connection broke gets the rest of that very stream, without a gap and nothing twice.
 */
import type { JsonRpcId, JsonRpcMessage, MessageSink } from '../../bridge/contract';
import { AppError, ERRORS } from '../../errors';
import { event, gone, type EventStream } from './stream';

/** `call`: of a POST, ends with its answers; `get`: of a GET, ends with its session. */
export type StreamKind = 'call' | 'get';

/** Milliseconds after which a client may come back; it is told before every early end of a connection, and when a stream is opened. */
export const RETRY_MS = 1_000;

/** The room that the streams of a session share. */
export interface Room {
  /** Makes room for `bytes` more of this stream; false when there is none. */
  make(stream: ReplayStream, bytes: number): boolean;
  /** Counts bytes that are kept from now on; negative for those that are not any more. */
  count(bytes: number): void;
}

interface Kept {
  readonly sequence: number;
  json: string;
  /** Whether `json` counts for the bounds: what stands for a lost answer is short and always kept. */
  counted: boolean;
  /** The request that this answers; undefined for what is no answer. */
  readonly answers: JsonRpcId | null | undefined;
}

export interface ReplayStreamOptions {
  readonly name: string;
  readonly kind: StreamKind;
  readonly room: Room;
  /** Whether clients of the session's revision take an event without data, which names the stream before anything was said (from 2025-11-25 on). */
  readonly primes: boolean;
  /** The place after which it goes on, of a stream that another process began; above all that was named there. */
  readonly after?: number;
}

/**
 * One stream. It has one connection, or none while its client is away; a newer connection takes the place of an older one.
 *
 * While the client is away what comes is kept as far as there is room. Then the stream counts as gone for the bridge, but an answer is still kept, in
 * the place of everything else if need be. What cannot be kept is never passed over in silence: a client that comes back is told that messages
 * were lost, and in the place of an answer that was lost there is an error.
 */
export class ReplayStream implements MessageSink {
  readonly stream: string;
  readonly kind: StreamKind;
  readonly #room: Room;
  readonly #primes: boolean;
  /** What can be sent again, in order. */
  #kept: Kept[] = [];
  #bytes = 0;
  #sequence = 0;
  /** The last event that some connection was given. */
  #sent = 0;
  /** The last event that is no answer and is not kept any more. */
  #lost = 0;
  #out: EventStream | undefined;
  #over = false;
  /** No room was left while the client was away. */
  #overflowed = false;
  #idleSince = performance.now();

  constructor(options: ReplayStreamOptions) {
    this.stream = options.name;
    this.kind = options.kind;
    this.#room = options.room;
    this.#primes = options.primes;
    this.#sequence = this.#sent = options.after ?? 0;
  }

  /** See {@link MessageSink.away}. */
  get away(): boolean {
    return this.#out === undefined;
  }

  /** Whether nothing more comes. */
  get over(): boolean {
    return this.#over;
  }

  /** Whether everything was given to some connection, which may have broken. */
  get delivered(): boolean {
    return this.#sent === this.#sequence;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Milliseconds since the stream was last of use: connected, or with more to come for its call. */
  idle(now: number): number {
    return this.#out !== undefined || (this.kind === 'call' && !this.#over) ? 0 : now - this.#idleSince;
  }

  /** See {@link MessageSink.send}: rejects only when the message is kept nowhere. */
  send(message: JsonRpcMessage, json: string): Promise<void> | undefined {
    const answers = 'method' in message ? undefined : message.id;
    if (this.#over || (this.#overflowed && answers === undefined)) return Promise.reject(gone());
    const fits = this.#makeRoom(json.length, answers !== undefined);
    this.#sequence += 1;
    if (fits) this.#keep(json, answers);
    else if (answers !== undefined) this.#keep(lostAnswer(answers), answers, false);
    else this.#lost = this.#sequence;
    if (this.#out === undefined) {
      if (fits || answers !== undefined) return undefined;
      this.#overflowed = true;
      return Promise.reject(gone());
    }
    this.#sent = this.#sequence;
    // Where the connection breaks before the client took it, it is kept all the same, or its loss is told.
    return this.#out.write(event(json, this.#id(this.#sequence)))?.catch(() => undefined);
  }

  /** Nothing more comes. What was not taken yet can be fetched still. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#idleSince = performance.now();
    this.#out?.end();
  }

  /** Ends the connection before the stream's end, and says when to come back, where the session's revision has that. */
  disconnect(): void {
    if (this.#primes && this.#out?.closed === false) this.#write(`retry: ${String(RETRY_MS)}\n\n`);
    this.#out?.end();
  }

  /**
   * Gives the stream a connection and everything behind `last` to it, the sequence that the client had last; undefined for the first connection. It is
   * told the place in the stream before anything else where the session's revision has that.
   *
   * @param flush whether headers go out at once, for when no message is at hand.
   */
  attach(out: EventStream, last: number | undefined, flush = true): void {
    const before = this.#out;
    this.#out = out;
    before?.end();
    this.#overflowed = false;
    const from = last ?? 0;
    // Also on a connection that resumes: official clients know their place by what came on the last connection only.
    if (this.#primes) this.#write(`id: ${this.#id(from)}\nretry: ${String(RETRY_MS)}\ndata: \n\n`);
    if (from < this.#lost) this.#write(event(LOST));
    for (const { sequence, json } of this.#kept) if (sequence > from) this.#write(event(json, this.#id(sequence)));
    this.#sent = this.#sequence;
    out.begin(flush);
    if (this.#over) out.end();
    out.onClose(() => this.#closed(out));
  }

  /** Tells a connection that messages of an earlier stream are not kept any more. */
  tellLoss(): void {
    this.#write(event(LOST));
  }

  /** Whether there is, or may come, anything behind this sequence. */
  hasBehind(last: number): boolean {
    return !this.#over || last < this.#sequence;
  }

  /** Whether an event of this sequence was ever named to a client. */
  knows(sequence: number): boolean {
    return sequence <= this.#sequence;
  }

  /** Hands what no connection was ever given over to another stream: its client came back without saying where it was. */
  moveUnsent(to: ReplayStream): void {
    const unsent = this.#kept.filter(({ sequence }) => sequence > this.#sent);
    this.#kept.length -= unsent.length;
    this.#sent = this.#sequence;
    for (const each of unsent) {
      this.#drop(each);
      to.#sequence += 1;
      to.#keep(each.json, undefined);
    }
  }

  /** Gives up the oldest event that was sent; false when there is none. */
  evict(): boolean {
    const index = this.#kept.findIndex(({ counted, sequence }) => counted && sequence <= this.#sent);
    const each = this.#kept[index];
    if (each === undefined) return false;
    this.#drop(each);
    if (each.answers === undefined) {
      this.#lost = Math.max(this.#lost, each.sequence);
      this.#kept.splice(index, 1);
    } else {
      each.json = lostAnswer(each.answers);
    }
    return true;
  }

  /** Gives up all that is kept but for what stands in the place of answers. */
  shrink(): void {
    this.#dropMessages();
    for (const each of this.#kept) {
      this.#drop(each);
      if (each.answers !== undefined) each.json = lostAnswer(each.answers);
    }
  }

  /** Lets go of everything; for a stream that nobody can ask for any more. */
  clear(): void {
    for (const each of this.#kept) this.#drop(each);
    this.#kept = [];
    this.end();
  }

  /** An answer may take the place of everything else. */
  #makeRoom(bytes: number, isAnswer: boolean): boolean {
    if (this.#room.make(this, bytes)) return true;
    if (!isAnswer) return false;
    this.#dropMessages();
    return this.#room.make(this, bytes);
  }

  /** Gives up all that is no answer. */
  #dropMessages(): void {
    this.#kept = this.#kept.filter((each) => {
      if (each.answers !== undefined) return true;
      this.#drop(each);
      this.#lost = Math.max(this.#lost, each.sequence);
      return false;
    });
  }

  #keep(json: string, answers: Kept['answers'], counted = true): void {
    this.#kept.push({ sequence: this.#sequence, json, counted, answers });
    if (!counted) return;
    this.#bytes += json.length;
    this.#room.count(json.length);
  }

  #drop(each: Kept): void {
    if (!each.counted) return;
    each.counted = false;
    this.#bytes -= each.json.length;
    this.#room.count(-each.json.length);
  }

  #write(events: string): void {
    void this.#out?.write(events)?.catch(() => undefined); // a client that does not take it comes back, or does not
  }

  #closed(out: EventStream): void {
    if (this.#out !== out) return;
    this.#out = undefined;
    this.#idleSince = performance.now();
  }

  #id(sequence: number): string {
    return `${this.stream}.${String(sequence)}`;
  }
}

/** What a client is told that comes back too late for some of the messages. */
const LOST = JSON.stringify({
  jsonrpc: '2.0',
  method: 'notifications/message',
  params: {
    level: 'warning',
    logger: 'gateway',
    data: 'Messages of this stream were lost while its connection was interrupted.',
  },
});

function lostAnswer(id: JsonRpcId | null): string {
  const error = new AppError(
    'ANSWER_LOST',
    'The server answered, but the answer could not be kept until the connection was back. What was asked for may have happened.',
  );
  const data = { code: error.code };
  return JSON.stringify({ jsonrpc: '2.0', id, error: { code: ERRORS.ANSWER_LOST.rpc, message: error.message, data } });
}

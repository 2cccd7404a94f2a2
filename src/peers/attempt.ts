/**
 * One request on its way to one replica, and its answer on the way back. The holder says first that it takes the request (102, RFC 2518, 10.1); only
 * then the body goes out. So whatever breaks before that word has run nowhere.
 */
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { TLSSocket } from 'node:tls';
import type { Clock, Timer } from '../clock';
import type { Forward, Outcome } from './contract';
import { answerHeaders, bodyLength, requestHeaders, trailers } from './headers';
import { HEADERS, MISDIRECTED } from './names';
import type { PeerAgent } from './pool';

export interface AttemptLimits {
  /** Milliseconds for a new connection, its handshake included. */
  readonly connectMs: number;
  /** Milliseconds for the holder to say that it takes a request, once there is a connection. */
  readonly acceptMs: number;
  /** Milliseconds from then on, or from the last piece of a streamed body, to the first byte of the answer. */
  readonly firstByteMs: number;
  /** Milliseconds that a client may take nothing at all while something waits for it. */
  readonly stallMs: number;
}

export interface AttemptOptions {
  readonly self: string;
  readonly agent: PeerAgent;
  readonly host: string;
  readonly port: number;
  readonly limits: AttemptLimits;
  readonly clock: Clock;
}

/**
 * `stale`: a connection that had been idle was closed under the request, before the holder took it; a new one may do. `cut`: the answer broke off.
 * `gone`: the client went away, or the caller gave up, before it began.
 */
export type Ended = Outcome | 'stale' | 'cut' | 'gone';

/** A client whose answer is there may still be sending; this much and this long it is listened to, so that it comes to read the answer. */
const LINGER_BYTES = 64 * 1024 * 1024;
const LINGER_MS = 10_000;

/**
 * Writes a head without anything behind it as it came, byte for byte. Where Node does that by itself, for `Expect: 100-continue` or in `flushHeaders`, it takes the bytes of
 * headers beyond ASCII for characters, and writes them as UTF-8.
 */
const NOTHING = Buffer.alloc(0);
/** RFC 9110, 9.2.2: running it again is the same. */
const IDEMPOTENT = new Set(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PUT']);

/** How far it is. */
type Stage = 'asking' | 'taken' | 'answering' | 'over';

export class Attempt {
  readonly #options: AttemptOptions;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #forward: Forward;
  readonly #out: ClientRequest;
  readonly #hasBody: boolean;
  /** Whether bytes of a streamed body have been taken from the request. */
  #isTouched = false;
  /** Whether it may have run although the holder has not said that it takes it: no body was held back, and running it twice is not the same. */
  #maybeRan = false;
  #stage: Stage = 'asking';
  #timer: Timer | undefined;
  #finish!: (ended: Ended) => void;
  /** How it ended; never rejects. */
  readonly ended: Promise<Ended>;

  constructor(request: IncomingMessage, response: ServerResponse, forward: Forward, options: AttemptOptions) {
    this.#options = options;
    this.#request = request;
    this.#response = response;
    this.#forward = forward;
    this.#hasBody = bodyLength(request, forward.body) !== 0;
    this.ended = new Promise((resolve) => (this.#finish = resolve));
    const { agent, host, port, self } = options;
    this.#out = httpsRequest({
      agent,
      host,
      port,
      method: request.method ?? 'GET',
      path: request.url ?? '/',
      headers: requestHeaders(request, self, forward),
      setHost: false,
    });
    this.#begin();
  }

  /** Gives it up; `ended` tells how far it was. */
  cut(): void {
    if (this.#response.destroyed) this.#onClientClosed();
    else if (this.#stage === 'asking') this.#end(this.#maybeRan ? 'unanswered' : 'not-there');
    else this.#end(this.#stage === 'taken' ? 'unanswered' : 'cut');
  }

  #begin(): void {
    const out = this.#out;
    this.#response.once('close', this.#onClientClosed);
    out.once('socket', (socket) => this.#onSocket(socket as TLSSocket));
    out.once('continue', () => this.#taken());
    out.on('information', ({ statusCode }) => {
      if (statusCode === 102) this.#taken();
    });
    out.once('response', (answer) => this.#onAnswer(answer));
    out.on('error', () => this.#broken());
    out.once('close', () => this.#broken());
    // Of a body nothing is written before the holder has answered.
    if (this.#hasBody) out.write(NOTHING);
    else out.end();
  }

  #onSocket(socket: TLSSocket): void {
    if (this.#stage !== 'asking') return;
    const { connectMs, acceptMs } = this.#options.limits;
    const connected = (): void => {
      if (this.#stage !== 'asking') return;
      this.#maybeRan = !this.#hasBody && !IDEMPOTENT.has(this.#request.method ?? '');
      this.#deadline(acceptMs);
    };
    if (this.#out.reusedSocket) {
      connected();
    } else {
      this.#deadline(connectMs);
      socket.once('secureConnect', connected);
    }
  }

  #taken(): void {
    if (this.#stage !== 'asking') return;
    this.#stage = 'taken';
    this.#awaitAnswer();
    const { body } = this.#forward;
    if (!this.#hasBody) return;
    if (body !== 'stream') {
      this.#out.end(body);
      return;
    }
    this.#isTouched = true;
    this.#forward.invite?.();
    this.#request.pipe(this.#out, { end: false });
    this.#request.on('data', this.#awaitAnswer);
    this.#request.once('end', this.#onBodyEnd);
  }

  /** From now on, and from each piece of a body. */
  readonly #awaitAnswer = (): void => {
    if (this.#stage === 'taken') this.#deadline(this.#forward.firstByteMs ?? this.#options.limits.firstByteMs);
  };

  readonly #onBodyEnd = (): void => {
    this.#out.addTrailers(trailers(this.#request.rawTrailers));
    this.#out.end();
  };

  #onAnswer(answer: IncomingMessage): void {
    answer.on('error', () => undefined); // its close says it
    if (this.#stage === 'over') answer.destroy();
    else if (answer.statusCode === 421 && answer.headers[HEADERS.answer] === MISDIRECTED) {
      this.#end(this.#isTouched ? 'unanswered' : 'not-holder');
    } else if (this.#stage === 'asking') {
      this.#end('not-there'); // an answer of HTTP itself, such as 431, and not the holder's
    } else {
      this.#pass(answer);
    }
  }

  /** Passes the answer on as it comes. */
  #pass(answer: IncomingMessage): void {
    const response = this.#response;
    const { stallMs } = this.#options.limits;
    const { timeout: usualMs = 0 } = response.socket ?? {};
    try {
      // Who answers before it has read all does not want the rest: the client's connection cannot be used again.
      if (this.#forward.body === 'stream' && !this.#request.complete) response.setHeader('Connection', 'close');
      response.writeHead(answer.statusCode ?? 502, answer.statusMessage ?? '', answerHeaders(answer.rawHeaders));
    } catch {
      this.#end('unanswered'); // no HTTP that Node would write
      return;
    }
    this.#stage = 'answering';
    this.#timer?.cancel();
    let isWhole = false;
    response.on('timeout', this.#onStall);
    // The head goes out with the first bytes, or without them where they do not come with it, as on a stream of events.
    const flush = setImmediate(() => {
      if (!response.writableEnded) response.write(NOTHING);
    });
    answer.on('data', (chunk: Buffer) => {
      if (response.write(chunk)) return;
      answer.pause();
      response.socket?.setTimeout(stallMs);
      response.once('drain', () => {
        response.socket?.setTimeout(usualMs);
        answer.resume();
      });
    });
    answer.once('end', () => {
      if (this.#stage !== 'answering') return;
      isWhole = true;
      response.addTrailers(trailers(answer.rawTrailers));
      response.socket?.setTimeout(stallMs); // once all is written Node sets its own
      this.#letGo(() => void response.end());
    });
    answer.once('close', () => {
      clearImmediate(flush);
      // What came whole waits for the client to take it; see `#onClientClosed`.
      if (!isWhole) this.#end('cut');
    });
  }

  /** Reads and drops the rest of a streamed body, within bounds, before `end`: with the end of the answer Node cuts the connection that it comes on. */
  #letGo(end: () => void): void {
    const request = this.#request;
    if (!this.#isTouched || request.complete) {
      end();
      return;
    }
    request.unpipe(this.#out);
    request.off('data', this.#awaitAnswer).off('end', this.#onBodyEnd);
    this.#out.destroy();
    let left = LINGER_BYTES;
    this.#timer = this.#options.clock.after(LINGER_MS, end);
    request.on('data', (chunk: Buffer) => {
      left -= chunk.length;
      if (left < 0) end();
    });
    request.once('end', end);
    request.resume();
  }

  readonly #onClientClosed = (): void => {
    if (this.#stage === 'answering') this.#end(this.#response.writableFinished ? 'forwarded' : 'cut');
    else this.#end('gone');
  };

  readonly #onStall = (): void => void this.#response.destroy();

  #deadline(ms: number): void {
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(ms, () => this.cut());
  }

  /** The connection to the holder broke. Within an answer it is the answer that tells, because it may have come whole before. */
  #broken(): void {
    if (this.#stage === 'asking' && this.#out.reusedSocket && !this.#maybeRan) this.#end('stale');
    else if (this.#stage === 'asking' || this.#stage === 'taken') this.cut();
  }

  #end(ended: Ended): void {
    if (this.#stage === 'over') return;
    this.#stage = 'over';
    this.#timer?.cancel();
    this.#response.off('close', this.#onClientClosed);
    this.#response.off('timeout', this.#onStall);
    this.#request.off('data', this.#awaitAnswer).off('end', this.#onBodyEnd);
    if (this.#isTouched) this.#request.unpipe(this.#out);
    if (ended !== 'forwarded' || !this.#out.writableFinished) this.#out.destroy();
    if (ended === 'cut') this.#response.destroy();
    this.#finish(ended);
  }
}

/**
 * One attach stream to a pod's container on a WebSocket (subprotocol `v5.channel.k8s.io`, KEP-4006): back-pressure both ways, the status
 * channel understood, alive behind load balancers, and refused handshakes explained. The first byte of every message is its channel.
 */
import type { IncomingMessage } from 'node:http';
import WebSocket, { type RawData } from 'ws';
import type { Clock, Timer } from '../../clock';
import { AppError } from '../../errors';
import { fromAnswer, fromFault, KubeError } from '../../kube/error';
import type { KubeClient } from '../../kube/client';
import { attachError } from './refusal';
import { readStatus } from './status-channel';
import type { AttachTransport, TransportClosed } from './transport';

const STDIN = 0;
const STDOUT = 1;
const STATUS = 3;

/** The API server takes each WebSocket message as one, and closes without a word above 32 MiB: small frames keep the stream fair. */
const FRAME_MAX = 64 * 1024;
/** Bytes that may wait in the socket before writers wait. */
const HIGH_WATER = 256 * 1024;
/** The API server's own messages are at most 32 KiB; what is longer is not the API server. */
const MESSAGE_MAX = 4 * 1024 * 1024;
/** Bytes kept for a consumer that is not there yet; then the socket is paused. */
const EARLY_MAX = 1024 * 1024;
/** Bytes of a refused handshake's body that are read. */
const REFUSAL_MAX = 64 * 1024;
/** Milliseconds for that body. */
const REFUSAL_MS = 2_000;

/** Load balancers cut idle connections at 300 to 350 s, and the API server does not ping. */
const PING_MS = 20_000;
const PING_JITTER_MS = 5_000;
/** Silence after which the stream counts as dead: no byte and no pong. */
const SILENCE_MS = 60_000;
/** The same where stdin was sent since the last byte: a child that does not read blocks the server's receive loop, and with it the pongs. */
const SILENCE_AFTER_WRITE_MS = 180_000;
/** The server's stream deadline is 4 h and only data frames reset it; an empty message does, and nothing else. */
const REFRESH_MS = 3_600_000;

const CLOSED_MESSAGE = 'The connection to the session is closed.';
const DONE = Promise.resolve();
const EMPTY = Buffer.alloc(0);
/** Whole, binary, uncompressed. */
const FRAME = { binary: true, fin: true, compress: false };

export interface AttachOptions {
  readonly kube: KubeClient;
  readonly clock: Clock;
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
  /** Milliseconds for the handshake, credentials included. */
  readonly timeout: number;
  readonly signal: AbortSignal;
}

/**
 * Opens a stream. Resolves with the HTTP upgrade, which comes before the container runtime's own leg exists.
 *
 * Errors: `BACKEND_ENDED` (container or pod gone), `BACKEND_REFUSED` (no right to attach), `BACKEND_UNAVAILABLE` (all else), or the signal's reason.
 */
export async function openAttach(options: AttachOptions): Promise<AttachTransport> {
  const { kube, clock, namespace, pod, container, signal } = options;
  const deadline = clock.now() + options.timeout;
  const query = new URLSearchParams({ container, stdin: 'true', stdout: 'true', stderr: 'false', tty: 'false' });
  const path = `/api/v1/namespaces/${namespace}/pods/${pod}/attach?${query.toString()}`;
  for (let renewed = false; ; renewed = true) {
    try {
      const access = await kube.access(renewed);
      signal.throwIfAborted();
      const left = Math.max(1, deadline - clock.now());
      const socket = new WebSocket(`${access.server.replace(/^http/, 'ws')}${path}`, ['v5.channel.k8s.io'], {
        headers: { ...access.headers },
        ...(access.agent === undefined ? access.tls : { agent: access.agent }),
        perMessageDeflate: false,
        maxPayload: MESSAGE_MAX,
        skipUTF8Validation: true,
        handshakeTimeout: left,
      });
      return await handshake(socket, signal, clock);
    } catch (thrown) {
      if (signal.aborted) throw signal.reason;
      const error = fromFault(thrown);
      if (error.status === 401 && !renewed) continue;
      throw attachError(error);
    }
  }
}

/** Waits for the upgrade. Rejects with a KubeError; the socket's own errors are never passed on, only their codes. */
function handshake(socket: WebSocket, signal: AbortSignal, clock: Clock): Promise<AttachTransport> {
  return new Promise((resolve, reject) => {
    // Made before the upgrade, so that no message falls between it and the listeners.
    const stream = new AttachStream(socket, clock);
    const settle = (run: () => void): void => {
      signal.removeEventListener('abort', onAbort);
      run();
    };
    const refuse = (error: KubeError): void =>
      settle(() => {
        stream.close();
        reject(error);
      });
    const onAbort = (): void => refuse(fromFault(signal.reason));
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('unexpected-response', (_request, answer: IncomingMessage) => {
      void refusalOf(answer, clock).then(refuse);
    });
    socket.once('error', (error) => refuse(handshakeFault(error)));
    socket.once('open', () => {
      settle(() => {
        stream.start();
        resolve(stream);
      });
    });
  });
}

/** `ws` names its own handshake faults in words that hold nothing private; of all others only the code is kept. */
function handshakeFault(error: Error): KubeError {
  if (/subprotocol/.test(error.message)) {
    return new KubeError(
      0,
      'Protocol',
      'the server does not speak v5.channel.k8s.io: Kubernetes 1.30 or later is needed',
    );
  }
  if (/handshake has timed out/.test(error.message))
    return new KubeError(0, 'Timeout', 'the attach was not answered in time');
  return fromFault(error);
}

/** The Status in the body of a refused handshake. */
async function refusalOf(answer: IncomingMessage, clock: Clock): Promise<KubeError> {
  const timer = clock.after(REFUSAL_MS, () => answer.destroy());
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of answer as AsyncIterable<Buffer>) {
      parts.push(part);
      size += part.length;
      if (size >= REFUSAL_MAX) break;
    }
  } catch {
    // What came so far is all there is.
  }
  timer.cancel();
  answer.destroy();
  return fromAnswer(answer.statusCode ?? 0, Buffer.concat(parts).toString('utf8'), answer.headers['retry-after']);
}

/** Bytes on their way to stdin. */
interface Pending {
  readonly bytes: Buffer;
  offset: number;
  readonly resolve: () => void;
  readonly reject: (error: AppError) => void;
}

class AttachStream implements AttachTransport {
  readonly closed: Promise<TransportClosed>;
  readonly #socket: WebSocket;
  readonly #clock: Clock;
  readonly #timers: Timer[] = [];
  #finish!: (how: TransportClosed) => void;
  #over = false;
  #outcome: TransportClosed | undefined;
  #consumer: ((bytes: Buffer) => void) | undefined;
  #early: Buffer[] = [];
  #earlyBytes = 0;
  #paused = false;
  #queue: Pending[] = [];
  #heardAt = 0;
  #wroteSince = false;
  /** One function for all frames: this is the hot path. */
  readonly #flushed = (): void => {
    if (this.#queue.length > 0) this.#pump();
  };

  constructor(socket: WebSocket, clock: Clock) {
    this.#socket = socket;
    this.#clock = clock;
    this.closed = new Promise((resolve) => (this.#finish = resolve));
    socket.on('message', (data: RawData, binary: boolean) => this.#receive(data, binary));
    socket.on('pong', () => this.#heard());
    socket.on('ping', () => this.#heard());
    // An error is always followed by 'close'; the listener keeps it from being thrown.
    socket.on('error', (error) => (this.#outcome ??= { kind: 'broken', detail: fromFault(error).message }));
    socket.on('close', (code) => this.#end({ kind: 'broken', detail: `the stream was closed with code ${code}` }));
  }

  /** Begins to look after a stream that is open. */
  start(): void {
    this.#heard();
    this.#timers.push(
      this.#clock.every(PING_MS + Math.random() * PING_JITTER_MS, () => this.#ping()),
      this.#clock.every(REFRESH_MS, () => this.#socket.send(EMPTY, FRAME)),
    );
  }

  write(bytes: Buffer): Promise<void> {
    if (this.#over || this.#socket.readyState !== WebSocket.OPEN) {
      return Promise.reject(new AppError('LINK_CLOSED', CLOSED_MESSAGE));
    }
    if (bytes.length === 0) return DONE;
    if (this.#queue.length === 0 && bytes.length < FRAME_MAX && this.#socket.bufferedAmount < HIGH_WATER) {
      this.#send(bytes);
      return DONE;
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ bytes, offset: 0, resolve, reject });
      this.#pump();
    });
  }

  onData(consumer: (bytes: Buffer) => void): void {
    this.#consumer = consumer;
    const early = this.#early;
    this.#early = [];
    this.#earlyBytes = 0;
    for (const bytes of early) consumer(bytes);
    if (!this.#paused) this.#socket.resume();
  }

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#heard();
    this.#socket.resume();
  }

  close(): void {
    this.#end({ kind: 'broken', detail: 'closed by this side' });
    this.#socket.terminate();
  }

  #receive(data: RawData, binary: boolean): void {
    this.#heard();
    if (this.#over || !binary) return;
    const message = Array.isArray(data) ? Buffer.concat(data) : Buffer.isBuffer(data) ? data : Buffer.from(data);
    if (message.length < 2) return;
    switch (message[0]) {
      case STDOUT:
        this.#deliver(message.subarray(1));
        return;
      case STATUS:
        this.#outcome = readStatus(message.subarray(1).toString('utf8'));
        // Nothing comes after it. The server closes by itself; where it forgets to, this side does not wait for it.
        this.#socket.close(1000);
        return;
      default: // 2 was not asked for; 255 says that the server closed a channel, and the status that follows says more.
        return;
    }
  }

  #deliver(bytes: Buffer): void {
    if (this.#consumer !== undefined) {
      this.#consumer(bytes);
      return;
    }
    this.#early.push(bytes);
    this.#earlyBytes += bytes.length;
    if (this.#earlyBytes > EARLY_MAX) this.#socket.pause();
  }

  /** Hands frames to the socket while it takes them; a frame that was flushed makes room for the next. */
  #pump(): void {
    while (this.#queue.length > 0 && !this.#over) {
      if (this.#socket.bufferedAmount >= HIGH_WATER) return;
      const head = this.#queue[0];
      const end = Math.min(head.offset + FRAME_MAX - 1, head.bytes.length);
      this.#send(head.bytes.subarray(head.offset, end));
      head.offset = end;
      if (end < head.bytes.length) continue;
      this.#queue.shift();
      head.resolve();
    }
  }

  /** One whole message: a fragmented one would be cut into messages by the server, each with a wrong channel byte. */
  #send(bytes: Buffer): void {
    const frame = Buffer.allocUnsafe(bytes.length + 1);
    frame[0] = STDIN;
    bytes.copy(frame, 1);
    this.#wroteSince = true;
    this.#socket.send(frame, FRAME, this.#flushed);
  }

  #heard(): void {
    this.#heardAt = this.#clock.now();
    this.#wroteSince = false;
  }

  #ping(): void {
    // A paused socket hears nothing by our own doing, and one whose stdin is backed up by the child's.
    const waiting = this.#paused || this.#socket.isPaused || this.#socket.bufferedAmount > 0 || this.#queue.length > 0;
    const limit = this.#wroteSince ? SILENCE_AFTER_WRITE_MS : SILENCE_MS;
    if (waiting) {
      this.#heardAt = Math.max(this.#heardAt, this.#clock.now() - PING_MS);
    } else if (this.#clock.now() - this.#heardAt > limit) {
      this.#outcome = { kind: 'broken', detail: 'nothing was heard for too long' };
      this.#socket.terminate();
      return;
    }
    if (this.#socket.readyState === WebSocket.OPEN && this.#socket.bufferedAmount === 0) this.#socket.ping();
  }

  #end(how: TransportClosed): void {
    if (this.#over) return;
    this.#over = true;
    for (const timer of this.#timers) timer.cancel();
    const queue = this.#queue;
    this.#queue = [];
    for (const pending of queue) pending.reject(new AppError('LINK_CLOSED', CLOSED_MESSAGE));
    this.#finish(this.#outcome ?? how);
  }
}

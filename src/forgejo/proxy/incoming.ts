/** The child's request body as a stream of its own: counted, bounded, and let go of without harm to the connection that it comes on. */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { Clock } from '../../clock';
import { AppError } from '../../errors';
import type { Exchange } from './exchange';

/** A child that is refused may still be sending; this much and this long it is listened to, so that it comes to read the refusal. */
const LINGER_BYTES = 64 * 1024 * 1024;
const LINGER_MS = 10_000;

/**
 * Fails with `BODY_TOO_LARGE` once there are more than `limit` bytes, and with `REQUEST_REFUSED` when the child stops in the middle. Destroying it
 * leaves the request to be read on: what is destroyed here is not the connection, on which the child is still to read its answer.
 */
export class IncomingBody extends Readable {
  constructor(
    private readonly exchange: Exchange,
    private readonly limit: number,
    private readonly moved: () => void,
  ) {
    super({ highWaterMark: 65_536 });
    this.on('error', () => undefined); // whoever reads it sees the error; it may come before anybody does
    const { request } = exchange;
    request.pause();
    request.on('data', this.onData).on('end', this.onEnd).on('error', this.onGone).on('aborted', this.onGone);
  }

  override _read(): void {
    this.exchange.request.resume();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const { request } = this.exchange;
    request.off('data', this.onData).off('end', this.onEnd).off('error', this.onGone).off('aborted', this.onGone);
    request.on('error', () => undefined); // the child's going away is seen by its response
    request.resume();
    done(error);
  }

  private readonly onData = (chunk: Buffer): void => {
    this.exchange.bytesIn += chunk.length;
    this.moved();
    if (this.exchange.bytesIn > this.limit)
      this.destroy(
        new AppError(
          'BODY_TOO_LARGE',
          `The credential proxy refused the request: its body is larger than ${this.limit} bytes.`,
        ),
      );
    else if (!this.push(chunk)) this.exchange.request.pause();
  };

  private readonly onEnd = (): void => {
    this.push(null);
  };

  private readonly onGone = (): void => {
    this.destroy(
      new AppError('REQUEST_REFUSED', 'The credential proxy refused the request: its body ended too early.'),
    );
  };
}

/** Reads and drops the rest of a body, within bounds, and then calls `ended`; beyond them the connection is cut. */
export function linger(request: IncomingMessage, ended: () => void, clock: Clock): void {
  if (request.complete) {
    ended();
    return;
  }
  let left = LINGER_BYTES;
  const timer = clock.after(LINGER_MS, () => request.socket.destroy());
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) request.socket.destroy();
  });
  request.once('end', ended);
  request.once('close', () => timer.cancel());
  request.resume();
}

/** A request's body: read once, bounded, valid UTF-8. */
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { AppError } from '../../errors';

export interface BodyLimits {
  /** Bytes of one body. */
  readonly maxBytes: number;
  /** Bytes of all bodies that are being read or handled at once. */
  readonly maxBytesInFlight: number;
  /** Milliseconds for a body to arrive whole. */
  readonly timeoutMs: number;
}

/** After a refusal the client may still be sending; this much and this long is read and thrown away, so that it sees the answer. */
const LINGER_MS = 2_000;

/** Reads bodies and keeps count of what all of them hold together. */
export class BodyReader {
  readonly #limits: BodyLimits;
  #inFlight = 0;

  constructor(limits: BodyLimits) {
    this.#limits = limits;
  }

  /** Bytes now held. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * Reads the body whole.
   *
   * @param maxBytes where less than for all others is enough.
   * @returns the text, and what to call once when it is no longer held.
   * @throws AppError `BODY_TOO_LARGE` (RFC 9110, 15.5.14), `OVERLOADED` when all bodies together are too many, `PARSE` when it is not
   * UTF-8 (RFC 8259, 8.1), `INVALID_REQUEST` when it was cut off or did not arrive in time.
   */
  async read(
    req: IncomingMessage,
    res: ServerResponse,
    maxBytes = this.#limits.maxBytes,
  ): Promise<{ text: string; bytes: Buffer; release: () => void }> {
    const declared = Number(req.headers['content-length'] ?? 0);
    if (declared > maxBytes) throw this.#refuse(req, res, tooLarge(maxBytes));
    let held = 0;
    const hold = (bytes: number): AppError | undefined => {
      held += bytes;
      this.#inFlight += bytes;
      if (held > maxBytes) return this.#refuse(req, res, tooLarge(maxBytes));
      if (this.#inFlight > this.#limits.maxBytesInFlight) {
        return this.#refuse(
          req,
          res,
          new AppError('OVERLOADED', 'The gateway is busy with other large messages. Try again in a few seconds.', {
            retryAfter: 2,
          }),
        );
      }
      return undefined;
    };
    const release = (): void => {
      this.#inFlight -= held;
      held = 0;
    };
    try {
      const bytes = await collect(req, this.#limits.timeoutMs, hold);
      if (!isUtf8(bytes)) throw new AppError('PARSE', 'The body is not valid UTF-8. Send JSON in UTF-8.');
      return { text: bytes.toString('utf8'), bytes, release };
    } catch (thrown) {
      release();
      throw thrown;
    }
  }

  /** Lets the client finish a little, so that it reads the refusal instead of a reset connection (RFC 9112, 9.6). */
  #refuse(req: IncomingMessage, res: ServerResponse, error: AppError): AppError {
    res.setHeader('Connection', 'close');
    let left = this.#limits.maxBytes;
    const cut = (): void => void req.socket.destroy();
    const timer = setTimeout(cut, LINGER_MS).unref();
    req.on('data', (chunk: Buffer) => {
      left -= chunk.length;
      if (left < 0) cut();
    });
    req.once('close', () => clearTimeout(timer));
    req.resume();
    return error;
  }
}

function collect(
  req: IncomingMessage,
  timeoutMs: number,
  hold: (bytes: number) => AppError | undefined,
): Promise<Buffer> {
  return new Promise<Buffer>((resolve, reject) => {
    const chunks: Buffer[] = [];
    const timer = setTimeout(() => {
      finish();
      reject(new AppError('INVALID_REQUEST', 'The body did not arrive in time. Send it again.'));
    }, timeoutMs).unref();
    const finish = (): void => {
      clearTimeout(timer);
      req.off('data', onData);
      req.off('end', onEnd);
      req.off('close', onClose);
    };
    const onData = (chunk: Buffer): void => {
      const refused = hold(chunk.length);
      if (refused === undefined) {
        chunks.push(chunk);
        return;
      }
      finish();
      reject(refused);
    };
    const onEnd = (): void => {
      finish();
      const [only] = chunks;
      resolve(chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks));
    };
    const onClose = (): void => {
      finish();
      reject(new AppError('INVALID_REQUEST', 'The body was cut off. Send it again.'));
    };
    req.on('data', onData);
    req.on('end', onEnd);
    req.on('close', onClose);
  });
}

function tooLarge(maxBytes: number): AppError {
  return new AppError('BODY_TOO_LARGE', `The message is larger than ${String(maxBytes)} bytes. Send less at once.`);
}

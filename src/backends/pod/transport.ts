/** One attach stream to a pod's container, as the sealed link sees it. It may break at any byte; the link above repairs that. */
import { AppError } from '../../errors';

/** Why an attach stream is over. `detail` is private and never holds a secret. */
export interface TransportClosed {
  /** `ended`: the container has finished (status channel said so); `broken`: the stream was cut and the container may live on. */
  readonly kind: 'ended' | 'broken';
  readonly detail: string;
}

export interface AttachTransport {
  /** Sends bytes to the container's stdin; resolves when more can be taken. Rejects with `LINK_CLOSED` once the stream is over. */
  write(bytes: Buffer): Promise<void>;
  /** Sets the one consumer of the container's stdout; bytes that came before are handed over at once. */
  onData(consumer: (bytes: Buffer) => void): void;
  pause(): void;
  resume(): void;
  /** Resolves exactly once when the stream is over; never rejects. */
  readonly closed: Promise<TransportClosed>;
  /** Cuts the stream at once. */
  close(): void;
}

/** The way to all containers is closed at the moment: it says nothing of this one. `BACKEND_UNAVAILABLE`. */
export class OutageError extends AppError {
  constructor({ message, detail, cause, retryAfter }: AppError) {
    super('BACKEND_UNAVAILABLE', message, {
      ...(detail === undefined ? {} : { detail }),
      ...(retryAfter === undefined ? {} : { retryAfter }),
      cause,
    });
  }
}

/** Opens a new attach stream to the same container. Rejects with an AppError; `BACKEND_ENDED` means that the container is gone. */
export type Connect = (signal: AbortSignal) => Promise<AttachTransport>;

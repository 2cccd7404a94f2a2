/** The open connections of the transport of 2024-11-05 (MCP 2024-11-05, 'HTTP with SSE'): one stream each, and the session that lives on it. */
import { randomBytes } from 'node:crypto';
import type { AuthContext, UserRef } from '../../auth/context';
import type { MessageSink } from '../../bridge/contract';
import type { ServerSpec } from '../../config/server';
import { AppError } from '../../errors';
import type { Admitted } from './routes';

export interface SseLimits {
  /** Connections of one user at once. */
  readonly maxPerUser: number;
  /** Connections at once. */
  readonly maxTotal: number;
  /** Milliseconds for a session to be opened on a connection. */
  readonly initializeMs: number;
}

/** One connection. */
export interface SseConnection {
  /** 192 random bits in 48 hex digits. It finds the connection and proves nothing, but is a secret like a session's id. */
  readonly id: string;
  readonly user: UserRef;
  readonly server: ServerSpec;
  readonly sink: MessageSink & { end(): void };
  /** Aborts when the stream is closed. */
  readonly gone: AbortSignal;
  /** The session on it: `opening` until its `initialize` was answered well, and then its id. */
  session: 'none' | 'opening' | { readonly id: string };
  /** Who used it last; ending the session is done in this one's name. */
  auth: AuthContext;
  /** Told of the session's name, for the log. */
  opened(name: string): void;
}

/** Seconds after which a client that was one too many may try again. */
const RETRY_AFTER = 10;

const BYTES = 24;
const FORM = /^[0-9a-f]{48}$/;

/** The table of connections, bounded. */
export class SseConnections {
  readonly limits: SseLimits;
  readonly #open = new Map<string, SseConnection>();
  readonly #users = new Map<string, number>();

  constructor(limits: SseLimits) {
    this.limits = limits;
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * Adds a connection until `gone` aborts.
   * @throws AppError `OVERLOADED` when there are too many, of this user or in all.
   */
  add(exchange: Admitted, sink: SseConnection['sink'], gone: AbortSignal): SseConnection {
    const { auth, server } = exchange;
    const key = `${auth.user.issuer}\n${auth.user.id}`;
    const ofUser = this.#users.get(key) ?? 0;
    if (ofUser >= this.limits.maxPerUser || this.#open.size >= this.limits.maxTotal) {
      throw new AppError('OVERLOADED', 'Too many connections of this kind are open. Close one, or try again later.', {
        retryAfter: RETRY_AFTER,
      });
    }
    const connection: SseConnection = {
      id: randomBytes(BYTES).toString('hex'),
      user: auth.user,
      server,
      sink,
      gone,
      session: 'none',
      auth,
      opened: (name) => {
        exchange.session = name;
      },
    };
    this.#open.set(connection.id, connection);
    this.#users.set(key, ofUser + 1);
    const remove = (): void => {
      this.#open.delete(connection.id);
      const left = (this.#users.get(key) ?? 1) - 1;
      if (left > 0) this.#users.set(key, left);
      else this.#users.delete(key);
    };
    if (gone.aborted) remove();
    else gone.addEventListener('abort', remove, { once: true });
    return connection;
  }

  /**
   * Finds the connection that a message is for, and checks that it is its user's.
   * @throws AppError `SESSION_ENDED` where there is none (any more), `SESSION_FORBIDDEN` where it is another user's or another server's.
   */
  find(id: string, auth: AuthContext, server: ServerSpec): SseConnection {
    const connection = FORM.test(id) ? this.#open.get(id) : undefined;
    if (connection === undefined) throw ended();
    const { issuer, id: user } = connection.user;
    if (issuer !== auth.user.issuer || user !== auth.user.id || connection.server.name !== server.name) {
      throw new AppError('SESSION_FORBIDDEN', 'This session belongs to someone else. Start a new session.');
    }
    return connection;
  }
}

/** There is no session, or none any more, on a connection. */
export function ended(): AppError {
  return new AppError(
    'SESSION_ENDED',
    'Session not found: there is none on this connection. Connect and initialize again.',
  );
}

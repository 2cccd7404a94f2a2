/**
 * Clients that are known by a URL (draft-ietf-oauth-client-id-metadata-document-02): their documents, fetched, checked, kept.
 *
 * A document is fetched when it is asked for and no fresh one is there, once for everybody who asks meanwhile. The last good one goes on being used while its
 * host is down, for 30 days, because a refresh of a token asks for its client as well. Only what a user has logged in with is written to the
 * store: strangers cannot make it grow.
 */
import type { Clock } from '../../clock';
import { AppError, toAppError } from '../../errors';
import type { Collection } from '../../stores/sealed';
import type { Logger } from '../../telemetry/log';
import { readClientIdUrl } from './client-id-url';
import { type FetchDocument, FetchFailure, type FetchedDocument } from './document-fetch';
import { freshFor, type FreshnessBounds } from './freshness';
import { type ClientMetadata, normaliseClientMetadata } from './metadata';
import { Places } from './places';
import { Rate, type RateOptions } from './rate';
import { Recent } from './recent';
import type { RedirectPolicy } from './redirect-uri';
import { invalidClient, invalidMetadata } from './refusals';

/** A document's client as oidc-provider takes it. */
export type DocumentClient = ClientMetadata & { readonly client_id: string };

/** What is written to the store; the text is read anew each time, because the policy may have changed. Times are wall-clock milliseconds. */
export interface KeptDocument {
  readonly text: string;
  readonly fetchedAt: number;
  readonly freshUntil: number;
}

export interface DocumentOptions {
  readonly fetch: FetchDocument;
  readonly redirects: RedirectPolicy;
  readonly freshness: FreshnessBounds;
  /** How long the last good document is used while its host is down. Milliseconds. */
  readonly keepMs: number;
  /** How long a URL that failed is left alone. Milliseconds. */
  readonly backoffMs: number;
  /** Documents that are remembered in memory. */
  readonly maxDocuments: number;
  /** Requests that run at once. */
  readonly concurrent: { readonly perHost: number; readonly inAll: number };
  readonly perHost: RateOptions;
  readonly inAll: Omit<RateOptions, 'maxKeys'>;
}

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

/** What is right for an installation that faces the Internet. */
export const DOCUMENT_DEFAULTS = {
  freshness: { min: 5 * MINUTE, max: DAY, fallback: 10 * MINUTE },
  keepMs: 30 * DAY,
  backoffMs: 10_000,
  maxDocuments: 500,
  concurrent: { perHost: 4, inAll: 16 },
  perHost: { burst: 10, perMinute: 20, maxKeys: 1000 },
  inAll: { burst: 30, perMinute: 60 },
} as const satisfies Partial<DocumentOptions>;

interface Known extends KeptDocument {
  readonly client: DocumentClient;
  /** Whether it is in the store. */
  readonly kept: boolean;
}

interface Failed {
  readonly error: AppError;
  readonly until: number;
}

export class ClientDocuments {
  readonly #options: DocumentOptions;
  readonly #store: Collection<KeptDocument>;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #known: Recent<Known>;
  readonly #failed: Recent<Failed>;
  readonly #running = new Map<string, Promise<DocumentClient>>();
  readonly #places: Places;
  readonly #perHost: Rate;
  readonly #inAll: Rate;

  constructor(options: DocumentOptions, store: Collection<KeptDocument>, clock: Clock, log: Logger) {
    this.#options = options;
    this.#store = store;
    this.#clock = clock;
    this.#log = log;
    this.#known = new Recent(options.maxDocuments);
    this.#failed = new Recent(options.maxDocuments);
    this.#places = new Places(options.concurrent.perHost, options.concurrent.inAll);
    this.#perHost = new Rate(options.perHost, clock);
    this.#inAll = new Rate({ ...options.inAll, maxKeys: 1 }, clock);
  }

  /**
   * The client of a URL.
   * @throws AppError `CLIENT_INVALID` (no such client), `CLIENT_METADATA_INVALID` or `CLIENT_REDIRECT_INVALID` (its document is wrong),
   *   `CLIENT_UNAVAILABLE` (cannot tell now; try again). No message tells what an address behind the name answered, or whether anything is there.
   */
  find(clientId: string): Promise<DocumentClient> {
    const running = this.#running.get(clientId);
    if (running !== undefined) return running;
    const flight = this.#find(clientId).finally(() => this.#running.delete(clientId));
    this.#running.set(clientId, flight);
    return flight;
  }

  /** A user has logged in with this client: its document is written to the store, so that it outlives this process and an outage of its host. */
  async keep(clientId: string): Promise<void> {
    const known = this.#known.get(clientId);
    if (known === undefined || known.kept) return;
    if (!(await this.#write(clientId, known))) return;
    // It may have been fetched anew meanwhile.
    this.#known.set(clientId, { ...(this.#known.get(clientId) ?? known), kept: true });
  }

  async #find(clientId: string): Promise<DocumentClient> {
    const url = readClientIdUrl(clientId);
    const remembered = this.#known.get(clientId);
    if (remembered !== undefined && this.#isFresh(remembered)) return remembered.client;
    const failed = this.#failed.get(clientId);
    if (failed !== undefined && this.#clock.now() < failed.until) return this.#stale(remembered, failed.error);
    const leave = this.#places.take(url.hostname);
    if (leave === undefined) return this.#stale(remembered, busy(1));
    try {
      const known = remembered ?? (await this.#stored(clientId, url));
      if (known !== undefined) this.#known.set(clientId, known);
      return known !== undefined && this.#isFresh(known) ? known.client : await this.#fetch(clientId, url, known);
    } finally {
      leave();
    }
  }

  async #fetch(clientId: string, url: URL, known: Known | undefined): Promise<DocumentClient> {
    const wait = this.#admit(url.hostname);
    if (wait > 0) return this.#stale(known, busy(wait));
    try {
      const document = await this.#options.fetch(url);
      // A login may have kept the one before while this one was on its way.
      const kept = (this.#known.get(clientId) ?? known)?.kept ?? false;
      const fresh = this.#read(clientId, url, document, kept);
      this.#known.set(clientId, fresh);
      this.#failed.delete(clientId);
      if (fresh.kept && this.#isWorthWriting(fresh, known)) await this.#write(clientId, fresh);
      return fresh.client;
    } catch (thrown) {
      return this.#fail(clientId, url, known, thrown);
    }
  }

  /** Takes from both buckets or from none. Resolves with the seconds to wait. */
  #admit(host: string): number {
    const wait = this.#perHost.take(host);
    if (wait > 0) return wait;
    const all = this.#inAll.take('');
    if (all > 0) this.#perHost.giveBack(host);
    return all;
  }

  async #fail(clientId: string, url: URL, known: Known | undefined, thrown: unknown): Promise<DocumentClient> {
    const kind = thrown instanceof FetchFailure ? thrown.kind : 'malformed';
    const error = thrown instanceof FetchFailure ? refusal(thrown, this.#options.backoffMs) : toAppError(thrown);
    this.#failed.set(clientId, { error, until: this.#clock.now() + this.#options.backoffMs });
    this.#log.info('client.document.failed', {
      document: `${url.origin}${url.pathname}`,
      kind,
      reason: error.detail ?? error.message,
    });
    if (kind === 'unreachable' || kind === 'refused') return this.#stale(known, error);
    // The host is up and says that the client is no more, or is another: what it said before does not count any longer.
    this.#known.delete(clientId);
    if (known !== undefined) await this.#forget(clientId);
    throw error;
  }

  /** The last good document while it may be used; else the error. */
  #stale(known: Known | undefined, error: AppError): DocumentClient {
    if (known === undefined || this.#clock.wall() >= known.fetchedAt + this.#options.keepMs) throw error;
    return known.client;
  }

  #isFresh(known: Known): boolean {
    return this.#clock.wall() < known.freshUntil;
  }

  #read(clientId: string, url: URL, { text, cache }: FetchedDocument, kept: boolean): Known {
    const wall = this.#clock.wall();
    const freshUntil = wall + freshFor(cache, this.#options.freshness, wall);
    return { text, fetchedAt: wall, freshUntil, kept, client: this.#client(clientId, url, text) };
  }

  /** The draft, 4: JSON, and the client id in it is the URL, byte for byte. */
  #client(clientId: string, url: URL, text: string): DocumentClient {
    let document: unknown;
    try {
      document = JSON.parse(text);
    } catch (error) {
      throw invalidMetadata('The client metadata document is not JSON.', { cause: error });
    }
    const metadata = normaliseClientMetadata(document, { kind: 'document', url: url.href }, this.#options.redirects);
    if ((document as { client_id?: unknown }).client_id !== clientId) {
      throw invalidMetadata('The client_id in the client metadata document is not the URL of the document.');
    }
    return { client_id: clientId, ...metadata };
  }

  async #stored(clientId: string, url: URL): Promise<Known | undefined> {
    try {
      const item = await this.#store.get(clientId);
      if (item === undefined) return undefined;
      return { ...item.value, kept: true, client: this.#client(clientId, url, item.value.text) };
    } catch (thrown) {
      // The host can still be asked; and what the policy takes no more is as good as not there.
      this.#log.warn('client.document.unread', { reason: detail(thrown) });
      return undefined;
    }
  }

  /** An unchanged document is written once a day, which is often enough to keep it for its 30 days. */
  #isWorthWriting(fresh: Known, before: Known | undefined): boolean {
    return before === undefined || before.text !== fresh.text || fresh.fetchedAt - before.fetchedAt >= DAY;
  }

  /** Resolves with whether it is in the store now. That it is not costs nobody a login. */
  async #write(clientId: string, { text, fetchedAt, freshUntil }: Known): Promise<boolean> {
    const options = { expiresAt: fetchedAt + this.#options.keepMs };
    const value: KeptDocument = { text, fetchedAt, freshUntil };
    try {
      const item = await this.#store.get(clientId);
      if (item === undefined) await this.#store.create(clientId, value, options);
      else if (item.value.fetchedAt < fetchedAt) await this.#store.replace(item, value, options);
      return true;
    } catch (thrown) {
      this.#log.warn('client.document.unwritten', { reason: detail(thrown) });
      return false;
    }
  }

  async #forget(clientId: string): Promise<void> {
    await this.#store.delete(clientId).catch((thrown: unknown) => {
      this.#log.warn('client.document.unwritten', { reason: detail(thrown) });
    });
  }
}

const UNREACHABLE =
  'The client metadata document cannot be fetched now. It must be on a public host and answer directly, without a redirect. Try again in a minute.';

/** The same words for everything that did not answer: see `FailureKind`. */
function refusal(failure: FetchFailure, backoffMs: number): AppError {
  const { message } = failure;
  switch (failure.kind) {
    case 'unreachable':
      return new AppError('CLIENT_UNAVAILABLE', UNREACHABLE, {
        detail: message,
        cause: failure,
        retryAfter: Math.ceil(backoffMs / 1000),
      });
    case 'refused':
      return invalidClient('The host of the client metadata document answered with a redirect or a refusal.', {
        detail: message,
      });
    case 'gone':
      return invalidClient('There is no client metadata document at the URL that is the client id.', {
        detail: message,
      });
    case 'malformed':
      return invalidMetadata(
        'What is at the URL that is the client id is no client metadata document, which is small and JSON.',
        {
          detail: message,
        },
      );
  }
}

function busy(retryAfter: number): AppError {
  return new AppError('CLIENT_UNAVAILABLE', 'Too many clients are being looked up. Try again in a moment.', {
    retryAfter,
  });
}

function detail(thrown: unknown): string {
  const error = toAppError(thrown);
  return error.detail ?? error.message;
}

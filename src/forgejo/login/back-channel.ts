/**
 * The gateway's own requests to a forge for logging in. The forge names its endpoints by its public URL; the gateway reaches it by the one for
 * the API, and goes nowhere else whatever a document says.
 */
import type { Dispatcher } from 'undici';
import type { CustomFetch } from 'openid-client';
import { AppError } from '../../errors';
import { splitBase, upstreamError } from '../forge';

/** Bytes of an answer that are read; a token answer has about 2 KiB, a user less. */
const MAX_ANSWER = 65_536;
const MAX_RETRY_AFTER = 120;

/** Faults before the first byte of a request was sent. */
const NOT_SENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
]);

export interface BackChannelOptions {
  readonly dispatcher: Dispatcher;
  /** The forge's public base URL. */
  readonly url: string;
  /** Its base URL for the gateway. */
  readonly apiUrl: string;
  /** Milliseconds for one request, its answer included. */
  readonly timeoutMs: number;
}

/** What a request is made of; openid-client's own requests are. */
export interface BackRequest {
  readonly method: string;
  readonly headers: Record<string, string>;
  readonly body?: unknown;
  readonly signal?: AbortSignal | undefined;
}

export class BackChannel {
  readonly #options: BackChannelOptions;
  readonly #public: { readonly origin: string; readonly path: string };
  readonly #api: { readonly origin: string; readonly path: string };

  /** Throws `CONFIG_INVALID` for a base URL that is none. */
  constructor(options: BackChannelOptions) {
    this.#options = options;
    this.#public = splitBase(options.url);
    this.#api = splitBase(options.apiUrl);
  }

  /** The public base URL, without a trailing slash. */
  get url(): string {
    return this.#public.origin + this.#public.path;
  }

  /** The base URL of the API, without a trailing slash. */
  get apiUrl(): string {
    return this.#api.origin + this.#api.path;
  }

  /** Whether any of it goes without TLS, which the configuration has allowed then. */
  get insecure(): boolean {
    return this.url.startsWith('http:') || this.apiUrl.startsWith('http:');
  }

  /** For openid-client. */
  readonly fetch: CustomFetch = (url, options) => this.send(url, options);

  /**
   * Sends one request below either base URL. Answers of 400 to 499 are answers; redirects are not followed.
   * Throws `UPSTREAM_TIMEOUT`, `UPSTREAM_UNREACHABLE` (5xx, 429 and no connection) or `UPSTREAM_INVALID`; none of them holds anything that was
   * sent or answered.
   */
  async send(url: string, { method, headers, body, signal }: BackRequest): Promise<Response> {
    const path = this.#path(url);
    const deadline = AbortSignal.timeout(this.#options.timeoutMs);
    try {
      const answer = await this.#options.dispatcher.request({
        origin: this.#api.origin,
        path,
        method: method,
        headers: { ...headers, 'user-agent': 'forgejo-mcp-operator' },
        body: body === undefined || body === null ? null : String(body as string | URLSearchParams),
        signal: signal === undefined ? deadline : AbortSignal.any([deadline, signal]),
      });
      const text = await read(answer.body);
      if (answer.statusCode >= 500 || answer.statusCode === 429) throw away(answer.statusCode, answer.headers);
      if (answer.statusCode >= 300 && answer.statusCode < 400) throw invalid(`status ${answer.statusCode}`);
      const type = answer.headers['content-type'];
      // Nothing else of the head is needed, and a challenge in it would hide the error in the body.
      return new Response(answer.statusCode === 204 ? null : text, {
        status: answer.statusCode,
        headers: typeof type === 'string' ? { 'content-type': type } : {},
      });
    } catch (thrown) {
      throw bare(thrown);
    }
  }

  /** The path below the API's base of a URL below either base. */
  #path(url: string): string {
    const { origin, pathname, search } = new URL(url);
    for (const base of [this.#public, this.#api]) {
      if (origin === base.origin && pathname.startsWith(`${base.path}/`))
        return this.#api.path + pathname.slice(base.path.length) + search;
    }
    throw invalid('it names an endpoint that is not below its own URL');
  }
}

/** Whether this fault came before the first byte was sent, so that a one-time token cannot have been used. */
export function neverSent(error: AppError): boolean {
  const code = error.detail?.split(' ').at(-1);
  return error.code !== 'UPSTREAM_INVALID' && code !== undefined && NOT_SENT.has(code);
}

async function read(body: Dispatcher.ResponseData['body']): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_ANSWER) throw invalid('an answer of more than 64 KiB'); // leaving the loop destroys the body
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function away(status: number, headers: Readonly<Record<string, string | string[] | undefined>>): AppError {
  const seconds = Number(headers['retry-after']);
  return new AppError('UPSTREAM_UNREACHABLE', 'Forgejo cannot answer at the moment. Try again later.', {
    detail: `status ${status}`,
    retryAfter: seconds >= 1 && seconds <= MAX_RETRY_AFTER ? Math.ceil(seconds) : 5,
  });
}

/** An answer that no Forgejo gives. */
export function invalid(detail: string): AppError {
  return new AppError('UPSTREAM_INVALID', 'The forge did not answer as a Forgejo does. Tell your administrator.', {
    detail,
  });
}

/** The same fault without the cause, which belongs to a library and may hold what was sent. */
function bare(thrown: unknown): AppError {
  const { code, message, detail, retryAfter } = upstreamError(thrown);
  return new AppError(code, message, {
    ...(detail === undefined ? {} : { detail }),
    ...(retryAfter === undefined ? {} : { retryAfter }),
  });
}

/** One Kubernetes client for everything: client-node's typed calls over one shared connection pool, each with a deadline. */
import { setTimeout as delay } from 'node:timers/promises';
import {
  ApiException,
  type Configuration,
  CoordinationV1Api,
  CoreV1Api,
  createConfiguration,
  HttpMethod,
  RequestContext,
  ResponseContext,
  ServerConfiguration,
  wrapHttpLibrary,
} from '@kubernetes/client-node';
import { request, type Dispatcher } from 'undici';
import type { Credentials } from './credentials';
import { type Access } from './credentials';
import { faultCode, fromAnswer, fromFault, KubeError } from './error';

/** Milliseconds for a call that names no deadline of its own. */
const CALL_MS = 10_000;
/** Tries after a 429: API priority and fairness refused before anything was done (KEP-1040); and of a read after a fault that may pass. */
const RETRIES = 3;
/** Faults before the first byte of a request was sent. */
const NEVER_SENT = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']);
/** Milliseconds before a call is tried again that got no answer, or a server's own fault; doubled each time. An API server that restarts refuses for a moment. */
const AGAIN_MS = 150;
/** Bytes of an error's body that are read. */
const ERROR_BODY_MAX = 64 * 1024;
/** What we call ourselves in the API server's audit log. */
const USER_AGENT = 'forgejo-mcp-operator';

/** A call's limits. */
export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Milliseconds for the whole call, retries included. */
  readonly timeout?: number;
}

/** A call that client-node has no type for. */
export interface RawCall {
  readonly method: HttpMethod;
  /** Without the server: `/apis/<group>/<version>/...`; its parts are encoded by the caller. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** `application/json` unless set; patches say by it which kind they are (RFC 6902, RFC 7396). */
  readonly contentType?: string;
}

/** Options that client-node's typed calls take as their last parameter. */
type ApiOptions = Partial<Pick<Configuration, 'httpApi'>>;

/** The client. Its errors are {@link KubeError}s, or the signal's reason where the caller aborted. */
export class KubeClient {
  readonly #credentials: Credentials;
  readonly #core: CoreV1Api;
  readonly #coordination: CoordinationV1Api;

  constructor(credentials: Credentials) {
    this.#credentials = credentials;
    // client-node only builds paths and bodies here: authentication, deadlines and transport are in `#send`. The base URL is set there as well,
    // because it may change with the kubeconfig.
    const configuration = createConfiguration({
      baseServer: new ServerConfiguration('http://kubernetes.invalid', {}),
    });
    this.#core = new CoreV1Api(configuration);
    this.#coordination = new CoordinationV1Api(configuration);
  }

  /** Credentials for a connection of one's own. */
  access(renew = false): Promise<Access> {
    return this.#credentials.current(renew);
  }

  /** Makes one typed call of the core API: pass `options` on as its last argument. */
  core<T>(run: (api: CoreV1Api, options: ApiOptions) => Promise<T>, limits: CallOptions = {}): Promise<T> {
    return this.#call((options) => run(this.#core, options), limits);
  }

  /** The same for the coordination API (Leases). */
  coordination<T>(
    run: (api: CoordinationV1Api, options: ApiOptions) => Promise<T>,
    limits: CallOptions = {},
  ): Promise<T> {
    return this.#call((options) => run(this.#coordination, options), limits);
  }

  /** Makes a call of any API, and reads its answer as JSON: it is believed to be a `T`. */
  json<T>({ method, path, query, body, contentType }: RawCall, limits: CallOptions = {}): Promise<T> {
    const search = query === undefined ? '' : `?${new URLSearchParams(query).toString()}`;
    const context = new RequestContext(`http://kubernetes.invalid${path}${search}`, method);
    context.setHeaderParam('Accept', 'application/json');
    if (body !== undefined) {
      context.setHeaderParam('Content-Type', contentType ?? 'application/json');
      context.setBody(JSON.stringify(body));
    }
    return this.#within(limits, async (signal) => {
      const answer = await this.#send(context, signal);
      const text = await answer.body.text();
      if (answer.httpStatusCode >= 400) {
        throw fromAnswer(answer.httpStatusCode, text, answer.headers['retry-after']);
      }
      return JSON.parse(text) as T;
    });
  }

  #call<T>(run: (options: ApiOptions) => Promise<T>, limits: CallOptions): Promise<T> {
    return this.#within(limits, (signal) =>
      run({ httpApi: wrapHttpLibrary({ send: (context) => this.#send(context, signal) }) }),
    );
  }

  /** Bounds one call, and makes of whatever it throws an error without secrets. */
  async #within<T>(limits: CallOptions, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const timeout = AbortSignal.timeout(limits.timeout ?? CALL_MS);
    const signal = limits.signal === undefined ? timeout : AbortSignal.any([limits.signal, timeout]);
    try {
      return await run(signal);
    } catch (thrown) {
      if (limits.signal?.aborted === true) throw limits.signal.reason;
      if (timeout.aborted) throw new KubeError(0, 'Timeout', 'the Kubernetes API did not answer in time');
      if (thrown instanceof ApiException) {
        const { code, body, headers } = thrown as ApiException<unknown>;
        throw fromAnswer(code, typeof body === 'string' ? body : JSON.stringify(body ?? null), headers['retry-after']);
      }
      throw fromFault(thrown);
    }
  }

  /**
   * Opens a long answer (a watch) and resolves with its body once the headers are there. The caller owns the body: it must read or destroy it.
   * `timeout` covers the headers only.
   */
  async stream(
    path: string,
    query: Readonly<Record<string, string>>,
    limits: CallOptions = {},
  ): Promise<Dispatcher.ResponseData['body']> {
    const opening = new AbortController();
    const timer = setTimeout(() => opening.abort(), limits.timeout ?? CALL_MS).unref();
    const signal = limits.signal === undefined ? opening.signal : AbortSignal.any([limits.signal, opening.signal]);
    try {
      for (let renewed = false; ; renewed = true) {
        const access = await this.#credentials.current(renewed);
        const answer = await request(`${access.server}${path}?${new URLSearchParams(query).toString()}`, {
          dispatcher: access.dispatcher,
          headers: { ...access.headers, accept: 'application/json', 'user-agent': USER_AGENT },
          signal,
        });
        if (answer.statusCode === 200) return answer.body;
        const text = await limited(answer.body);
        if (answer.statusCode !== 401 || renewed) {
          throw fromAnswer(answer.statusCode, text, header(answer.headers['retry-after']));
        }
      }
    } catch (thrown) {
      if (limits.signal?.aborted === true) throw limits.signal.reason;
      if (opening.signal.aborted) throw new KubeError(0, 'Timeout', 'the Kubernetes API did not answer in time');
      throw fromFault(thrown);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Closes all connections. */
  async close(): Promise<void> {
    await this.#credentials.close();
  }

  /**
   * One typed call's transport: a rotated token (401) is read again once, an overloaded API (429) is asked again when it said so, and after a fault that may
   * pass what does nothing twice: a read, or what was never sent.
   */
  async #send(context: RequestContext, signal: AbortSignal): Promise<ResponseContext> {
    const target = new URL(context.getUrl());
    const body = context.getBody();
    const method = context.getHttpMethod();
    for (let attempt = 0, renew = false, renewed = false; ; attempt++) {
      const access = await this.#credentials.current(renew);
      renew = false;
      const again = attempt < RETRIES;
      const reads = method === HttpMethod.GET;
      const answer = await request(`${access.server}${target.pathname}${target.search}`, {
        dispatcher: access.dispatcher,
        method,
        headers: { ...context.getHeaders(), ...access.headers, 'user-agent': USER_AGENT },
        body: typeof body === 'string' ? body : null,
        signal,
      }).catch((thrown: unknown) => {
        if (!again || signal.aborted || !(reads || NEVER_SENT.has(faultCode(thrown)))) throw thrown;
        return undefined;
      });
      if (answer === undefined || (again && reads && answer.statusCode >= 500)) {
        await answer?.body.dump();
        await delay(AGAIN_MS * 2 ** attempt, undefined, { signal, ref: false });
        continue;
      }
      const wait = Number(header(answer.headers['retry-after']) ?? NaN);
      if (answer.statusCode === 401 && !renewed) {
        renew = renewed = true;
      } else if (answer.statusCode === 429 && attempt < RETRIES && Number.isFinite(wait)) {
        await answer.body.dump();
        // Up to a quarter more, so that a crowd that was refused together does not come back together.
        await delay(wait * 1000 * (1 + Math.random() / 4), undefined, { signal, ref: false });
        continue;
      } else {
        return response(answer);
      }
      await answer.body.dump();
    }
  }
}

function response(answer: Dispatcher.ResponseData): ResponseContext {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(answer.headers)) headers[name] = header(value) ?? '';
  const { body, statusCode } = answer;
  const text = (): Promise<string> => (statusCode < 400 ? body.text() : limited(body));
  return new ResponseContext(statusCode, headers, {
    text,
    binary: async () => Buffer.from(await body.arrayBuffer()),
    stream: () => null,
  });
}

function header(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

/** The start of an error's body; the rest is thrown away. */
async function limited(body: Dispatcher.ResponseData['body']): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of body as AsyncIterable<Buffer>) {
    parts.push(part);
    size += part.length;
    if (size >= ERROR_BODY_MAX) break;
  }
  return Buffer.concat(parts).subarray(0, ERROR_BODY_MAX).toString('utf8');
}

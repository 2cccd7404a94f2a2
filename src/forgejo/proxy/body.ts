/** The request body on its way to the forge: of a known type, within its limit, counted, and in four cases looked into. */
import { addAbortSignal, Readable } from 'node:stream';
import { AppError } from '../../errors';
import { checkReference, type Policy } from '../policy';
import type { BodyCheck, Route } from '../routes/route';
import type { Exchange } from './exchange';
import type { Hold } from './held';
import { IncomingBody } from './incoming';
import type { Mentions } from './mentions';
import { readUpload } from './multipart';
import { failure } from './upstream';

/** What goes upstream. */
export interface Body {
  readonly headers: Readonly<Record<string, string>>;
  readonly stream: Readable | undefined;
}

/** What a restricting policy wants to know of a body. */
export interface BodyRestriction {
  readonly kind: BodyCheck;
  readonly policy: Policy;
  readonly mentions: Mentions;
  /** Where the bytes are counted while they are held; who made it releases it. */
  readonly hold: Hold;
}

/** Longest body that is looked into under a restricting policy. */
const MAX_CHECKED = 4 * 1024 * 1024;

const refuse = (code: 'CONTENT_TYPE' | 'REQUEST_REFUSED' | 'BODY_TOO_LARGE', what: string): never => {
  throw new AppError(code, `The credential proxy refused the request: ${what}.`);
};

/** The one media type that goes upstream for what the child named; parameters are dropped, for forges look for words in them. */
function mediaType(route: Route, header: string | undefined): string {
  const type = (header ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  if (type === 'application/json' || type === 'text/json') return 'application/json';
  if (type === 'multipart/form-data') {
    if (route.upload === true) return type;
    return refuse('CONTENT_TYPE', 'forms are taken by upload routes only; send JSON');
  }
  if (type === 'application/octet-stream' && route.binary === true) return type;
  if (type === 'text/plain' && route.text === true) return type;
  return refuse('CONTENT_TYPE', `"${route.method} ${route.path}" takes application/json here`);
}

/** The body whole. A child that stops in the middle does not hold what it has sent for longer than the request's deadline. */
async function readWhole(exchange: Exchange, stream: Readable, hold: Hold): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  addAbortSignal(exchange.abort.signal, stream);
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > MAX_CHECKED) refuse('BODY_TOO_LARGE', 'its body is too long to be checked against the policy');
      hold.add(chunk.length);
      chunks.push(chunk);
    }
  } catch (thrown) {
    throw thrown instanceof AppError ? thrown : failure(exchange, thrown);
  }
  return Buffer.concat(chunks);
}

/** A body as one JSON object. */
function objectOf(body: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    return refuse('REQUEST_REFUSED', 'its body is not valid JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return refuse('REQUEST_REFUSED', 'its body is not a JSON object');
  return value as Record<string, unknown>;
}

/** Go matches member names without case, and under Unicode folding these two letters too (encoding/json, `foldName`). */
const folded = (key: string): string => key.replaceAll('\u017f', 's').replaceAll('\u212a', 'k').toLowerCase();

/** The value of the member that the forge would read under `name`; a name in two spellings is refused. */
function member(object: Record<string, unknown>, name: string): unknown {
  const keys = Object.keys(object).filter((key) => folded(key) === name);
  if (keys.length > 1) refuse('REQUEST_REFUSED', `its body names "${name}" twice`);
  return keys[0] === undefined ? undefined : object[keys[0]];
}

/** Throws `POLICY_REFUSED` where the body reaches for a repository that the policy does not cover. */
export function checkBody(kind: BodyCheck, policy: Policy, mentions: Mentions, object: Record<string, unknown>): void {
  const deny = (message: string): never => {
    throw new AppError('POLICY_REFUSED', message, { detail: 'reference' });
  };
  switch (kind) {
    case 'pull': {
      for (const name of ['head', 'base']) {
        const value = member(object, name);
        if (typeof value === 'string') checkReference(policy, value, `"${name}"`);
      }
      mentions.check(policy, object);
      return;
    }
    case 'text':
      mentions.check(policy, object);
      return;
    case 'issue': {
      const owner = member(object, 'owner');
      const name = member(object, 'repo');
      if (owner === undefined && name === undefined) return;
      if (typeof owner !== 'string' || typeof name !== 'string')
        return deny('Name both "owner" and "repo", or neither.');
      if (owner === '' && name === '') return;
      if (!policy.repository(owner, name))
        deny("This session's policy does not cover the repository of the other issue.");
      return;
    }
    case 'settings': {
      if (member(object, 'private') === false || member(object, 'internal') !== undefined)
        deny("This session's policy does not allow to change who can see a repository.");
      if (member(object, 'name') !== undefined) deny("This session's policy does not allow to rename a repository.");
      return;
    }
  }
}

/**
 * Prepares the body for `route`. Under a restricting policy `check` names what is looked for in it; then it is read whole and written anew, so that
 * the forge sees what was checked. `moved` is called whenever a piece of it came.
 * Throws `REQUEST_REFUSED`, `CONTENT_TYPE`, `BODY_TOO_LARGE`, `OVERLOADED` or `POLICY_REFUSED`; the stream can fail with the first three later.
 */
export async function prepareBody(
  exchange: Exchange,
  route: Route,
  options: {
    readonly limit: number;
    readonly check: BodyRestriction | undefined;
    readonly moved: () => void;
  },
): Promise<Body> {
  const { request } = exchange;
  const length = request.headers['content-length'];
  const empty = request.headers['transfer-encoding'] === undefined && (length === undefined || Number(length) === 0);
  if (empty) {
    // Node adds no length to a DELETE or a bare POST by itself; Go's clients send 0, and so do we.
    return { headers: route.method === 'GET' ? {} : { 'content-length': '0' }, stream: undefined };
  }
  if (route.method === 'GET') refuse('REQUEST_REFUSED', 'a GET has no body');
  const type = mediaType(route, request.headers['content-type']);
  if (length !== undefined && Number(length) > options.limit)
    refuse('BODY_TOO_LARGE', `its body is larger than ${options.limit} bytes`);
  if (exchange.expectsContinue) exchange.response.writeContinue();
  exchange.expectsContinue = false;

  const stream = new IncomingBody(exchange, options.limit, options.moved);
  if (options.check !== undefined) {
    const object = objectOf(await readWhole(exchange, stream, options.check.hold));
    checkBody(options.check.kind, options.check.policy, options.check.mentions, object);
    const text = Buffer.from(JSON.stringify(object));
    return {
      headers: { 'content-type': type, 'content-length': String(text.length) },
      stream: Readable.from([text], { objectMode: false }),
    };
  }
  if (type === 'multipart/form-data') {
    const upload = readUpload(request.headers['content-type'] ?? '', stream);
    return { headers: { 'content-type': upload.contentType }, stream: upload.body };
  }
  return {
    headers: { 'content-type': type, ...(length === undefined ? {} : { 'content-length': length }) },
    stream,
  };
}

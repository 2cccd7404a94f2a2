/** The forge's answer on its way to the child: allow-listed headers, links led back, filtered where the policy restricts, streamed. */
import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AppError } from '../../errors';
import type { Policy } from '../policy';
import type { Filter, Route } from '../routes/route';
import { filterAnswer, MAX_FILTERED_BYTES } from './filter';
import { DownloadLinks, type LinkContext, rewriteLinkHeader, rewriteLocation } from './links';
import type { Answer } from './upstream';

/** What of the forge's headers reaches the child. `Set-Cookie` never does. */
const PASSED = [
  'content-type',
  'content-disposition',
  'content-encoding',
  'content-language',
  'content-range',
  'accept-ranges',
  'cache-control',
  'etag',
  'last-modified',
  'retry-after',
  'x-total-count',
  'x-hasmore',
  'x-page',
  'x-pagecount',
  'x-perpage',
  'x-gitea-object-type',
  'x-forgejo-object-type',
  'x-gitea-warning',
] as const;
/** They count what the policy took out. */
const COUNTS = new Set<string>(['x-total-count', 'x-pagecount', 'etag']);
/** It names an answer that the policy changed. */
const NAMES = new Set<string>(['etag']);
const NONE = new Set<string>();
/** Filters that take out no entry. */
const COUNTED = new Set<Filter>(['pulls', 'pull']);

const single = (value: string | string[] | undefined): string | undefined =>
  Array.isArray(value) ? value.join(', ') : value;

const isJson = (type: string | undefined): boolean => /^application\/(?:[\w.+-]+\+)?json\b/i.test(type ?? '');

function writeHead(
  response: ServerResponse,
  answer: Answer,
  context: LinkContext,
  options: { readonly without: ReadonlySet<string>; readonly untouched: boolean },
): void {
  response.statusCode = answer.status;
  response.setHeader('X-Content-Type-Options', 'nosniff');
  for (const name of PASSED) {
    const value = single(answer.headers[name]);
    if (value !== undefined && !options.without.has(name)) response.setHeader(name, value);
  }
  const length = single(answer.headers['content-length']);
  if (options.untouched && length !== undefined) response.setHeader('Content-Length', length);
  const link = single(answer.headers.link);
  const links = link === undefined ? undefined : rewriteLinkHeader(context, link);
  if (links !== undefined) response.setHeader('Link', links);
  const location = single(answer.headers.location);
  const rewritten = location === undefined ? undefined : rewriteLocation(context, location);
  if (rewritten !== undefined) response.setHeader('Location', rewritten);
}

/** The forge did what it was asked. */
export const isOk = (answer: Answer): boolean => answer.status >= 200 && answer.status < 300;

/** The whole answer as JSON, for what the policy has to be applied to. Throws `UPSTREAM_INVALID` where it is none or too long. */
export async function readJson(answer: Answer): Promise<unknown> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of answer.body as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_FILTERED_BYTES)
      throw new AppError(
        'UPSTREAM_INVALID',
        'The answer is too long for the policy to be applied to it. Ask for a smaller page.',
      );
    chunks.push(chunk);
  }
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8'));
  } catch (cause) {
    throw new AppError('UPSTREAM_INVALID', 'Forgejo did not answer with JSON; the answer is withheld.', { cause });
  }
}

/**
 * Writes the whole answer. Rejects when the forge or the child breaks off; once the head is out the caller can only destroy the response.
 * Throws `POLICY_REFUSED` or `UPSTREAM_INVALID` before the head where the policy cannot let the answer pass.
 */
export async function writeAnswer(
  response: ServerResponse,
  answer: Answer,
  route: Route,
  context: LinkContext,
  restriction: { readonly filter: Filter; readonly policy: Policy } | undefined,
  signal: AbortSignal,
): Promise<void> {
  const type = single(answer.headers['content-type']);
  const plain = answer.headers['content-encoding'] === undefined;
  const bodiless = response.req.method === 'HEAD' || answer.status === 204 || answer.status === 304;
  const filtered = restriction !== undefined && isOk(answer);
  const rewritten = isJson(type) && plain && route.raw !== true;
  let body = answer.body;
  if (filtered && !bodiless) {
    const whole = filterAnswer(restriction.filter, restriction.policy, await readJson(answer));
    body = Readable.from([Buffer.from(JSON.stringify(whole))], { objectMode: false });
  }
  const without = !filtered ? NONE : COUNTED.has(restriction.filter) ? NAMES : COUNTS;
  writeHead(response, answer, context, { without, untouched: !rewritten && !filtered });
  if (bodiless) {
    answer.body.resume();
    response.end();
    return;
  }
  if (rewritten) await pipeline(body, new DownloadLinks(context), response, { signal });
  else await pipeline(body, response, { signal });
}

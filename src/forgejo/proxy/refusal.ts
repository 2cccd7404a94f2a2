/** What the child reads instead of an answer: Forgejo's own error shape, which its clients show to the agent word for word. */
import type { Clock } from '../../clock';
import type { AppError } from '../../errors';
import { markMisdirected } from '../../peers/forwarded';
import type { Exchange } from './exchange';
import { linger } from './incoming';

/** `{ message, url }` with the error's status; `url` is where people read more, where the install names a place. */
export function writeRefusal(
  { request, response, expectsContinue }: Exchange,
  error: AppError,
  helpUrl: string | undefined,
  clock: Clock,
): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  if (error.code === 'MISDIRECTED') markMisdirected(response);
  const text = Buffer.from(JSON.stringify(bodyOf(error, helpUrl)));
  response.statusCode = error.status;
  response.setHeader('Content-Type', 'application/json');
  response.setHeader('Content-Length', text.length);
  response.setHeader('X-Content-Type-Options', 'nosniff');
  if (error.status === 401) response.setHeader('WWW-Authenticate', 'Bearer realm="forgejo-mcp credential proxy"');
  if (error.retryAfter !== undefined) response.setHeader('Retry-After', Math.ceil(error.retryAfter));
  const end = (): void => void response.end(request.method === 'HEAD' ? undefined : text);
  if (request.complete || expectsContinue || request.method === 'HEAD') {
    end();
    return;
  }
  // The whole refusal goes out now; ended it is later, for with its end node may cut a connection that the child is still writing to, and
  // then the child might not come to read it.
  response.write(text);
  linger(request, () => response.end(), clock);
}

/** The place stands in the message of a refusal by policy as well, because clients show the message and leave the rest out. */
function bodyOf(error: AppError, helpUrl: string | undefined): { readonly message: string; readonly url?: string } {
  if (helpUrl === undefined) return { message: error.message };
  const message = error.code === 'POLICY_REFUSED' ? `${error.message} See ${helpUrl}` : error.message;
  return { message, url: helpUrl };
}

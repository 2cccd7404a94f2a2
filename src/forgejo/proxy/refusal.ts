/** What the child reads instead of an answer: Forgejo's own error shape, which its clients show to the agent word for word. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../../clock';
import type { AppError } from '../../errors';

/** A child that is refused may still be sending; this much and this long it is listened to, so that it comes to read the refusal. */
const LINGER_BYTES = 64 * 1024 * 1024;
const LINGER_MS = 10_000;

/** `{ message, url }` with the error's status; `url` is where people read more, where the install names a place. */
export function writeRefusal(
  request: IncomingMessage,
  response: ServerResponse,
  error: AppError,
  helpUrl: string | undefined,
  clock: Clock,
): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  for (const name of response.getHeaderNames()) response.removeHeader(name);
  const text = Buffer.from(
    JSON.stringify({ message: error.message, ...(helpUrl === undefined ? {} : { url: helpUrl }) }),
  );
  response.statusCode = error.status;
  response.setHeader('Content-Type', 'application/json');
  response.setHeader('Content-Length', text.length);
  response.setHeader('X-Content-Type-Options', 'nosniff');
  if (error.status === 401) response.setHeader('WWW-Authenticate', 'Bearer realm="forgejo-mcp credential proxy"');
  if (error.retryAfter !== undefined) response.setHeader('Retry-After', Math.ceil(error.retryAfter));
  // No `Connection: close` here: node would cut the connection with the last byte of the refusal, before the child has come to read it.
  if (!request.complete) linger(request, clock);
  response.end(request.method === 'HEAD' ? undefined : text);
}

/** Reads and drops the rest of a body, within bounds; then the connection is cut. */
function linger(request: IncomingMessage, clock: Clock): void {
  let left = LINGER_BYTES;
  const timer = clock.after(LINGER_MS, () => request.socket.destroy());
  request.on('data', (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) request.socket.destroy();
  });
  request.once('close', () => timer.cancel());
}

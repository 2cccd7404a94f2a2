/** GET: a stream for what belongs to no call, or the rest of any stream (MCP 2025-11-25, 'Listening for Messages from the Server'). */
import type { SessionHandle } from '../../sessions/ports';
import type { Handler, Incoming, Outgoing } from '../handler';
import { wherever } from './elsewhere';
import { checkGetAccept, checkProtocolVersion, lastEventIdOf, sessionIdOf } from './headers';
import { admittedOf, type Admitted, type McpOptions } from './routes';
import type { ReplayStream } from './replay';
import type { SessionStreams } from './session-streams';
import { isSseGet, sseGet } from './sse';
import { EventStream } from './stream';

/**
 * Serves GET. Several streams of one session may be open; the newest one gets the messages. The stream ends with its session.
 * Headers go out only when the session was found, so that a refusal is a status.
 *
 * With `Last-Event-ID` it is the stream of that event that goes on. 204 where nothing of it is left: a client that had its answer and asks all the
 * same must not come back (WHATWG HTML, 9.2.3). A GET stream that is not kept any more is begun anew, and its client told of the loss.
 */
export function get(options: McpOptions): Handler {
  const sse = sseGet(options);
  return async (req, res, next) => {
    if (isSseGet(req)) {
      await sse(req, res, next);
      return;
    }
    const exchange = admittedOf(res);
    checkGetAccept(req);
    checkProtocolVersion(req);
    await wherever(options, { req, res, exchange }, async () => {
      const handle = await options.sessions.use(exchange.auth, exchange.server, sessionIdOf(req));
      try {
        exchange.session = handle.name;
        await serve(options, exchange, req, res, handle);
      } finally {
        handle.release(); // a GET stream is no activity
      }
    });
  };
}

async function serve(
  options: McpOptions,
  exchange: Admitted,
  req: Incoming,
  res: Outgoing,
  handle: SessionHandle,
): Promise<void> {
  const streams = options.kept.of(handle);
  const eventId = lastEventIdOf(req);
  const former = eventId === undefined ? undefined : streams.former(eventId);
  if (former !== undefined && (await goOn(options, res, handle, streams, former))) return;
  const place = eventId === undefined ? undefined : streams.find(eventId);
  if (place?.stream.hasBehind(place.last) === false) {
    res.writeHead(204).end();
    return;
  }
  const out = new EventStream(res, options.streams);
  if (place !== undefined) {
    if (place.stream.kind === 'get') await listen(options, exchange, handle, streams, place.stream);
    place.stream.attach(out, place.last);
    return;
  }
  const stream = streams.open(streams.name('g'), 'get');
  try {
    await listen(options, exchange, handle, streams, stream);
  } catch (thrown) {
    streams.giveUp(stream);
    throw thrown;
  }
  streams.takeOver(stream);
  stream.attach(out, undefined);
  if (eventId !== undefined) stream.tellLoss();
}

/**
 * Goes on with the stream of a call that the session's holder before began: its child was taken over, and may still answer. False where it will not. The stream ends
 * with its answer; where none comes, the client is told so when it asks again.
 */
async function goOn(
  options: McpOptions,
  res: Outgoing,
  handle: SessionHandle,
  streams: SessionStreams,
  { name, last }: { readonly name: string; readonly last: number },
): Promise<boolean> {
  const stream = streams.inherit(name);
  const reclaimed = await handle.reclaim(name, stream);
  if (reclaimed === undefined) {
    streams.giveUp(stream);
    return false;
  }
  stream.attach(new EventStream(res, options.streams), last);
  void reclaimed.answered.then((answered) => (answered ? stream.end() : streams.giveUp(stream)));
  return true;
}

/** From now on the stream gets what belongs to no call, before all older ones. */
async function listen(
  options: McpOptions,
  exchange: Admitted,
  handle: SessionHandle,
  streams: SessionStreams,
  stream: ReplayStream,
): Promise<void> {
  streams.unlisten(stream);
  streams.listens(stream, await options.sessions.listen(exchange.auth, exchange.server, handle.id, stream));
}

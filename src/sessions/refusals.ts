/** Every way in which the registry says no. */
import { AppError } from '../errors';

/** Seconds after which a client may find another gateway, or this one again, that does not stop. */
const DRAIN_RETRY = 5;
/** Seconds after which a server that an administrator paused or drains may be at work again. */
const PAUSE_RETRY = 60;

/** A fault of wiring: a route that asks nobody who they are. Never served. */
export function noAuthContext(): AppError {
  return new AppError(
    'AUTH_CONTEXT_ABSENT',
    'The gateway does not know who you are and serves nothing. Tell your administrator.',
    {
      detail: 'a session was asked for without an authentication context: the route is wired without authentication',
    },
  );
}

export function idMissing(): AppError {
  return new AppError(
    'SESSION_ID_MISSING',
    'The header Mcp-Session-Id is missing. Send the one from the answer to initialize.',
  );
}

/** For an id that was never minted here (RFC 9110, 15.5.11). */
export function unknown(): AppError {
  return new AppError('SESSION_UNKNOWN', 'This session id was not issued here. Start a new session with initialize.');
}

/** MCP 2025-11-25, 'Session Management': the text is what clients look for. */
export function ended(cause?: unknown): AppError {
  return new AppError('SESSION_ENDED', 'Session not found', cause === undefined ? {} : { cause });
}

export function forbidden(): AppError {
  return new AppError(
    'SESSION_FORBIDDEN',
    'This session belongs to another login. Start a session of your own with initialize.',
  );
}

/** RFC 6750, 3.1. The HTTP layer adds the challenge. */
export function tokenNarrower(): AppError {
  return new AppError(
    'AUTH_SCOPE',
    'This session may do more than this access token. Send the newest token, or have your client ask for the same permissions again.',
  );
}

export function draining(): AppError {
  return new AppError('DRAINING', 'The gateway is stopping. Try again in a few seconds.', { retryAfter: DRAIN_RETRY });
}

export function paused(): AppError {
  return new AppError(
    'SERVER_PAUSED',
    'This server takes no new sessions just now: an administrator has paused it. Try again later.',
    { retryAfter: PAUSE_RETRY },
  );
}

/** As for one that is paused; its sessions end besides. */
export function serverDraining(): AppError {
  return new AppError(
    'SERVER_DRAINING',
    'This server takes no sessions just now: an administrator is emptying it. Try again later.',
    { retryAfter: PAUSE_RETRY },
  );
}

/** Another process has a session that just slept. */
export function takenElsewhere(): AppError {
  return new AppError(
    'STORE_UNAVAILABLE',
    'Another gateway takes this session over at this very moment. Try again in a second.',
    { retryAfter: 1 },
  );
}

/** The session turned out to be another process's by now, or to have ended elsewhere. Whoever asks again is told which. */
export function moved(): AppError {
  return new AppError('STORE_UNAVAILABLE', 'The session has moved to another gateway. Try again.', { retryAfter: 1 });
}

export function startDeadline(seconds: number): AppError {
  return new AppError(
    'BACKEND_START_DEADLINE',
    `The server did not start within ${String(Math.round(seconds))} seconds. Try again; if it stays, tell your administrator.`,
    { retryAfter: 10 },
  );
}

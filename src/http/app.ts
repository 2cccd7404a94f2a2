/** The public listener's table of contents. Order matters: name, origin, server, identity, then the endpoint. */
import express, { type Express } from 'express';
import type { Authenticator } from '../auth/authenticator';
import { answerFailures, type FailureOptions } from './failure';
import { beginExchange, type ExchangeOptions } from './exchange';
import { checkHost, checkOrigin, type GuardOptions } from './guard';
import { del } from './mcp/delete';
import { get } from './mcp/get';
import { post } from './mcp/post';
import { authenticate, findServer, methodNotAllowed, type FindServer, type McpOptions } from './mcp/routes';
import { notFound } from './pages';

export interface AppOptions {
  readonly exchange: ExchangeOptions;
  readonly guard: GuardOptions;
  readonly find: FindServer;
  readonly authenticator: Authenticator;
  readonly mcp: McpOptions;
  readonly failure: Omit<FailureOptions, 'challenge'>;
}

/** Paths of an MCP endpoint: the default server's, and every server's by name. */
const ENDPOINTS = ['/mcp', '/servers/:name/mcp'];

/** Builds the express application. It opens no socket and starts no timer. */
export function createApp(options: AppOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', false);

  const admit = [findServer(options.find), authenticate(options.authenticator)];

  app.use(beginExchange(options.exchange));
  app.use(checkHost(options.guard));
  app.use(checkOrigin(options.guard));

  app.head(ENDPOINTS, methodNotAllowed); // express would serve HEAD as GET
  app.post(ENDPOINTS, admit, post(options.mcp));
  app.get(ENDPOINTS, admit, get(options.mcp));
  app.delete(ENDPOINTS, admit, del(options.mcp));
  app.all(ENDPOINTS, methodNotAllowed);

  app.use(notFound);
  app.use(answerFailures({ ...options.failure, challenge: (error) => options.authenticator.challenge(error) }));
  return app;
}

/** The public listener's table of contents. Order matters: name, origin, server, identity, then the endpoint. */
import { Router } from 'express';
import type { RequestListener } from 'node:http';
import type { Authenticator } from '../auth/authenticator';
import { answerFailures, type FailureOptions } from './failure';
import { beginExchange, type ExchangeOptions } from './exchange';
import { checkHost, checkOrigin, type GuardOptions } from './guard';
import { del } from './mcp/delete';
import { get } from './mcp/get';
import { post } from './mcp/post';
import { authenticate, findServer, methodNotAllowed, type FindServer, type McpOptions } from './mcp/routes';
import { notFound } from './pages/not-found';

export interface AppOptions {
  readonly exchange: ExchangeOptions;
  readonly guard: GuardOptions;
  readonly find: FindServer;
  readonly authenticator: Authenticator;
  readonly mcp: Omit<McpOptions, 'authenticator'>;
  readonly failure: Omit<FailureOptions, 'challenge'>;
}

/** Paths of an MCP endpoint: the default server's, and every server's by name. */
const ENDPOINTS = ['/mcp', '/servers/:name/mcp'];

/** Builds the application. It opens no socket and starts no timer. */
export function createApp(options: AppOptions): RequestListener {
  const routes = Router();
  const { authenticator } = options;
  const admit = [findServer(options.find), authenticate(authenticator)];
  const mcp: McpOptions = { ...options.mcp, authenticator };

  routes.use(beginExchange(options.exchange));
  routes.use(checkHost(options.guard));
  routes.use(checkOrigin(options.guard));

  routes.head(ENDPOINTS, methodNotAllowed); // the router would serve HEAD as GET
  routes.post(ENDPOINTS, admit, post(mcp));
  routes.get(ENDPOINTS, admit, get(mcp));
  routes.delete(ENDPOINTS, admit, del(mcp));
  routes.all(ENDPOINTS, methodNotAllowed);

  routes.use(notFound);
  routes.use(
    answerFailures({ ...options.failure, challenge: (error, place) => authenticator.challenge(error, place) }),
  );
  return listener(routes);
}

/** The router's types speak of express' own request and response; it needs Node's only. */
function listener(routes: Router): RequestListener {
  const serve = routes as unknown as (...given: [...Parameters<RequestListener>, (thrown?: unknown) => void]) => void;
  return (req, res) => serve(req, res, () => res.destroy()); // answerFailures answers everything, so this is a defect
}

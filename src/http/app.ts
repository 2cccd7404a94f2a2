/** The public listener's table of contents. Order matters: name, then what any web page may call, origin, server, identity, and the endpoint. */
import { Router } from 'express';
import type { RequestListener } from 'node:http';
import type { Authenticator } from '../auth/authenticator';
import { type CallbackOptions, callback } from './login/callback';
import { showConsent, takeConsent } from './login/consent';
import { finish } from './login/finish';
import type { LoginPages } from './login/pages';
import { type ConnectionsPages, showConnections, takeConnections } from './connections/pages';
import { discovery, type FindDocument } from './oauth/discovery';
import { oauthEndpoints, type OAuthEndpoints } from './oauth/endpoints';
import { homePage, type HomeView } from './pages/home';
import { forPeople, onlyFor, page } from './pages/send';
import { answerFailures, type FailureOptions } from './failure';
import { beginExchange, type ExchangeOptions } from './exchange';
import { checkHost, checkOrigin, type GuardOptions } from './guard';
import { del } from './mcp/delete';
import { get } from './mcp/get';
import { post } from './mcp/post';
import { authenticate, findServer, methodNotAllowed, sseMethodNotAllowed } from './mcp/routes';
import type { FindServer, McpOptions } from './mcp/routes';
import { sseGet, ssePost } from './mcp/sse';
import { notFound } from './pages/not-found';

export interface AppOptions {
  readonly exchange: ExchangeOptions;
  readonly guard: GuardOptions;
  readonly find: FindServer;
  readonly authenticator: Authenticator;
  readonly mcp: Omit<McpOptions, 'authenticator'>;
  readonly failure: Omit<FailureOptions, 'challenge'>;
  /** Logging in through the gateway; absent where clients bring tokens of the forge. */
  readonly login?: LoginOptions;
}

export interface LoginOptions {
  readonly documents: FindDocument;
  readonly endpoints: OAuthEndpoints;
  readonly pages: LoginPages;
  readonly callback: CallbackOptions;
  readonly connections: ConnectionsPages;
  readonly home: HomeView;
}

/** Paths of an MCP endpoint: the default server's, and every server's by name. */
const ENDPOINTS = ['/mcp', '/servers/:name/mcp'];

/** The same for clients that speak the transport of 2024-11-05 only. */
const SSE_ENDPOINTS = ['/sse', '/servers/:name/sse'];

/** Paths of pages for people. */
const HOME = '/';
const CONSENT = '/login/:uid';
const FINISH = '/login/:uid/finish';
const CALLBACK = ['/oauth/callback', '/oauth/callback/:server'];
const CONNECTIONS = '/connections';

/** Builds the application. It opens no socket and starts no timer. */
export function createApp(options: AppOptions): RequestListener {
  const routes = Router();
  const { log } = options.failure;
  const { authenticator } = options;
  const admit = [findServer(options.find), authenticate(authenticator)];
  const mcp: McpOptions = { ...options.mcp, authenticator };

  routes.use(beginExchange(options.exchange));
  routes.use(checkHost(options.guard));
  if (options.login !== undefined) {
    routes.use(discovery(options.login.documents));
    routes.use(oauthEndpoints(options.login.endpoints, log));
  }
  routes.use(checkOrigin(options.guard));

  // Before the pages: nearly every request is for these, and a router asks its routes one by one.
  routes.head(ENDPOINTS, methodNotAllowed); // the router would serve HEAD as GET
  routes.post(ENDPOINTS, admit, post(mcp));
  routes.get(ENDPOINTS, admit, get(mcp));
  routes.delete(ENDPOINTS, admit, del(mcp));
  routes.all(ENDPOINTS, methodNotAllowed);
  routes.head(SSE_ENDPOINTS, sseMethodNotAllowed);
  routes.get(SSE_ENDPOINTS, admit, sseGet(mcp));
  routes.post(SSE_ENDPOINTS, admit, ssePost(mcp));
  routes.all(SSE_ENDPOINTS, sseMethodNotAllowed);

  if (options.login !== undefined) {
    const { callback: back, connections, home, pages: login } = options.login;
    routes.get(
      HOME,
      forPeople,
      page(log, () => Promise.resolve(homePage(home))),
    );
    routes.head([CONSENT, CONNECTIONS], onlyFor('GET, POST')); // the router would serve HEAD as GET
    routes.head([FINISH, ...CALLBACK], onlyFor('GET'));
    routes.get(CONSENT, page(log, showConsent(login)));
    routes.post(CONSENT, page(log, takeConsent(login)));
    routes.get(FINISH, page(log, finish(login)));
    routes.get(CALLBACK, page(log, callback(back)));
    routes.get(CONNECTIONS, page(log, showConnections(connections)));
    routes.post(CONNECTIONS, page(log, takeConnections(connections)));
    routes.all([CONSENT, CONNECTIONS], onlyFor('GET, POST'));
    routes.all([FINISH, ...CALLBACK], onlyFor('GET'));
  }

  routes.use(notFound(log));
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

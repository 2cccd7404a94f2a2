/** The page 'your connections': shown to whoever has just logged in at the forge, and what its forms do. */
import type { Choice, Scope } from '../../auth/context';
import type { Departure } from '../../auth/login/contract';
import type { RunningSession, UserConnection, Visitor } from '../../auth/connections/connections';
import type { ServerSpec } from '../../config/server';
import { AppError } from '../../errors';
import type { Cookies } from '../cookies';
import { exchangeOf } from '../exchange';
import { readForm, staleForm } from '../form';
import { type Incoming, type Outgoing, queryOf } from '../handler';
import { VISITOR_COOKIE } from '../login/callback';
import { leave } from '../login/pages';
import type { BodyReader } from '../mcp/body';
import { type Connection, type ConnectionsAction, connectionsPage, readConnections } from '../pages/connections';
import { CSRF_FIELD } from '../pages/consent';
import { forwardPage } from '../pages/forward';
import type { PageAnswer, PageHandler } from '../pages/send';

/** The connections as this layer sees them. */
export interface ConnectionsStep {
  visitor(cookie: string | undefined): Visitor | undefined;
  depart(server: ServerSpec, late?: boolean): Promise<Departure>;
  formToken(visitor: Visitor): string;
  checkForm(visitor: Visitor, presented: string | undefined): boolean;
  of(visitor: Visitor): Promise<readonly UserConnection[]>;
  change(connection: UserConnection, scopes: readonly Scope[], choice: Choice): Promise<Departure | undefined>;
  revoke(visitor: Visitor, grant: string): Promise<void>;
  end(visitor: Visitor, session: string): Promise<void>;
  disconnect(visitor: Visitor): Promise<void>;
}

export interface ConnectionsPages {
  readonly connections: ConnectionsStep;
  readonly cookies: Cookies;
  readonly bodies: BodyReader;
  readonly origin: string;
  /** A server by its name, or the default one. */
  readonly findServer: (name: string | undefined) => ServerSpec | undefined;
  readonly scopes: readonly Scope[];
  readonly admitAddress: (address: string) => void;
  /** Counts a way to the forge that is to begin. @throws AppError `CLIENT_RATE`. */
  readonly admitDeparture: (address: string) => void;
  /** Seconds for a way to the forge and back. */
  readonly tripLifetime: number;
}

const PATH = '/connections';

/** What a form did, by the word in the address that the browser is sent to after it. */
const NOTICES: ReadonlyMap<string, string> = new Map([
  ['change', 'Saved. It counts from the next call on.'],
  ['revoke', 'The connection is ended, and the sessions that it had.'],
  ['end', 'The session is ended.'],
  ['nothing', 'You had to log in again first, so nothing was changed. Please do it once more.'],
]);
/** What is said in place of the connections once all are ended. */
const DISCONNECTED = 'Everything is disconnected.';

/** Shows the page. A visitor whom nobody knows goes to the forge first. */
export function showConnections(pages: ConnectionsPages): PageHandler {
  return async (req, res) => {
    pages.admitAddress(exchangeOf(res).address);
    const visitor = visitorOf(pages, req);
    if (visitor === undefined) {
      return { location: await depart(pages, req, res, queryOf(req).get('server') ?? undefined) };
    }
    const notice = NOTICES.get(queryOf(req).get('done') ?? '');
    return render(pages, visitor, notice === undefined ? {} : { notice });
  };
}

/** Takes a form of the page. To another site it must not be answered with a redirect: see `pageHeaders`. */
export function takeConnections(pages: ConnectionsPages): PageHandler {
  return async (req, res) => {
    const { connections, bodies, origin } = pages;
    pages.admitAddress(exchangeOf(res).address);
    const form = await readForm(req, res, bodies, origin);
    const visitor = visitorOf(pages, req);
    if (visitor === undefined) return forwardPage(await depart(pages, req, res, undefined, true));
    if (!connections.checkForm(visitor, form.get(CSRF_FIELD) ?? undefined)) throw staleForm();
    const own = await connections.of(visitor);
    return act(pages, visitor, own, readConnections(form, own.map(shownOf(pages))), req, res);
  };
}

async function act(
  pages: ConnectionsPages,
  visitor: Visitor,
  own: readonly UserConnection[],
  action: ConnectionsAction,
  req: Incoming,
  res: Outgoing,
): Promise<PageAnswer> {
  const { connections, cookies } = pages;
  switch (action.do) {
    case 'again':
      return render(pages, visitor, { retry: action.retry });
    case 'change': {
      const connection = own.find(({ grant }) => grant.id === action.grant);
      const departure =
        connection === undefined ? undefined : await connections.change(connection, action.scopes, action.choice);
      if (departure !== undefined) return forwardPage(leave(pages, req, res, departure));
      break;
    }
    case 'end':
      await connections.end(visitor, action.session);
      break;
    case 'revoke':
      await connections.revoke(visitor, action.grant);
      break;
    case 'disconnect':
      await connections.disconnect(visitor);
      cookies.clear(res, VISITOR_COOKIE);
      return connectionsPage(
        { ...(await viewOf(pages, visitor)), connections: [], notice: DISCONNECTED },
        { action: PATH, csrf: '' },
      );
  }
  return { location: `${PATH}?done=${action.do}` };
}

/** Sends somebody whom nobody knows to the forge. Resolves with where that is. */
async function depart(
  pages: ConnectionsPages,
  req: Incoming,
  res: Outgoing,
  name: string | undefined,
  late = false,
): Promise<string> {
  pages.admitDeparture(exchangeOf(res).address);
  const server = pages.findServer(name);
  if (server === undefined) {
    throw new AppError('SERVER_UNKNOWN', 'There is no MCP server of that name. Check the address.');
  }
  return leave(pages, req, res, await pages.connections.depart(server, late));
}

async function render(
  pages: ConnectionsPages,
  visitor: Visitor,
  more: Pick<Parameters<typeof connectionsPage>[0], 'notice' | 'retry'>,
): Promise<PageAnswer> {
  const csrf = pages.connections.formToken(visitor);
  return connectionsPage({ ...(await viewOf(pages, visitor)), ...more }, { action: PATH, csrf });
}

async function viewOf(
  pages: ConnectionsPages,
  visitor: Visitor,
): Promise<{ login: string; forge: string; connections: readonly Connection[] }> {
  const own = await pages.connections.of(visitor);
  return { login: visitor.user.login, forge: visitor.user.issuer, connections: own.map(shownOf(pages)) };
}

function shownOf({ scopes: all }: ConnectionsPages): (connection: UserConnection) => Connection {
  return ({ grant, server, sessions }) => ({
    grant: grant.id,
    client: grant.client,
    server: server.name,
    since: grant.createdAt,
    expiresAt: grant.expiresAt,
    scopes: grant.scopes,
    choice: grant.policy,
    most: { scopes: all, policy: server.policy, forge: server.forgejo.url },
    sessions: sessions.map(({ name, server: of, startedAt }: RunningSession) => ({ name, server: of, startedAt })),
  });
}

function visitorOf({ connections, cookies }: ConnectionsPages, req: Incoming): Visitor | undefined {
  return connections.visitor(cookies.get(req, VISITOR_COOKIE));
}

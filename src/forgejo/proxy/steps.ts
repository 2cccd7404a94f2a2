/** One request, step by step: who, hygiene, which route, may it, the forge's answer. Everything that a step refuses it throws. */
import type { Dispatcher } from 'undici';
import type { Choice } from '../../auth/context';
import type { ServerSpec } from '../../config/server';
import { AppError } from '../../errors';
import type { Capabilities, ProxySession } from '../contract';
import { Forge } from '../forge';
import { CompiledPolicy, decide, type Decision, narrowed, type Policy } from '../policy';
import type { Match, RouteMatcher } from '../routes/match';
import { readTarget, type Target } from '../routes/target';
import { writeAnswer } from './answer';
import { prepareBody } from './body';
import { serveOrSendOn } from './elsewhere';
import type { Exchange } from './exchange';
import type { HeldBodies } from './held';
import { checkRequest } from './hygiene';
import { type LinkContext, type LinkProofs, takeProof } from './links';
import { isListing, readListing } from './listing';
import { Mentions } from './mentions';
import type { CompleteOptions } from './options';
import type { SourceProof } from './source';
import { type Answer, callForge, Deadline, failure } from './upstream';

const VERSION = '/api/v1/version';

/** What all requests share. */
export interface Shared {
  readonly options: CompleteOptions;
  readonly capabilities: Capabilities;
  readonly proofs: LinkProofs;
  readonly source: SourceProof;
  readonly matcher: RouteMatcher;
  readonly held: HeldBodies;
  readonly agent: Dispatcher;
  /** The base URL that children know. */
  base(): string;
}

/** What holds for a session, and its forge. */
interface Known {
  readonly policy: Policy;
  readonly forge: Forge;
  readonly mentions: Mentions;
}

/** Compiled policies and forges, one for each server's spec and each choice as they are now; a changed one is another object. */
export class Servers {
  private readonly known = new WeakMap<ServerSpec, Known>();
  private readonly choices = new WeakMap<Choice, CompiledPolicy>();

  constructor(private readonly shared: Shared) {}

  /** What holds for a session now: its server's policy, narrowed by its user's choice. */
  of({ server, choice }: ProxySession): Known {
    const known = this.ofServer(server);
    return choice === undefined ? known : { ...known, policy: narrowed(known.policy, this.ofChoice(choice)) };
  }

  private ofChoice(choice: Choice): CompiledPolicy {
    const compiled = this.choices.get(choice) ?? new CompiledPolicy(choice);
    this.choices.set(choice, compiled);
    return compiled;
  }

  private ofServer(server: ServerSpec): Known {
    const found = this.known.get(server);
    if (found !== undefined) return found;
    const { agent, options } = this.shared;
    const forge = new Forge(server.forgejo, agent, options.clock, options.timeouts);
    const made = { policy: new CompiledPolicy(server.policy), forge, mentions: new Mentions([forge.web, forge.api]) };
    this.known.set(server, made);
    return made;
  }
}

/** The route of a target, or `ROUTE_REFUSED`. */
function findRoute(matcher: RouteMatcher, method: string, target: Target): Match {
  const match = matcher.match(method, target);
  if (match !== undefined) return match;
  throw new AppError(
    'ROUTE_REFUSED',
    target.path.startsWith('/api/')
      ? `The credential proxy knows no such API route for ${method}, so it does not let it through.`
      : "The credential proxy lets only Forgejo's API and downloads through, not git, LFS or web pages.",
  );
}

function repositoryOf(match: Match): LinkContext['repository'] {
  const { owner, repo } = match.route;
  if (owner === undefined || repo === undefined) return undefined;
  const values = { owner: match.params[owner], name: match.params[repo] };
  return values.owner === undefined || values.name === undefined
    ? undefined
    : { owner: values.owner, name: values.name };
}

/** Answers `GET /version` from the gateway's copy. False where the forge shows it to signed-in users only and there is no copy yet. */
async function answerVersion(exchange: Exchange, forge: Forge): Promise<boolean> {
  const body = await forge.versionBody();
  if (body === undefined) return false;
  exchange.outcome = 'copied';
  exchange.response.setHeader('Content-Type', 'application/json;charset=utf-8');
  exchange.response.setHeader('Content-Length', Buffer.byteLength(body));
  exchange.response.end(exchange.request.method === 'HEAD' ? undefined : body);
  return true;
}

/**
 * Runs one request to the end of its answer, here or at the gateway that has its session. Throws AppErrors before the head is written; after it, whatever
 * broke the stream. Resolves with who answered it.
 * @param enter called once it is known whose it is.
 */
export async function run(
  shared: Shared,
  servers: Servers,
  exchange: Exchange,
  enter: (name: string) => void,
): Promise<'served' | 'sent-on'> {
  const session = await serveOrSendOn(shared, exchange, enter);
  if (session === 'sent-on') return session;
  await serve(shared, servers, exchange, session);
  return 'served';
}

async function serve(shared: Shared, servers: Servers, exchange: Exchange, session: ProxySession): Promise<void> {
  const { request } = exchange;
  const raw = checkRequest(request);
  const method = request.method ?? '';
  const { policy, forge, mentions } = servers.of(session);

  const { query, proof } = takeProof(raw.query);
  const target: Target = { ...raw, query };
  let match = (exchange.match = findRoute(shared.matcher, method, target));
  // Read once here for the grant's scopes and once for the server's policy: the narrower one holds.
  const access = session.access === 'write' && session.server.policy.access === 'write' ? 'write' : 'read';
  let decision: Decision = decide(policy, access, match);
  // A forge takes members of a body that is not there from the query.
  if (decision.body !== undefined && query !== undefined)
    mentions.check(policy, [...new URLSearchParams(query).values()]);
  if (decision.proof === true && !shared.proofs.check(session.name, target.path, proof))
    throw new AppError(
      'POLICY_REFUSED',
      'Under this session\'s policy an attachment can be fetched only by the "browser_download_url" that the API gave for it in this session.',
      { detail: 'reference' },
    );
  if (match.route.path === VERSION && (await answerVersion(exchange, forge))) return;

  const { options } = shared;
  const deadline = new Deadline(options.clock, options.timeouts.firstByte, () =>
    exchange.abort.abort(
      new AppError('UPSTREAM_TIMEOUT', 'Forgejo did not answer in time. Try again later.', { retryAfter: 5 }),
    ),
  );
  const hold = shared.held.open();
  try {
    const body = await prepareBody(exchange, match.route, {
      limit: options.limits.bodyBytes,
      check: decision.body === undefined ? undefined : { kind: decision.body, policy, mentions, hold },
      moved: deadline.moved,
    });
    const permit = (location: string): Target => {
      const next = readTarget(location);
      match = exchange.match = findRoute(shared.matcher, method, next);
      decision = decide(policy, access, match);
      return next;
    };
    const context = { agent: shared.agent, clock: options.clock, timeouts: options.timeouts, tokens: options.tokens };
    const ask = async (page: Target): Promise<Answer> => {
      deadline.moved();
      return callForge(context, exchange, forge, session, page, body, permit);
    };
    const listing = decision.filter !== undefined && isListing(decision.filter) && method === 'GET';
    const answer =
      listing && decision.filter !== undefined
        ? await readListing(decision.filter, policy, forge, target, ask)
        : await ask(target);
    deadline.stop(); // from here on the agent's own time-out between two pieces holds
    exchange.outcome = 'forwarded';
    const links: LinkContext = {
      forge,
      base: shared.base(),
      session: session.name,
      proofs: shared.proofs,
      repository: repositoryOf(match),
    };
    const restriction = decision.filter === undefined || listing ? undefined : { filter: decision.filter, policy };
    try {
      await writeAnswer(exchange.response, answer, match.route, links, restriction, exchange.abort.signal);
    } catch (thrown) {
      answer.body.destroy();
      throw failure(exchange, thrown);
    }
  } finally {
    deadline.stop();
    hold.release();
  }
}

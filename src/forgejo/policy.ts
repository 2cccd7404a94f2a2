/**
 * Decides whether a session may use a route: its class, its owner and its repository (facts of the request's path), under the server's policy.
 * What a path cannot tell (bodies, answers that span owners) comes back as checks for the later steps.
 */
import type { ServerPolicy } from '../config/server';
import { AppError } from '../errors';
import type { Match } from './routes/match';
import { ROUTES } from './routes/route';
import type { BodyCheck, Filter } from './routes/route';

/** What a session may touch. Names are compared without case, as Forgejo does. */
export interface Policy {
  /** Nothing is restricted: every owner and every repository. */
  readonly unrestricted: boolean;
  /** Something of this owner may be touched. */
  owner(owner: string): boolean;
  /** All of this owner's repositories may be touched, those too that are made later. */
  wholeOwner(owner: string): boolean;
  repository(owner: string, name: string): boolean;
  /** The server's administrator opened this route although it is marked `never`. */
  isOpened(method: string, path: string): boolean;
}

/** One policy, made ready for many requests. */
export class CompiledPolicy implements Policy {
  readonly unrestricted: boolean;
  private readonly anyOwner: boolean;
  private readonly anyRepository: boolean;
  private readonly owners: ReadonlySet<string>;
  private readonly repositories: ReadonlySet<string>;
  private readonly opened: ReadonlySet<string>;

  constructor(policy: Pick<ServerPolicy, 'owners' | 'repositories'> & Partial<ServerPolicy>) {
    this.owners = new Set(policy.owners.map((owner) => owner.toLowerCase()));
    this.repositories = new Set(policy.repositories.map((repository) => repository.toLowerCase()));
    this.anyOwner = this.owners.has('*');
    this.anyRepository = this.repositories.has('*') || this.repositories.has('*/*');
    this.unrestricted = this.anyOwner && this.anyRepository;
    this.opened = new Set((policy.insecureAllowRoutes ?? []).map(fullRoute));
  }

  owner(owner: string): boolean {
    return this.anyOwner || this.owners.has(owner.toLowerCase());
  }

  wholeOwner(owner: string): boolean {
    return this.owner(owner) && (this.anyRepository || this.repositories.has(`${owner.toLowerCase()}/*`));
  }

  repository(owner: string, name: string): boolean {
    return this.wholeOwner(owner) || (this.owner(owner) && this.repositories.has(`${owner}/${name}`.toLowerCase()));
  }

  isOpened(method: string, path: string): boolean {
    return this.opened.has(`${method} ${path}`);
  }
}

/**
 * What both the server's policy and the user's choice allow. A choice only ever takes away: routes that the administrator opened stay so, and
 * none is opened by it.
 */
export function narrowed(server: Policy, choice: Policy): Policy {
  return {
    unrestricted: server.unrestricted && choice.unrestricted,
    owner: (owner) => server.owner(owner) && choice.owner(owner),
    wholeOwner: (owner) => server.wholeOwner(owner) && choice.wholeOwner(owner),
    repository: (owner, name) => server.repository(owner, name) && choice.repository(owner, name),
    isOpened: (method, path) => server.isOpened(method, path),
  };
}

/** What later steps still have to check. */
export interface Decision {
  readonly filter?: Filter;
  readonly body?: BodyCheck;
  /** The path carries a link of the proxy's own making, whose proof must hold. */
  readonly proof?: boolean;
}

function fullRoute(route: string): string {
  return route.replace(/^(\S+) +(?=\/)(?!\/api\/)/, '$1 /api/v1');
}

/** The entries of `insecureAllowRoutes` that open nothing, because the table has no such route marked `never`: for the configuration's check. */
export function unknownAllowRoutes(routes: readonly string[]): string[] {
  const never = new Set(
    ROUTES.filter((route) => route.class === 'never').map((route) => `${route.method} ${route.path}`),
  );
  return routes.filter((route) => !never.has(fullRoute(route)));
}

const refuse = (message: string, detail: string): never => {
  throw new AppError('POLICY_REFUSED', message, { detail });
};

/** The owner that a reference such as `owner:branch` or `owner/repo:branch` names; undefined for a plain branch. */
export function foreignOwner(reference: string): { owner: string; repo: string | undefined } | undefined {
  const colon = reference.indexOf(':');
  if (colon === -1) return undefined;
  const [owner = '', repo] = reference.slice(0, colon).split('/');
  return { owner, repo };
}

/** Refuses a reference to a branch of a repository outside the policy. */
export function checkReference(policy: Policy, reference: string, what: string): void {
  const foreign = foreignOwner(reference);
  if (foreign === undefined) return;
  const allowed =
    foreign.repo === undefined ? policy.wholeOwner(foreign.owner) : policy.repository(foreign.owner, foreign.repo);
  if (!allowed)
    refuse(
      `This session's policy does not cover the repository that ${what} names ("${foreign.owner.slice(0, 100)}"). Use a branch of the repository itself.`,
      'reference',
    );
}

/**
 * Decides on one matched request. Throws `POLICY_REFUSED` with a message for the agent; the private detail is the reason's stable name
 * (`never`, `access`, `owner`, `repository`, `wide`, `reference`).
 */
export function decide(policy: Policy, access: 'read' | 'write', match: Match): Decision {
  const { route, params } = match;
  if (route.class === 'never' && !policy.isOpened(route.method, route.path))
    refuse(
      `"${route.method} ${route.path}" is never available to an agent: it concerns credentials, access rights or administration that outlast this session. Do this step yourself in Forgejo's web pages.`,
      'never',
    );
  // An opened route may mint something even with GET, so it needs write access whatever its method.
  if (route.class !== 'read' && access !== 'write')
    refuse(
      `This session may only read, and "${route.method} ${route.path}" writes. Ask the user to allow writing (whoever logged in with Forgejo does it on the page with their connections), or to make the change in Forgejo.`,
      'access',
    );
  if (route.open === true || policy.unrestricted) return {};

  const owner = route.owner === undefined ? undefined : params[route.owner];
  const repo = route.repo === undefined ? undefined : params[route.repo];
  if (owner !== undefined && repo !== undefined && !policy.repository(owner, repo))
    refuse(
      `This session's policy does not cover the repository ${owner}/${repo}. Work in a repository that it covers, or ask the user for a session with a wider policy.`,
      'repository',
    );
  if (owner !== undefined && repo === undefined) {
    if (!policy.owner(owner))
      refuse(
        `This session's policy does not cover the owner ${owner}. Ask the user for a session with a wider policy.`,
        'owner',
      );
    if (route.wholeOwner === true && !policy.wholeOwner(owner))
      refuse(
        `"${route.method} ${route.path}" concerns all repositories of ${owner}, and this session's policy covers only some of them.`,
        'owner',
      );
  }
  // A route opened by name is the administrator's own decision; only where its path names an owner does the policy still bind it.
  if (route.wide === true && route.only === undefined)
    refuse(
      `"${route.method} ${route.path}" reaches beyond the repositories that this session's policy covers. Name a repository that it covers instead.`,
      'wide',
    );
  if (route.param !== undefined)
    for (const part of (params[route.param] ?? '').split(/\.{2,3}/)) checkReference(policy, part, 'the comparison');
  return {
    ...(route.only === undefined ? {} : { filter: route.only }),
    ...(route.body === undefined ? {} : { body: route.body }),
    ...(route.proof === undefined ? {} : { proof: route.proof }),
  };
}

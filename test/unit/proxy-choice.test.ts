/** What a user lets one client touch: only ever less than the server's policy, and as it is now. */
import { expect } from 'chai';
import fc from 'fast-check';
import type { Choice } from '../../src/auth/context';
import type { AppError } from '../../src/errors';
import { CompiledPolicy, decide, narrowed, type Policy } from '../../src/forgejo/policy';
import { RouteMatcher } from '../../src/forgejo/routes/match';
import { ROUTES } from '../../src/forgejo/routes/route';
import { readTarget } from '../../src/forgejo/routes/target';
import { type ProxyFixture, StandInForge, startProxy } from '../support/proxy';

const matcher = new RouteMatcher(ROUTES);
const ALL: Choice = { owners: ['*'], repositories: ['*'] };

const name = fc.constantFrom('acme', 'other', 'ACME', 'third');
const repository = fc.constantFrom('app', 'lib', 'App');
const choice: fc.Arbitrary<Choice> = fc.record({
  owners: fc.array(fc.oneof(name, fc.constant('*')), { maxLength: 3 }),
  repositories: fc.array(
    fc.oneof(
      fc.constant('*'),
      name.map((owner) => `${owner}/*`),
      fc.tuple(name, repository).map(([owner, repo]) => `${owner}/${repo}`),
    ),
    { maxLength: 3 },
  ),
});

/** Why a request is refused, undefined where it is not. */
function refusal(policy: Policy, method: string, path: string): string | undefined {
  try {
    decide(policy, 'write', matcher.match(method, readTarget(path))!);
    return undefined;
  } catch (error) {
    return (error as AppError).detail;
  }
}

describe('the user’s choice', () => {
  it('allows what the server’s policy and the choice both allow, and nothing else', () => {
    fc.assert(
      fc.property(choice, choice, name, repository, (ofServer, ofUser, owner, repo) => {
        const [server, user] = [new CompiledPolicy(ofServer), new CompiledPolicy(ofUser)];
        const both = narrowed(server, user);
        expect(both.owner(owner)).to.equal(server.owner(owner) && user.owner(owner));
        expect(both.wholeOwner(owner)).to.equal(server.wholeOwner(owner) && user.wholeOwner(owner));
        expect(both.repository(owner, repo)).to.equal(server.repository(owner, repo) && user.repository(owner, repo));
        expect(both.unrestricted).to.equal(server.unrestricted && user.unrestricted);
      }),
    );
  });

  it('never lets a route through that the server’s policy or the choice alone refuses', () => {
    const samples = fc.sample(fc.tuple(choice, choice), { numRuns: 20, seed: 7 });
    for (const [ofServer, ofUser] of samples) {
      const [server, user] = [new CompiledPolicy(ofServer), new CompiledPolicy(ofUser)];
      const both = narrowed(server, user);
      for (const route of ROUTES) {
        const path = route.path.replaceAll(/\{([^}]+)\}/g, (_all, at: string) =>
          at === route.owner ? 'acme' : at === route.repo ? 'app' : at === 'diffType' ? 'diff' : `${at}9`,
        );
        if (refusal(both, route.method, path) !== undefined) continue;
        expect(refusal(server, route.method, path), `${route.method} ${path}`).to.equal(undefined);
        expect(refusal(user, route.method, path), `${route.method} ${path}`).to.equal(undefined);
      }
    }
  });

  it('opens no route that is marked never, and leaves those open that the administrator opened', () => {
    const hooks = 'GET /repos/{owner}/{repo}/hooks';
    const server = new CompiledPolicy({ ...ALL, insecureAllowRoutes: [hooks] });
    const path = '/api/v1/repos/acme/app/hooks';
    expect(refusal(narrowed(server, new CompiledPolicy(ALL)), 'GET', path)).to.equal(undefined);
    expect(
      refusal(
        narrowed(new CompiledPolicy(ALL), new CompiledPolicy({ ...ALL, insecureAllowRoutes: [hooks] })),
        'GET',
        path,
      ),
    ).to.equal('never');
  });

  describe('at the credential proxy', () => {
    let forge: StandInForge;
    let fixture: ProxyFixture;

    beforeEach(async () => {
      forge = await new StandInForge().listen();
      fixture = await startProxy({ forgejo: { apiUrl: forge.url }, policy: { owners: ['acme'] } });
    });

    afterEach(async () => {
      await fixture.close();
      await forge.close();
    });

    const status = async (path: string, session: string): Promise<number> =>
      (await fixture.call(path, { session })).status;

    it('answers 403 outside the choice and 200 inside it, and 403 outside the server’s policy whatever was chosen', async () => {
      fixture.addSession('narrow', { choice: { owners: ['acme', 'other'], repositories: ['acme/app', 'other/*'] } });
      expect(await status('/api/v1/repos/acme/app', 'narrow')).to.equal(200);
      expect(await status('/api/v1/repos/acme/lib', 'narrow')).to.equal(403);
      expect(await status('/api/v1/repos/other/app', 'narrow')).to.equal(403);
      expect(await status('/api/v1/repos/acme/lib', 'one')).to.equal(200);
    });

    it('is followed from the next call on when the user changes it, in the same session', async () => {
      const session = fixture.addSession('live', { choice: { owners: ['acme'], repositories: ['acme/app'] } });
      expect(await status('/api/v1/repos/acme/lib', 'live')).to.equal(403);
      fixture.sessions.set('live', { ...session, choice: { owners: ['acme'], repositories: ['acme/*'] } });
      expect(await status('/api/v1/repos/acme/lib', 'live')).to.equal(200);
      fixture.sessions.set('live', { ...session, choice: { owners: [], repositories: [] } });
      expect(await status('/api/v1/repos/acme/app', 'live')).to.equal(403);
    });
  });
});

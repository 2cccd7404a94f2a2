/** The route table: complete, unambiguous, and what of it a policy lets through. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { buildTable, tableText } from '../../scripts/routes/build';
import { parameters, readRule } from '../../scripts/routes/rule';
import type { ServerPolicy } from '../../src/config/server';
import type { AppError } from '../../src/errors';
import { CompiledPolicy, decide, unknownAllowRoutes } from '../../src/forgejo/policy';
import { RouteMatcher } from '../../src/forgejo/routes/match';
import { type Route, ROUTES } from '../../src/forgejo/routes/route';
import { readTarget } from '../../src/forgejo/routes/target';

const matcher = new RouteMatcher(ROUTES);
const OPEN: ServerPolicy = { access: 'write', owners: ['*'], repositories: ['*'], insecureAllowRoutes: [] };
const LIMITED: ServerPolicy = { ...OPEN, owners: ['acme'], repositories: ['acme/app'] };
const policy = (changes: Partial<ServerPolicy> = {}): CompiledPolicy => new CompiledPolicy({ ...OPEN, ...changes });

/** A path of a template with every parameter filled in, owner and repository as given. */
function fill(route: Route, owner: string, repo: string): string {
  return route.path.replaceAll(/\{([^}]+)\}/g, (_all, name: string) =>
    name === route.owner ? owner : name === route.repo ? repo : name === 'diffType' ? 'diff' : `${name}9`,
  );
}

function outcome(rules: CompiledPolicy, access: 'read' | 'write', method: string, path: string): string {
  const match = matcher.match(method, readTarget(path));
  if (match === undefined) return 'unknown';
  try {
    decide(rules, access, match);
    return 'allowed';
  } catch (error) {
    return (error as AppError).detail ?? 'refused';
  }
}

describe('route table', () => {
  it('is what the rules say, written out', () => {
    const described = ROUTES.filter((route) => route.source === undefined).map(
      (route) => `${route.method} ${route.path.replace('/api/v1', '')}`,
    );
    const file = readFileSync(join(__dirname, '../../src/forgejo/routes/table.json'), 'utf8');
    expect(tableText(buildTable(described))).to.equal(file);
  });

  it('cannot be made while a route of the description has no class, or a rule has no route', () => {
    expect(() => buildTable(['GET /new/route'])).to.throw('has no class: GET /api/v1/new/route');
    expect(() => buildTable([])).to.throw('not in the description: GET /api/v1/version');
  });

  it('refuses rules that leave open whose a route is', () => {
    expect(() => readRule('GET /new/route read', '')).to.throw('names no owner');
    expect(() => readRule('GET /new/route maybe', '')).to.throw('unknown class');
    expect(() => readRule('FETCH /new/route read open', '')).to.throw('unknown method');
    expect(() => readRule('GET /x/{owner} read open', '')).to.throw('exclude each other');
    expect(() => readRule('GET /x/{owner} read sometimes', '')).to.throw('unknown option');
  });

  it('finds every route by its own path, and HEAD as GET', () => {
    for (const route of ROUTES) {
      const target = readTarget(fill(route, 'acme', 'app'));
      const found = matcher.match(route.method, target)?.route;
      expect(found, `${route.method} ${route.path}`).to.equal(route);
      if (route.method === 'GET') expect(matcher.match('HEAD', target)?.route).to.equal(route);
    }
  });

  it('gives the values of parameters, decoded once', () => {
    const match = matcher.match('GET', readTarget('/api/v1/repos/acme/app/contents/a%20b/100%25%20%C3%A4.txt?ref=x'));
    expect(match?.params).to.deep.equal({ owner: 'acme', repo: 'app', filepath: 'a b/100% ä.txt' });
    const diff = matcher.match('GET', readTarget('/api/v1/repos/acme/app/pulls/12.patch'));
    expect(diff?.route.path).to.equal('/api/v1/repos/{owner}/{repo}/pulls/{index}.{diffType}');
    expect(diff?.params).to.deep.equal({ owner: 'acme', repo: 'app', index: '12', diffType: 'patch' });
  });

  it('knows no other method, case, prefix or depth', () => {
    for (const [method, path] of [
      ['OPTIONS', '/api/v1/user'],
      ['POST', '/api/v1/user'],
      ['POST', '/api/v1/repos/issues/search'],
      ['GET', '/API/v1/user'],
      ['GET', '/api/v1/User'],
      ['GET', '/api/v1/user/'],
      ['GET', '/api/v1'],
      ['GET', '/'],
      ['GET', '/api/v1/repos/acme/app/unheard-of'],
      ['GET', '/api/v1/repos/acme/app/pulls/12/files/more'],
      ['GET', '/api/v1/repos/acme%2Fapp'],
      ['GET', '/api/v1/repos/%61cme/a%2Fpp/issues'],
      ['GET', '/api/v1/repos/ac%20me/app'],
      ['GET', '/api/v1/repos/acm%C3%A9/app'],
      ['GET', '/api/v1/repos/acme/app/contents/a//b'.replace('//', '/%2F')],
    ] as const) {
      let found: unknown;
      try {
        found = matcher.match(method, readTarget(path));
      } catch (error) {
        expect((error as AppError).code).to.equal('REQUEST_REFUSED');
      }
      expect(found, `${method} ${path}`).to.equal(undefined);
    }
  });

  it('takes an encoded slash only where decoding it does not lead to another route', () => {
    const path = (method: string, rest: string) =>
      matcher.match(method, readTarget(`/api/v1/repos/acme/app/${rest}`))?.route.path.slice(28);
    expect(path('GET', 'branches/feature%2Fx')).to.equal('/branches/{branch}');
    expect(path('GET', 'commits/feature%2Fx/status')).to.equal('/commits/{ref}/status');
    expect(path('GET', 'releases/tags/v1%2F2')).to.equal('/releases/tags/{tag}');
    expect(path('GET', 'hooks%2F1')).to.equal(undefined);
    expect(path('GET', 'releases%2Flatest')).to.equal(undefined);
    expect(path('GET', 'pulls/main/feature%2Fx')).to.equal('/pulls/{base}/{head}');
    expect(path('GET', 'pulls/1%2Fcommits')).to.equal(undefined);
    expect(path('GET', 'wiki/page/a%2Fb')).to.equal('/wiki/page/{pageName}');
    expect(matcher.match('GET', readTarget('/api/v1/packages/acme/npm/%40scope%2Fname'))?.params['name']).to.equal(
      '@scope/name',
    );
    expect(path('DELETE', 'releases/tags/v1%2F2')).to.equal('/releases/tags/{tag}');
    expect(path('GET', 'compare%2Fmain...x')).to.equal(undefined);
  });
});

describe('policy', () => {
  it('lets no write and no never route through for a session that reads', () => {
    for (const route of ROUTES) {
      const expected = route.class === 'read' ? 'allowed' : route.class === 'never' ? 'never' : 'access';
      expect(
        outcome(policy(), 'read', route.method, fill(route, 'acme', 'app')),
        `${route.method} ${route.path}`,
      ).to.equal(expected);
    }
  });

  it('lets no never route through for a session that writes', () => {
    for (const route of ROUTES.filter(({ class: kind }) => kind === 'never'))
      expect(outcome(policy(), 'write', route.method, fill(route, 'acme', 'app'))).to.equal('never');
  });

  it('refuses every route of a repository that it does not cover', () => {
    const limited = new CompiledPolicy(LIMITED);
    const routes = ROUTES.filter((route) => route.repo !== undefined && route.class !== 'never');
    expect(routes.length).to.be.greaterThan(200);
    for (const route of routes)
      for (const [owner, repo] of [
        ['other', 'app'],
        ['acme', 'other'],
        ['acme', 'app.git'],
        ['acme', 'app.wiki'],
      ] as const)
        expect(
          outcome(limited, 'write', route.method, fill(route, owner, repo)),
          `${route.method} ${route.path}`,
        ).to.equal('repository');
  });

  it('refuses every route of an owner that it does not cover, and of all its repositories where it covers some', () => {
    const limited = new CompiledPolicy(LIMITED);
    const routes = ROUTES.filter(
      (route) => route.owner !== undefined && route.repo === undefined && route.class !== 'never',
    );
    expect(routes.length).to.be.greaterThan(30);
    for (const route of routes) {
      expect(outcome(limited, 'write', route.method, fill(route, 'other', 'app')), route.path).to.equal('owner');
      if (route.wholeOwner === true)
        expect(outcome(limited, 'write', route.method, fill(route, 'acme', 'app')), route.path).to.equal('owner');
    }
  });

  it('refuses whatever names neither owner nor repository, unless it is open or can be filtered', () => {
    const limited = new CompiledPolicy(LIMITED);
    for (const route of ROUTES.filter(({ owner, class: kind }) => owner === undefined && kind !== 'never')) {
      const expected = route.open === true || route.only !== undefined ? 'allowed' : 'wide';
      expect(outcome(limited, 'write', route.method, fill(route, '', '')), `${route.method} ${route.path}`).to.equal(
        expected,
      );
    }
  });

  it('opens nothing under a restricting policy but reads of the instance and of accounts', () => {
    for (const route of ROUTES.filter(({ open }) => open === true)) expect(route.class, route.path).to.equal('read');
  });

  it('compares owners and repositories without case and matches whole names', () => {
    const rules = policy({ owners: ['ACME', 'other'], repositories: ['acme/App', 'Other/*'] });
    expect(rules.repository('aCmE', 'aPP')).to.equal(true);
    expect(rules.repository('acme', 'app2')).to.equal(false);
    expect(rules.repository('acm', 'app')).to.equal(false);
    expect(rules.repository('other', 'anything')).to.equal(true);
    expect(rules.wholeOwner('other')).to.equal(true);
    expect(rules.wholeOwner('acme')).to.equal(false);
    expect(rules.unrestricted).to.equal(false);
  });

  it('needs both the owner and the repository', () => {
    const rules = policy({ owners: ['acme'], repositories: ['*'] });
    expect(rules.repository('acme', 'x')).to.equal(true);
    expect(rules.repository('other', 'x')).to.equal(false);
    expect(policy({ owners: ['*'], repositories: ['acme/app'] }).repository('acme', 'other')).to.equal(false);
    expect(policy({ owners: [], repositories: ['*'] }).repository('acme', 'x')).to.equal(false);
    expect(policy({ owners: ['*'], repositories: [] }).repository('acme', 'x')).to.equal(false);
  });

  it('opens single never routes by name, for sessions that write, within its owners and repositories', () => {
    const open = { insecureAllowRoutes: ['GET /repos/{owner}/{repo}/hooks', 'POST /api/v1/user/keys'] };
    const hooks = '/api/v1/repos/acme/app/hooks';
    expect(outcome(policy(open), 'write', 'GET', hooks)).to.equal('allowed');
    expect(outcome(policy(open), 'write', 'POST', '/api/v1/user/keys')).to.equal('allowed');
    expect(outcome(policy(open), 'read', 'GET', hooks)).to.equal('access');
    expect(outcome(policy(open), 'write', 'POST', hooks)).to.equal('never');
    const limited = new CompiledPolicy({ ...LIMITED, ...open });
    expect(outcome(limited, 'write', 'GET', hooks)).to.equal('allowed');
    expect(outcome(limited, 'write', 'GET', '/api/v1/repos/acme/other/hooks')).to.equal('repository');
  });

  it('names the entries that open nothing', () => {
    const entries = ['GET /repos/{owner}/{repo}/hooks', 'GET /repos/{o}/{r}/hooks', 'GET /version', 'nonsense'];
    expect(unknownAllowRoutes(entries)).to.deep.equal(entries.slice(1));
  });

  it('refuses a comparison with a repository that it does not cover', () => {
    const limited = new CompiledPolicy({
      ...LIMITED,
      owners: ['acme', 'friend'],
      repositories: ['acme/app', 'friend/*'],
    });
    const compare = (head: string) => outcome(limited, 'read', 'GET', `/api/v1/repos/acme/app/compare/${head}`);
    expect(compare('main...feature/x')).to.equal('allowed');
    expect(compare('v1.0..v1.1')).to.equal('allowed');
    expect(compare('main...friend:main')).to.equal('allowed');
    expect(compare('main...other:main')).to.equal('reference');
    expect(compare('main..other%3Amain')).to.equal('reference');
    expect(compare('other:main...main')).to.equal('reference');
    expect(compare('main...acme/secret:main')).to.equal('reference');
    expect(compare('main...acme%2Fapp:main')).to.equal('allowed');
    expect(compare('main...acme:main')).to.equal('reference');
  });

  it('names owner and repository parameters that exist, in every route', () => {
    for (const route of ROUTES)
      for (const name of [route.owner, route.repo, route.param])
        if (name !== undefined) expect(parameters(route.path), route.path).to.include(name);
  });
});

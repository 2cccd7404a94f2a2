/** A whole run of logins, calls, faults and attacks at the log level debug; then everything that was written is searched for everything secret that was used. */
import { expect } from 'chai';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { cites } from '../requirements';
import { attacked, type Attacked } from '../support/attacked';
import { type Answer, RawClient, type SteppedLogin } from '../support/attacker';
import { type Kept, readKept, storeBytes } from '../support/kept';
import { McpClient } from '../support/mcp';
import { formsOf } from '../support/oauth-browser';
import { until } from '../support/until';

/** Shorter values are no secrets: the empty string, a flag. */
const LEAST = 16;

describe('a whole run with logins', function () {
  this.timeout(180_000);
  let site: Attacked;
  const secrets = new Map<string, string>();
  const pages: string[] = [];
  /** Command lines and environments of all processes that the gateway started. */
  let processes = '';

  const secret = (what: string, ...values: readonly (string | null | undefined)[]): void => {
    for (const value of values) if (value && value.length >= LEAST) secrets.set(value, what);
  };
  const shown = (answer: Answer): Answer => {
    pages.push(answer.html);
    return answer;
  };

  /** A login whose every step is noted. */
  const loggedIn = async (user: string, client: RawClient, access = 'write'): Promise<[SteppedLogin, any]> => {
    const login = site.login(user, client);
    secret('a PKCE verifier of a client', client.verifier);
    secret('a state of a client', client.state);
    const page = await login.begin();
    secret('a CSRF token', formsOf(page)[0]?.hidden['csrf']);
    const way = await login.consent(page, { access });
    secret('a state at the forge', way.searchParams.get('state'));
    for (const trip of (await readKept(site.gateway.dataDir)).trips) secret('a PKCE verifier', trip.begun.verifier);
    const callback = await login.forge(way);
    secret('a code of the forge', callback.searchParams.get('code'));
    const code = (await login.finish(callback))?.searchParams.get('code') ?? '';
    secret('a code', code);
    const { body } = await client.redeem(code);
    secret('a token', body.access_token as string, body.refresh_token as string);
    return [login, { ...body, code, callback }];
  };

  const connectionsOf = async (login: SteppedLogin): Promise<Answer> => {
    const { next } = await login.browser.get(`${site.base}/connections`);
    secret('a state at the forge', next?.searchParams.get('state'));
    const callback = await login.forge(next!);
    secret('a code of the forge', callback.searchParams.get('code'));
    await login.browser.get(callback);
    return login.browser.get(`${site.base}/connections`);
  };

  before(async () => {
    site = await attacked({ refreshOverlap: '1s' });
    const browsers: SteppedLogin[] = [];
    const clients: McpClient[] = [];
    const connect = (token: string): McpClient => {
      const client = new McpClient(site.gateway.url, token);
      clients.push(client);
      return client;
    };

    // A login by registration, calls, a child that prints what it was given, refreshes.
    const client = await site.client('secrets');
    const [login, tokens] = await loggedIn('alice', client, 'read');
    browsers.push(login);
    const session = connect(tokens.access_token as string);
    await session.initialize();
    secret('a session id', session.sessionId);
    const environment = await session.json<Record<string, string>>('env');
    secret('a capability', environment['FORGEJO_ACCESS_TOKEN']);
    const said = `Authorization: Bearer ${tokens.access_token as string} ${environment['FORGEJO_ACCESS_TOKEN']}\n`;
    await session.text('stderr', { text: said, times: 1 });
    await session.call('http', {
      url: `${environment['FORGEJO_URL']}/api/v1/user?token=${tokens.access_token as string}`,
      headers: { Authorization: `token ${environment['FORGEJO_ACCESS_TOKEN']}` },
    });
    processes = await processesOfChildren();
    const refreshed = (await client.refresh(tokens.refresh_token as string)).body;
    secret('a token', refreshed.access_token as string, refreshed.refresh_token as string);

    // Widening on the page of connections, by one more way over the forge.
    const page = shown(await connectionsOf(login));
    const change = formsOf(page).find(({ hidden }) => hidden['do'] === 'change');
    secret('a CSRF token', change?.hidden['csrf']);
    const widened = await login.browser.post(change!.action, {
      ...change!.hidden,
      access: 'write',
      reach: 'all',
      names: '',
    });
    expect(widened.next?.origin).to.equal(site.forge.url);
    secret('a state at the forge', widened.next?.searchParams.get('state'));
    const back = await login.forge(widened.next!);
    secret('a code of the forge', back.searchParams.get('code'));
    await login.browser.get(back);
    const wider = (await client.refresh(refreshed.refresh_token as string)).body;
    expect(wider.scope).to.equal('forgejo:read forgejo:write');
    secret('a token', wider.access_token as string, wider.refresh_token as string);

    // A consent that is remembered; wrong tokens, codes and verifiers; replays; callbacks that lead nowhere.
    const trusted = site.trusted();
    const [second, more] = await loggedIn('bob', trusted);
    browsers.push(second);
    shown(await second.browser.get(more.callback as URL));
    shown(await second.browser.get(`${site.base}/login/${'l'.repeat(43)}`));
    await trusted.redeem(more.code as string, { code_verifier: client.verifier });
    await trusted.redeem(more.code as string);
    await client.refresh(more.refresh_token as string);
    const wrong = connect(more.access_token as string);
    wrong.sessionId = session.sessionId;
    await wrong.request('ping');
    await new McpClient(`${site.gateway.url}?access_token=${wider.access_token as string}`, undefined).request('ping');
    const denied = site.login('bob', new RawClient(site.base, client.id));
    browsers.push(denied);
    const refusal = await denied.consent(await denied.begin(), { decision: 'deny' });
    await denied.finish(refusal);

    // Everything that is kept, before its end.
    const kept = await readKept(site.gateway.dataDir);
    keep(kept);

    // The forge is away in the middle of a login, and at its beginning.
    const cut = site.login('alice', new RawClient(site.base, client.id));
    browsers.push(cut);
    const callback = await cut.callback();
    secret('a code of the forge', callback.searchParams.get('code'));
    secret('a state at the forge', callback.searchParams.get('state'));
    const begun = await cut.begin();
    await site.forge.kill();
    shown(await cut.browser.get(callback));
    shown(
      await cut.browser.post(begun.url, {
        ...formsOf(begun)[0]?.hidden,
        access: 'read',
        reach: 'all',
        decision: 'allow',
      }),
    );
    await session.call('http', { url: `${environment['FORGEJO_URL']}/api/v1/user` });
    await site.forge.restart();

    // The first refresh token again, beyond the overlap: the grant and its session end.
    await until(
      'the overlap is over',
      async () => (await client.refresh(tokens.refresh_token as string)).status === 400,
    );
    await until('the session has ended', async () => (await session.request('ping')).status === 401);

    // The store takes nothing, and then the forge does not know the gateway any more.
    const held = new DatabaseSync(join(site.gateway.dataDir, 'sessions.sqlite'));
    held.exec('BEGIN EXCLUSIVE');
    const unstored = shown(await cut.browser.get(client.authorizeUrl()));
    held.exec('ROLLBACK');
    held.close();
    expect(unstored.status).to.equal(503);
    const orphan = site.login('bob', new RawClient(site.base, client.id));
    browsers.push(orphan);
    const late = await orphan.callback();
    secret('a code of the forge', late.searchParams.get('code'));
    const sudo = '?sudo=mcp-gateway';
    const { body: applications } = await site.forge.api(`/user/applications/oauth2${sudo}`);
    for (const { id } of applications as { id: number }[]) {
      await site.forge.api(`/user/applications/oauth2/${id}${sudo}`, { method: 'DELETE' });
    }
    const unknown = shown(await orphan.browser.get(late));
    expect(unknown.status).to.be.oneOf([400, 500, 502, 503]);

    for (const { browser } of browsers) secret('a cookie', ...browser.cookies.seen);
    secret('a client secret', ...site.gateway.secrets());
    secret('a key file', ...(await site.gateway.keys()));
    for (const user of ['alice', 'bob']) secret('a password', site.forge.user(user).password);
    for (const one of clients) await one.close();
  });

  after(async () => site?.stop());

  const keep = ({ tokenSets, signingKeys, masterKeys }: Kept): void => {
    for (const { tokens } of tokenSets) secret("a token of the forge's", tokens?.accessToken, tokens?.refreshToken);
    secret('the private part of a signing key', ...signingKeys);
    secret('a master key', ...masterKeys);
  };

  const holdsNone = (what: string, text: string, except: readonly string[] = []): void => {
    expect(text.length, `${what} is not empty`).to.be.greaterThan(50);
    for (const [value, name] of secrets) {
      if (except.includes(name)) continue;
      for (const form of [value, Buffer.from(value).toString('base64').replace(/=+$/, ''), encodeURIComponent(value)]) {
        expect(text.includes(form), `${what} holds ${name}`).to.equal(false);
      }
    }
  };

  it('used secrets of every kind', () => {
    expect([...new Set(secrets.values())].sort()).to.deep.equal(
      [
        'a CSRF token',
        'a PKCE verifier',
        'a PKCE verifier of a client',
        'a capability',
        'a client secret',
        'a code',
        'a code of the forge',
        'a cookie',
        'a key file',
        'a master key',
        'a password',
        'a session id',
        'a state at the forge',
        'a state of a client',
        'a token',
        "a token of the forge's",
        'the private part of a signing key',
      ].sort(),
    );
  });

  it('writes none of them to its log [2025-11-25/transports/41]', () => {
    const log = site.gateway.lines.join('');
    for (const event of ['login.consented', 'login.forge', 'login.failed', 'login.replayed', 'connection.changed']) {
      expect(log, event).to.contain(event);
    }
    expect(log).to.contain('"level":"debug"');
    holdsNone('the log', log);
  });

  it('has none of them in its metrics and its readiness report', async () => {
    holdsNone('the metrics', await site.gateway.metrics());
    const report = await (await fetch(`${site.gateway.opsUrl}/readyz`)).text();
    holdsNone('the report', report.padEnd(60));
  });

  it('shows none of them on its pages, but the token of a form in that form', () => {
    expect(pages.length).to.be.greaterThan(4);
    holdsNone('a page', pages.join(''), ['a CSRF token']);
  });

  it('gives none of them to a child, but its capability in its environment', () => {
    cites('2025-06-18/authorization/55', '2025-06-18/authorization/34', '2025-11-25/elicitation/26');
    expect(processes).to.contain('fixture-child').and.contain('FORGEJO_URL');
    holdsNone('a process', processes, ['a capability']);
  });

  it('has none of them in the bytes of its store', async () => {
    cites('2025-06-18/authorization/39', '2025-03-26/authorization/39');
    holdsNone('the store', await storeBytes(site.gateway.dataDir));
  });
});

/** What anybody on the machine could read of this process's children. */
async function processesOfChildren(): Promise<string> {
  const read = (pid: string, file: string): Promise<string> =>
    readFile(join('/proc', pid, file), 'utf8').catch(() => '');
  const texts = (await readdir('/proc'))
    .filter((name) => /^\d+$/.test(name))
    .map(async (pid) => {
      const command = await read(pid, 'cmdline');
      return command.includes('fixture-child') ? `${command}\n${await read(pid, 'environ')}\n` : '';
    });
  return (await Promise.all(texts)).join('');
}

/**
 * Tokens are rotated all the time, the forge's and ours, and nobody notices. FMO_SOAK_SECONDS makes it longer than CI has time for: `make soak`.
 */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { expect } from 'chai';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { ApplicationName } from '../../src/auth/context';
import type { TokenSet } from '../../src/forgejo/vault/contract';
import { type Forge, startForge } from '../support/forge';
import { type GatewayPair, type Side, startGatewayPair } from '../support/gateway-pair';
import { OAuthApplication } from '../support/oauth-application';
import { peerFolder } from '../support/peers';
import { until } from '../support/until';

const SOAK = process.env['FMO_SOAK_SECONDS'];
const SECONDS = Number(SOAK ?? 60);
/** Refreshes of every client. */
const REFRESHES = 30;
const SESSIONS = 10;
const USERS = ['alice', 'bob', 'carol'];
/** Seconds that the forge's access tokens live; they are refreshed when a fifth of that is left. */
const FORGE_LIFETIME = 15;
const FORGE_PERIOD = FORGE_LIFETIME * 0.8;
/** Milliseconds between two calls of a session. */
const PACE_MS = 50;

/** An SDK application that counts its refreshes. */
class Refreshing extends OAuthApplication {
  /** The first tokens come of the login. */
  refreshes = -1;

  constructor(...options: ConstructorParameters<typeof OAuthApplication>) {
    super(...options);
    const { saveTokens } = this;
    this.saveTokens = (tokens) => {
      this.refreshes += 1;
      saveTokens(tokens);
    };
  }
}

interface Session {
  readonly user: string;
  readonly application: Refreshing;
  readonly client: Client;
  readonly transport: StreamableHTTPClientTransport;
  readonly id: string;
  calls: number;
  readonly failures: string[];
}

describe('oauth: rotation that nobody notices', function () {
  this.timeout((SECONDS * 2 + 120) * 1000);
  let forge: Forge;
  let pair: GatewayPair;

  before(async () => {
    forge = await startForge({ users: USERS, ini: `[oauth2]\nACCESS_TOKEN_EXPIRATION_TIME = ${FORGE_LIFETIME}` });
    pair = await startGatewayPair({
      forge,
      command: [join(await peerFolder('forgejo-mcp-rs'), 'forgejo-mcp-rs')],
      settings: { auth: { oauth: { accessTokenLifetime: `${Math.max(1, Math.floor(SECONDS / REFRESHES))}s` } } },
    });
  });
  after(async () => {
    await pair?.stop();
    await forge?.stop();
  });

  const open = async (index: number): Promise<Session> => {
    const user = USERS[index % USERS.length] ?? '';
    const access: ApplicationName = index < 6 ? 'read' : 'write';
    const browser = pair.browser(user);
    const application = new Refreshing((url) => browser.authorize(url, { access }), { name: `client ${index}` });
    await application.login(pair.url);
    const client = new Client({ name: `client ${index}`, version: '1' });
    const fetch = pair.fetchOf((index % 2) as Side);
    const transport = new StreamableHTTPClientTransport(new URL(pair.url), { authProvider: application, fetch });
    await client.connect(transport);
    return { user, application, client, transport, id: transport.sessionId ?? '', calls: 0, failures: [] };
  };

  /** Calls until the time is over and the client has refreshed often enough, or cannot any more. */
  const work = async (session: Session, end: number): Promise<void> => {
    const { user, client, application, failures } = session;
    const secret = forge.user(user).secret.trim();
    const file = { owner: user, repo: 'private-notes', path: 'secret.md' };
    while (performance.now() < end || (application.refreshes < REFRESHES && failures.length === 0)) {
      session.calls += 1;
      try {
        const answer = await client.callTool({ name: 'get_file_contents', arguments: file });
        if (!JSON.stringify(answer).includes(secret)) failures.push(JSON.stringify(answer).slice(0, 300));
      } catch (thrown) {
        failures.push(String(thrown).slice(0, 300));
      }
      await pause(PACE_MS);
    }
  };

  const generations = async (): Promise<Map<string, number>> => {
    const sets = await (await pair.records<TokenSet>('forge-tokens')).find();
    return new Map(sets.map(({ value }) => [`${value.user.login} ${value.application}`, value.generation]));
  };
  const refreshed = (): Promise<number> => pair.metric('forgejo_mcp_forge_refreshes_total');

  it(`ten sessions of three users at two gateways call for ${SECONDS} s: no call fails, no session changes, and the forge is asked once per user, application and expiry`, async () => {
    const sessions: Session[] = [];
    for (let index = 0; index < SESSIONS; index += 1) sessions.push(await open(index));
    expect(await pair.metric('forgejo_mcp_sessions', 0)).to.equal(5);
    expect(await pair.metric('forgejo_mcp_sessions', 1)).to.equal(5);
    const [before, began] = [await generations(), performance.now()];
    await Promise.all(sessions.map((session) => work(session, began + SECONDS * 1000)));
    const seconds = (performance.now() - began) / 1000;
    const after = await generations();

    const perSet = [...after].map(([set, now]) => [set, now - (before.get(set) ?? 0)] as const);
    if (SOAK !== undefined) {
      const calls = sessions.reduce((sum, session) => sum + session.calls, 0);
      const failed = sessions.reduce((sum, { failures }) => sum + failures.length, 0);
      const own = sessions.map(({ application }) => application.refreshes).join(', ');
      console.log(`      ${seconds.toFixed(0)} s, ${calls} calls, ${failed} failed; refreshes of the clients: ${own}`);
      for (const [set, count] of perSet)
        console.log(`      ${set}: ${count} refreshes at the forge, one in ${(seconds / count).toFixed(1)} s`);
    }
    expect(sessions.flatMap(({ failures }) => failures)).to.deep.equal([]);
    for (const { id, transport, application } of sessions) {
      expect(transport.sessionId).to.equal(id);
      expect(application.logins).to.equal(1);
      expect(application.refreshes).to.be.at.least(REFRESHES);
    }
    // Six sets: three users with two applications each.
    expect(perSet.map(([set]) => set).sort()).to.deep.equal(USERS.flatMap((user) => [`${user} read`, `${user} write`]));
    for (const [set, count] of perSet) {
      expect(count, set).to.be.at.most(Math.floor(seconds / FORGE_PERIOD) + 1);
      expect(count, set).to.be.at.least(Math.floor(seconds / FORGE_LIFETIME) - 1);
    }
    // Every login and every refresh raises a set's generation: nothing was asked that was not stored, but for one that is being stored now.
    await until('as many refreshes are stored as were asked for', async () => {
      const raised = [...(await generations()).values()].reduce((sum, generation) => sum + generation, 0);
      return raised - SESSIONS === (await refreshed());
    });
    for (const outcome of ['recovered', 'used', 'dead', 'misconfigured', 'unreachable'])
      expect(await outcomes(outcome), outcome).to.equal(0);
    for (const { client } of sessions) await client.close();
  });

  const outcomes = async (outcome: string): Promise<number> => {
    const of = (application: ApplicationName): Promise<number> =>
      pair.metric(`forgejo_mcp_forge_refreshes_total{application="${application}",outcome="${outcome}"}`);
    return (await of('read')) + (await of('write'));
  };
});

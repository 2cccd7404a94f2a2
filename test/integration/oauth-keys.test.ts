/** Keys are replaced under two gateways that share a store, one gateway after the other and while clients work: nobody logs in again. */
import { expect } from 'chai';
import { decodeProtectedHeader } from 'jose';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { type RingRecord, SigningKeyRing } from '../../src/auth/keys/ring';
import { systemClock } from '../../src/clock';
import { LASTING_KINDS } from '../../src/compose/upkeep';
import { type Forge, startForge } from '../support/forge';
import { type GatewayPair, type KeyFile, type Side, startGatewayPair } from '../support/gateway-pair';
import { McpClient } from '../support/mcp';
import type { LoggedIn } from '../support/oauth-login';
import { peerFolder } from '../support/peers';
import { until } from '../support/until';

const SIDES = [0, 1] as const;

/** A client with a session. */
interface Person {
  readonly user: string;
  readonly login: LoggedIn;
  readonly side: Side;
  client: McpClient;
}

describe('oauth: keys are rotated and nobody logs in again', function () {
  this.timeout(180_000);
  let forge: Forge;
  let pair: GatewayPair;
  let people: Person[];
  const clients: McpClient[] = [];

  before(async () => {
    forge = await startForge({ users: ['alice', 'bob'] });
    pair = await startGatewayPair({
      forge,
      command: [join(await peerFolder('forgejo-mcp-rs'), 'forgejo-mcp-rs')],
      settings: {},
    });
    people = [];
    for (const [user, side] of [
      ['alice', 0],
      ['alice', 1],
      ['bob', 0],
      ['bob', 1],
    ] as const) {
      const login = await pair.login(user, { client: `client at ${side}` });
      people.push({ user, side, login, client: await connect(login, side) });
    }
  });
  after(async () => {
    for (const client of clients) await client.close();
    await pair?.stop();
    await forge?.stop();
  });

  const connect = async (login: Pick<LoggedIn, 'accessToken'>, side: Side, id?: string): Promise<McpClient> => {
    const client = new McpClient(pair.url, login.accessToken, pair.agentOf(side));
    clients.push(client);
    client.sessionId = id;
    if (id === undefined) await client.initialize();
    return client;
  };
  /** One call of the user's own file, in the session that the client has. */
  const call = async ({ user, client }: Person): Promise<void> => {
    const text = await client.text('get_file_contents', { owner: user, repo: 'private-notes', path: 'secret.md' });
    expect(text).to.contain(forge.user(user).secret.trim());
  };
  /** New tokens, and the same session. */
  const refresh = async (person: Person): Promise<void> => {
    await person.login.refresh();
    person.client = await connect(person.login, person.side, person.client.sessionId);
  };
  /** An access token that this gateway signed. The login goes on with its own: both refreshes are of one overlap. */
  const refreshedAt = async (side: Side, { refreshToken, clientId }: LoggedIn): Promise<string> => {
    const fields = { grant_type: 'refresh_token', refresh_token: refreshToken, client_id: clientId };
    const answer = await pair.fetchOf(side)(new URL('/token', pair.url), {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams(fields).toString(),
    });
    expect(answer.status).to.equal(200);
    return ((await answer.json()) as { access_token: string }).access_token;
  };
  const everybody = (work: (person: Person) => Promise<void>, side?: Side): Promise<unknown> =>
    Promise.all(people.filter((person) => side === undefined || person.side === side).map(work));

  /**
   * Restarts a gateway. Who is at the other one goes on meanwhile; who was at this one is told that the session has ended, and begins another with the same
   * login.
   */
  const restart = async (side: Side): Promise<void> => {
    const other = side === 0 ? 1 : 0;
    expect(await pair.stopOne(side)).to.equal(0);
    let started = false;
    const starting = pair.start(side).finally(() => (started = true));
    while (!started) await everybody(call, other);
    await starting;
    await everybody(refresh, other);
    await everybody(call, other);
    await everybody(async (person) => {
      // It goes on where its id is still believed; where the key of its id is gone, it was never minted here.
      const { status } = await person.client.request('ping');
      expect(status).to.be.oneOf([200, 410]);
      if (status === 200) expect(await person.client.end()).to.equal(204);
      await person.login.refresh();
      person.client = await connect(person.login, side);
      await call(person);
    }, side);
  };
  const restartBoth = async (): Promise<void> => {
    for (const side of SIDES) await restart(side);
  };
  const rotate = async (file: KeyFile, change: (keys: readonly string[]) => readonly string[]): Promise<void> =>
    pair.setKeys(file, change(await pair.keys(file)));
  const fresh = (): string => randomBytes(32).toString('base64');

  it('signing keys: tokens of the new key are good at a gateway that has not read it yet, those of the earlier key stay good, and no call fails', async () => {
    const records = await pair.records<RingRecord>('oauth-keys');
    const ring = await SigningKeyRing.open({
      records,
      clock: systemClock,
      rotateAfter: Infinity,
      retireAfter: 3_600_000,
      settleAfter: 0,
      reloadGap: 0,
    });
    const kidOf = (token: string): string | undefined => decodeProtectedHeader(token).kid;
    const [earlier] = ring.keys;
    await ring.rotate();
    const [newest] = ring.keys;
    // As if it had been there for so long that it signs.
    const item = await records.get('signing');
    if (item === undefined) throw new Error('there is no ring');
    const [made, ...others] = item.value.keys;
    await records.replace(item, { keys: [{ ...made, createdAt: made.createdAt - 600_000 }, ...others] });
    await everybody(call);
    await restart(1); // signs with the new key from now on, which the other one has never seen
    await everybody(async (person) => {
      expect(kidOf(person.login.accessToken)).to.equal(earlier?.jwk.kid);
      const token = await refreshedAt(1, person.login);
      expect(kidOf(token)).to.equal(newest?.jwk.kid);
      const { client } = person;
      person.client = await connect({ accessToken: token }, 0, client.sessionId);
      await call(person);
      person.client = client;
      await call(person);
    }, 0);
  });

  it('master, session-id and capability keys: new ones below, then on top, then alone; sessions go on or begin anew, without a login', async () => {
    const [next, id] = [fresh(), fresh()];
    await rotate('oauth', (keys) => [...keys, next]);
    await rotate('sessions', (keys) => [id, ...keys]);
    await rotate('proxy', (keys) => [fresh(), ...keys]);
    await restartBoth();

    await rotate('oauth', ([old = '']) => [next, old]);
    await restartBoth();
    for (const side of SIDES)
      await until('nothing is left to do', async () =>
        pair.log(side).includes('"unreadable":0,"event":"records.resealed"'),
      );

    await rotate('oauth', () => [next]);
    await rotate('sessions', () => [id]);
    for (const kind of LASTING_KINDS) await (await pair.records(kind)).find(); // rejects where one needs the old key
    await restartBoth();
    await everybody(refresh);
    await everybody(call);
    expect(pair.log(0) + pair.log(1)).to.not.contain('unhandled-rejection');
  });
});

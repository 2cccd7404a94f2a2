/** The end of a login: what came of the way to the forge is used once, and not lost by a fault of ours. */
import { expect } from 'chai';
import { deriveKeys } from '../../src/auth/keys/derive';
import { RememberedConsents } from '../../src/auth/login/consents';
import { CookieSeal } from '../../src/auth/login/cookie-seal';
import { LoginFlow, type LoginFlowOptions, type LoginOutcome } from '../../src/auth/login/flow';
import { FormTokens } from '../../src/auth/login/form-tokens';
import type { Trips } from '../../src/auth/login/trips';
import { ResourceUrls } from '../../src/auth/resource/urls';
import { AppError } from '../../src/errors';
import { collection } from '../../src/stores/sealed';
import { EVERYTHING, MASTER, recorded, type Recorded, ShiftedClock, USER } from '../support/oauth';
import { serverSpec } from '../support/server-spec';

type Call = Parameters<LoginFlow['finish']>;

describe('the end of a login', () => {
  const urls = new ResourceUrls('https://mcp.example', (name) => ['main'].includes(name), 'main');
  const server = serverSpec({ name: 'main' });
  const [req, res] = [{}, {}] as [Call[0], Call[1]];
  let clock: ShiftedClock;
  let at: Recorded;
  let faults: AppError[];
  let made: number;
  let flow: LoginFlow;

  beforeEach(() => {
    clock = new ShiftedClock();
    at = recorded(clock);
    faults = [];
    made = 0;
    const pending = {
      uid: 'u1',
      client: { id: 'dcr_x', name: 'x' },
      redirectUri: 'http://127.0.0.1/cb',
      resource: urls.default,
      scopes: ['forgejo:read' as const],
    };
    const provider: LoginFlowOptions['server'] = {
      pendingLogin: async () => pending,
      finish: async (_req, _res, result) => {
        const fault = faults.shift();
        if (fault !== undefined) throw fault;
        made += 1;
        const { client, resource } = pending;
        return { grant: await at.grants.create({ ...result, client, resource }), location: '/authorize/u1' };
      },
      deny: async () => '/authorize/u1?denied',
    };
    flow = new LoginFlow({
      server: provider,
      urls,
      findServer: () => server,
      configured: new Set(),
      trips: {} as Trips, // the way to the forge is behind us
      outcomes: collection<LoginOutcome>(at.store, 'oauth-outcome', MASTER),
      consents: new RememberedConsents(new CookieSeal(deriveKeys(MASTER, 'own-cookies')), at.grants, () =>
        clock.wall(),
      ),
      forms: new FormTokens(deriveKeys(MASTER, 'form-tokens')),
      clock,
      observer: {
        consented: () => undefined,
        denied: () => undefined,
        loggedIn: () => undefined,
        failed: () => undefined,
      },
    });
  });
  afterEach(() => at.store.close());

  const arrive = (): Promise<void> =>
    flow.arrived({
      server,
      user: USER,
      application: 'read',
      errand: {
        kind: 'consent',
        uid: 'u1',
        decision: { scopes: ['forgejo:read'], choice: EVERYTHING, remember: false },
      },
    });
  const finish = (): Promise<string> =>
    flow.finish(req, res, undefined).then(
      (done) => (done === 'again' ? done : done.location),
      (thrown: AppError) => thrown.code,
    );

  it('makes one grant, of 20 browsers that come at once', async () => {
    await arrive();
    const ends = await Promise.all(Array.from({ length: 20 }, finish));
    expect(ends.filter((end) => end === '/authorize/u1')).to.have.length(1);
    expect(ends.filter((end) => end === 'INVALID_REQUEST')).to.have.length(19);
    expect(made).to.equal(1);
  });

  it('comes again after a fault of the store: the page is loaded once more, without another way to the forge', async () => {
    await arrive();
    faults.push(new AppError('STORE_UNAVAILABLE', 'Not now.', { retryAfter: 1 }));
    expect(await finish()).to.equal('STORE_UNAVAILABLE');
    expect(await finish()).to.equal('/authorize/u1');
    expect(await finish()).to.equal('INVALID_REQUEST');
  });

  it('is over two minutes after the browser is back', async () => {
    await arrive();
    clock.advance(120_001);
    expect(await finish()).to.equal('INVALID_REQUEST');
  });

  it('tells the client where the user said no at the forge', async () => {
    await flow.arrived({
      errand: { kind: 'consent', uid: 'u1', decision: { scopes: [], choice: EVERYTHING, remember: false } },
      refused: new AppError('FORGE_LOGIN_DENIED', 'You said no.'),
    });
    expect(await finish()).to.equal('/authorize/u1?denied');
  });
});

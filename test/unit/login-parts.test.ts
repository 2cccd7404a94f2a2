/** The small parts of a login: sealed cookies, tokens in forms, cookies on the wire, remembered consents, master keys, and how many may be under way. */
import { expect } from 'chai';
import fc from 'fast-check';
import type { IncomingMessage } from 'node:http';
import { masterKeys } from '../../src/auth/keys/master';
import { RememberedConsents } from '../../src/auth/login/consents';
import type { LoginOffer } from '../../src/auth/login/contract';
import { CookieSeal } from '../../src/auth/login/cookie-seal';
import { FormTokens } from '../../src/auth/login/form-tokens';
import type { GrantRecord } from '../../src/auth/provider/grants';
import { Underway } from '../../src/auth/underway';
import { AppError } from '../../src/errors';
import { Cookies } from '../../src/http/cookies';
import type { Outgoing } from '../../src/http/handler';
import { leave } from '../../src/http/login/pages';
import { EVERYTHING, ShiftedClock, USER } from '../support/oauth';
import { serverSpec } from '../support/server-spec';

const OLD = { id: '0a0b0c0d', secret: Buffer.alloc(32, 5) };
const NEW = { id: '1a1b1c1d', secret: Buffer.alloc(32, 6) };
const NOW = Date.UTC(2026, 10, 25);
const value = fc.jsonValue().filter((one) => !JSON.stringify(one).includes('__proto__'));

describe('a sealed cookie', () => {
  it('opens as what was sealed, in characters that a cookie may have, until it is too old', () => {
    const seal = new CookieSeal([NEW]);
    fc.assert(
      fc.property(value, fc.integer({ min: 1, max: 1e9 }), (one, life) => {
        const text = seal.seal('consents', one, NOW + life);
        expect(text).to.match(/^[A-Za-z0-9_-]+$/);
        fc.pre(text.length <= 4096);
        expect(seal.open('consents', text, NOW + life - 1)).to.deep.equal(JSON.parse(JSON.stringify(one)));
        expect(seal.open('consents', text, NOW + life)).to.equal(undefined);
        expect(seal.open('visitor', text, NOW)).to.equal(undefined);
      }),
    );
  });

  it('does not open with any byte changed, nor as any other text, and never throws', () => {
    const seal = new CookieSeal([NEW, OLD]);
    const text = seal.seal('visitor', { user: USER }, NOW + 1000);
    const bytes = Buffer.from(text, 'base64url');
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const changed = Buffer.from(bytes);
        changed[at] = changed[at] ^ flip;
        expect(seal.open('visitor', changed.toString('base64url'), NOW)).to.equal(undefined);
      }),
    );
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (other) => seal.open('visitor', other, NOW) === undefined));
    for (const end of [0, 5, 31, 32, text.length - 1])
      expect(seal.open('visitor', text.slice(0, end), NOW)).to.equal(undefined);
    expect(seal.open('visitor', 'A'.repeat(4097), NOW)).to.equal(undefined);
    expect(seal.open('visitor', undefined, NOW)).to.equal(undefined);
  });

  it('of the old key opens after a rotation, and not once that key is gone', () => {
    const text = new CookieSeal([OLD]).seal('visitor', 'x', NOW + 1000);
    expect(new CookieSeal([NEW, OLD]).open('visitor', text, NOW)).to.equal('x');
    expect(new CookieSeal([NEW]).open('visitor', text, NOW)).to.equal(undefined);
    expect(() => new CookieSeal([])).to.throw(RangeError);
  });
});

describe('a token in a form', () => {
  it('is good for its form and holder only', () => {
    const forms = new FormTokens([NEW]);
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.string(), (page, holder, other) => {
        const token = forms.make(page, holder);
        expect(forms.verify(page, holder, token)).to.equal(true);
        if (other !== holder) expect(forms.verify(page, other, token)).to.equal(false);
        expect(forms.verify(page, holder, other)).to.equal(false);
        expect(forms.verify(`${page}x`, holder, token)).to.equal(false);
      }),
    );
    expect(forms.verify('consent', 'one', undefined)).to.equal(false);
  });

  it('of the old key is good after a rotation', () => {
    const token = new FormTokens([OLD]).make('consent', 'one');
    expect(new FormTokens([NEW, OLD]).verify('consent', 'one', token)).to.equal(true);
    expect(new FormTokens([NEW]).verify('consent', 'one', token)).to.equal(false);
    expect(() => new FormTokens([])).to.throw(RangeError);
  });
});

describe('cookies', () => {
  const request = (cookie: string | undefined): IncomingMessage => ({ headers: { cookie } }) as IncomingMessage;
  const response = (): { res: Outgoing; lines: string[] } => {
    const lines: string[] = [];
    return { lines, res: { appendHeader: (_: string, line: string) => void lines.push(line) } as unknown as Outgoing };
  };
  const name = fc.stringMatching(/^[a-z_]{1,12}$/);
  const sealed = fc.stringMatching(/^[A-Za-z0-9_-]{0,40}$/);

  it('are pinned to the host where there is TLS, kept from scripts, and sent with navigations only', () => {
    const { res, lines } = response();
    new Cookies({ secure: true }).set(res, 'visitor', 'v', 60);
    new Cookies({ secure: false }).set(res, 'visitor', 'v', 60);
    new Cookies({ secure: true }).clear(res, 'visitor');
    expect(lines).to.deep.equal([
      '__Host-fmo_visitor=v; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=60',
      'fmo_visitor=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=60',
      '__Host-fmo_visitor=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0',
    ]);
  });

  it('are found among any others, by their whole name', () => {
    const cookies = new Cookies({ secure: true });
    fc.assert(
      fc.property(name, sealed, fc.array(fc.string()), fc.nat(), (own, text, others, at) => {
        const rest = others
          .map((one) => one.replaceAll(';', ''))
          .filter((one) => !one.trim().startsWith('__Host-fmo_'));
        const all = [...rest];
        all.splice(at % (rest.length + 1), 0, `__Host-fmo_${own}=${text}`);
        expect(cookies.get(request(all.join('; ')), own)).to.equal(text);
        expect(cookies.get(request(rest.join(';')), own)).to.equal(undefined);
        expect(cookies.get(request(all.join('; ')), `${own}x`)).to.equal(undefined);
      }),
    );
    expect(cookies.get(request(undefined), 'visitor')).to.equal(undefined);
    expect(cookies.get(request('fmo_visitor=set-by-a-sibling-domain'), 'visitor')).to.equal(undefined);
  });
});

describe('tickets for the way to the forge', () => {
  it('are ten at most in one browser: the oldest go, whoever sends it to us again and again', () => {
    const cookies = new Cookies({ secure: true });
    const leaveWith = (held: number): string[] => {
      const header = Array.from({ length: held }, (_, i) => `__Host-fmo_trip_${i}=secret`);
      const req = { headers: { cookie: ['i_like_gitea=x', ...header].join('; ') } } as IncomingMessage;
      const set: string[] = [];
      const res = { appendHeader: (_name: string, line: string) => void set.push(line) } as unknown as Outgoing;
      const departure = { url: 'https://forge.example/', ticket: { name: 'new', secret: 's' } };
      expect(leave({ cookies, tripLifetime: 600 }, req, res, departure)).to.equal(departure.url);
      return set.map((line) => line.split(';', 1)[0]);
    };
    expect(leaveWith(9)).to.deep.equal(['__Host-fmo_trip_new=s']);
    expect(leaveWith(12)).to.deep.equal([
      '__Host-fmo_trip_0=',
      '__Host-fmo_trip_1=',
      '__Host-fmo_trip_2=',
      '__Host-fmo_trip_new=s',
    ]);
  });
});

describe('remembered consents', () => {
  const seal = new CookieSeal([NEW]);
  const grants = new Map<string, GrantRecord>();
  const consents = new RememberedConsents(seal, { find: async (id) => grants.get(id) }, () => NOW);
  const offer = (changes: Partial<LoginOffer> = {}): LoginOffer => ({
    uid: 'uid',
    client: { id: 'portal', name: 'Portal', trust: 'configured' },
    redirectUri: 'https://portal.example/callback',
    server: serverSpec(),
    resource: 'https://mcp.example/mcp',
    scopes: ['forgejo:read'],
    mayRemember: true,
    ...changes,
  });
  const granted = (id: string, { client, resource, scopes }: LoginOffer): GrantRecord => {
    const grant: GrantRecord = {
      id,
      user: USER,
      client,
      resource,
      scopes,
      policy: EVERYTHING,
      application: 'read',
      createdAt: NOW,
      expiresAt: NOW + 1,
      redeemed: true,
    };
    grants.set(id, grant);
    return grant;
  };
  beforeEach(() => grants.clear());

  it('are found for just the same request, as long as their grant is there', async () => {
    const asked = offer();
    const { value: cookie } = consents.remember(asked, granted('one', asked), undefined);
    expect((await consents.find(asked, cookie))?.id).to.equal('one');
    for (const other of [
      offer({ client: { ...asked.client, id: 'other' } }),
      offer({ redirectUri: 'https://portal.example/callback2' }),
      offer({ resource: 'https://mcp.example/servers/x/mcp' }),
      offer({ scopes: ['forgejo:read', 'forgejo:write'] }),
      offer({ mayRemember: false }),
    ])
      expect(await consents.find(other, cookie)).to.equal(undefined);
    grants.set('one', { ...granted('one', asked), user: { ...USER, id: '43' } });
    expect(await consents.find(asked, cookie), 'a grant of somebody else').to.equal(undefined);
    grants.clear();
    expect(await consents.find(asked, cookie)).to.equal(undefined);
  });

  it('keep the newest, one for each request, in a cookie that a browser takes', async () => {
    let cookie: string | undefined;
    for (let count = 0; count < 50; count += 1) {
      const asked = offer({ redirectUri: `https://portal.example/${count % 25}/${'x'.repeat(300)}` });
      const kept = consents.remember(asked, granted(`grant-${count}`, asked), cookie);
      cookie = kept.value;
      expect(cookie.length).to.be.at.most(3800);
      expect(kept.seconds).to.be.at.most(400 * 86_400);
      expect((await consents.find(asked, cookie))?.id).to.equal(`grant-${count}`);
    }
  });
});

describe('master keys', () => {
  it('have a name and 32 bytes each, whatever was in the file, and keep their order', () => {
    const keys = [Buffer.alloc(32, 1), Buffer.alloc(64, 2)];
    const made = masterKeys(keys);
    expect(made.map(({ secret }) => secret.length)).to.deep.equal([32, 32]);
    expect(masterKeys([...keys].reverse()).map(({ id }) => id)).to.deep.equal(made.map(({ id }) => id).reverse());
    for (const { id, secret } of made) {
      expect(id).to.match(/^[0-9a-f]{8}$/);
      expect(keys.some((key) => key.includes(secret))).to.equal(false);
    }
  });

  it('are refused where one is there twice: CONFIG_INVALID', () => {
    expect(() => masterKeys([Buffer.alloc(32, 1), Buffer.alloc(32, 1)]))
      .to.throw(AppError)
      .with.property('code', 'CONFIG_INVALID');
  });
});

describe('logins under way', () => {
  it('are as many as there may be, and no more until one ends or is too old', () => {
    const clock = new ShiftedClock();
    const underway = new Underway(3, clock);
    const refused = (id: string): string => {
      try {
        underway.admit(id, clock.wall() + 1000);
        return 'none';
      } catch (thrown) {
        return (thrown as AppError).code;
      }
    };
    expect(Array.from({ length: 20 }, (_, i) => refused(`${i}`)).filter((code) => code === 'none')).to.have.length(3);
    expect(refused('20')).to.equal('OVERLOADED');
    expect(refused('1'), 'one that is counted already').to.equal('none');
    underway.leave('1');
    underway.leave('never there');
    expect(underway.size).to.equal(2);
    expect(refused('21')).to.equal('none');
    clock.advance(2000);
    expect(underway.size).to.equal(0);
  });
});

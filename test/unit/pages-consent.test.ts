/** The consent page: what it tells, and that no form gets more out of it than was offered. */
import { expect } from 'chai';
import fc from 'fast-check';
import type { Choice } from '../../src/auth/context';
import { CompiledPolicy, narrowed } from '../../src/forgejo/policy';
import { levelsOf, readChoice } from '../../src/http/pages/choice';
import { type ConsentAnswer, type ConsentOffer, consentPage, readConsent } from '../../src/http/pages/consent';
import { type Bounds, covers, isWhole, linesOf, MAX_NAMES, readNames } from '../../src/http/pages/names';
import { cites } from '../requirements';
import { FORM, hostile, LOOPBACK_OFFER, OFFER, tagsOf, textOf } from '../support/pages';

const LIMITED: ConsentOffer = {
  ...OFFER,
  policy: { access: 'write', owners: ['acme', 'alice'], repositories: ['acme/*', 'alice/notes'] },
};

const form = (fields: Record<string, string>): URLSearchParams =>
  new URLSearchParams({ decision: 'allow', access: 'read', reach: 'all', names: '', ...fields });

const list = (names: string, offer: ConsentOffer = LIMITED): ConsentAnswer =>
  readConsent(form({ reach: 'list', names }), offer);

const errorsOf = (answer: ConsentAnswer): Record<string, readonly string[]> =>
  answer.decision === 'again' ? { ...answer.errors } : {};

describe('the consent page', () => {
  it('tells who asks, where the answer goes in full, which Forgejo it is, and carries the CSRF token', () => {
    cites('2025-11-25/authorization/91');
    const { status, body } = consentPage(LOOPBACK_OFFER, FORM);
    const text = textOf(body);
    expect(status).to.equal(200);
    expect(text).to.contain('“Claude Code” wants to use forge.example as you');
    expect(text).to.contain('http://127.0.0.1:33418/callback');
    expect(body).to.contain('<form method="post" action="/authorize/one/consent">');
    expect(body).to.contain('<input type="hidden" name="csrf" value="c5rf-token"');
  });

  it('says plainly that a name is unchecked, and that a program on this computer waits for the answer', () => {
    cites('2025-11-25/authorization/90');
    const text = textOf(consentPage(LOOPBACK_OFFER, FORM).body);
    expect(text).to.contain('Nobody has checked this name.');
    expect(text).to.contain('That is a program on your own computer.');
  });

  it('names the host that vouches for a client’s document, the app of a scheme, and the administrator', () => {
    expect(textOf(consentPage(OFFER, FORM).body)).to.contain('given by agent.example, which publishes');
    const app = consentPage({ ...OFFER, redirectUri: 'cursor://oauth/callback' }, FORM);
    expect(textOf(app.body)).to.contain('That opens an app on your own device.');
    const configured = consentPage({ ...OFFER, client: { ...OFFER.client, trust: 'configured' } }, FORM);
    expect(textOf(configured.body)).to.contain('administrator of this gateway has set this client up');
  });

  // An address of any kind is drawn with tags of these two.
  const tags = [OFFER, LOOPBACK_OFFER].flatMap((offer) =>
    tagsOf(consentPage({ ...offer, mayRemember: true }, FORM).body),
  );

  it('keeps every word of a stranger within bounds, escaped, and out of the title', () => {
    fc.assert(
      fc.property(hostile, hostile, hostile, hostile, (name, id, redirectUri, homePage) => {
        const client = { name: name.repeat(50), id: id.repeat(50), trust: 'document' as const, homePage };
        const { body } = consentPage({ ...OFFER, client, redirectUri: redirectUri.repeat(50) }, FORM);
        expect(tags).to.include.members(tagsOf(body));
        expect(body).not.to.match(/href="(?!https?:|#)/);
        expect(/<title>(.*?)<\/title>/s.exec(body)![1]).to.equal('Allow access to forge.example? · Forgejo MCP');
        expect(body.length).to.be.below(30_000);
      }),
    );
  });

  it('links to a home page only if it can be linked to', () => {
    const home = (homePage: string) => consentPage({ ...OFFER, client: { ...OFFER.client, homePage } }, FORM).body;
    expect(home('https://agent.example/')).to.contain('href="https://agent.example/"');
    expect(home('javascript:alert(1)')).not.to.contain('Its home page');
  });

  it('offers reading before changing, and denying before allowing', () => {
    const { body } = consentPage(OFFER, FORM);
    expect(body).to.match(/value="read"\s+checked/);
    expect(body).not.to.match(/value="write"\s+checked/);
    expect(body.indexOf('value="deny"')).to.be.within(1, body.indexOf('value="allow"'));
  });

  it('offers no more than was asked for, than the server allows, and remembering only where it may', () => {
    const reading = consentPage({ ...OFFER, policy: { ...OFFER.policy, access: 'read' } }, FORM).body;
    expect(reading).not.to.contain('value="write"');
    expect(textOf(reading)).to.contain('This server allows reading only.');
    expect(consentPage({ ...OFFER, scopes: ['forgejo:read'] }, FORM).body).not.to.contain('value="write"');
    expect(consentPage(OFFER, FORM).body).to.contain('name="remember"');
    expect(consentPage(LOOPBACK_OFFER, FORM).body).not.to.contain('name="remember"');
  });

  it('can only be denied where what is asked for and what is allowed have nothing in common', () => {
    const offer: ConsentOffer = { ...OFFER, scopes: ['forgejo:write'], policy: { ...OFFER.policy, access: 'read' } };
    expect(levelsOf(offer)).to.deep.equal([]);
    expect(consentPage(offer, FORM).body).not.to.contain('value="allow"');
    expect(readConsent(form({ access: 'write' }), offer).decision).to.equal('again');
    expect(readConsent(form({ decision: 'deny' }), offer)).to.deep.equal({ decision: 'deny' });
  });

  it('shows the server’s own bounds, the rest of a long list folded', () => {
    expect(textOf(consentPage(LIMITED, FORM).body)).to.contain('This server allows: acme/* alice/notes');
    const owners = Array.from({ length: 30 }, (_, index) => `owner-${index}`);
    const many = consentPage({ ...OFFER, policy: { access: 'write', owners, repositories: ['*'] } }, FORM).body;
    expect(many).to.contain('<summary>22 more</summary>');
    expect(textOf(many)).to.contain('owner-29/*');
  });

  it('comes again with 400, what the user typed, and a message at each field that was wrong', () => {
    const typed = 'acme\n</textarea><script>x\nbob/x';
    const answer = readConsent(form({ access: 'admin', reach: 'list', names: typed, remember: 'yes' }), LIMITED);
    if (answer.decision !== 'again') throw new Error('expected errors');
    const { status, body } = consentPage(LIMITED, FORM, answer);
    expect(status).to.equal(400);
    expect(body).to.contain('acme\n&lt;/textarea&gt;&lt;script&gt;x\nbob/x</textarea');
    expect(body)
      .to.match(/value="list"\s+checked/)
      .and.to.match(/value="yes"\s+checked/);
    expect(body).to.contain('role="alert"').and.to.contain('aria-invalid="true"');
    for (const id of ['access', 'names']) {
      expect(body)
        .to.contain(`href="#${id}"`)
        .and.to.match(new RegExp(`id="${id}"`));
      expect(body)
        .to.match(new RegExp(`aria-describedby="[^"]*\\b${id}-errors"`))
        .and.to.contain(`id="${id}-errors"`);
    }
  });

  it('gives every field a label and every id once', () => {
    const { body } = consentPage(LIMITED, FORM);
    const ids = [...body.matchAll(/\sid="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).to.equal(ids.length);
    const labelled = [...body.matchAll(/<label for="([^"]+)"/g)].map(([, id]) => id);
    const fields = [...body.matchAll(/<(?:input|textarea)(?![^>]*type="hidden")[^>]*?\sid="([^"]+)"/g)].map(
      ([, id]) => id,
    );
    expect(labelled).to.deep.equal(fields);
    for (const [, pointed] of body.matchAll(/aria-(?:describedby|labelledby)="([^"]+)"/g)) {
      for (const id of pointed.split(' ')) expect(ids).to.include(id);
    }
  });
});

describe('a consent form', () => {
  it('allows what was chosen', () => {
    expect(readConsent(form({ access: 'write', remember: 'yes' }), LIMITED)).to.deep.equal({
      decision: 'allow',
      scopes: ['forgejo:read', 'forgejo:write'],
      choice: { owners: ['acme', 'alice'], repositories: ['acme/*', 'alice/notes'] },
      remember: true,
    });
    expect(list('  Acme \r\nalice/notes\n\nACME/app')).to.deep.include({
      scopes: ['forgejo:read'],
      choice: { owners: ['Acme', 'alice'], repositories: ['Acme/*', 'alice/notes'] },
    });
  });

  it('takes addresses of the forge’s pages for what they name', () => {
    expect(list('https://forge.example/acme/app.git\nhttps://forge.example/alice/notes/')).to.deep.include({
      choice: { owners: ['acme', 'alice'], repositories: ['acme/app', 'alice/notes'] },
    });
    expect(errorsOf(list('https://elsewhere.example/acme/app')).names).to.have.length(1);
  });

  it('is denied without anything else being right', () => {
    expect(readConsent(new URLSearchParams('decision=deny'), OFFER)).to.deep.equal({ decision: 'deny' });
  });

  it('is refused when a field is missing, unknown or comes twice', () => {
    expect(errorsOf(readConsent(new URLSearchParams(), OFFER))).to.have.all.keys('decision', 'access', 'reach');
    const twice = form({});
    twice.append('access', 'write');
    expect(errorsOf(readConsent(twice, OFFER))).to.have.all.keys('access');
    const both = form({});
    both.append('decision', 'deny');
    expect(errorsOf(readConsent(both, OFFER))).to.have.all.keys('decision');
    expect(errorsOf(readConsent(form({ reach: 'some' }), OFFER))).to.have.all.keys('reach');
  });

  it('does not take everything from a user who named something', () => {
    expect(errorsOf(readConsent(form({ names: 'acme' }), OFFER))).to.have.all.keys('reach');
  });

  it('remembers only where that was offered', () => {
    expect(readConsent(form({ remember: 'yes' }), LOOPBACK_OFFER)).to.include({ remember: false });
  });

  it('is refused for names outside the server’s policy, and for more than it allows of an owner', () => {
    expect(errorsOf(list('bob/x')).names).to.deep.equal(['“bob/x” is not among what this server allows.']);
    expect(errorsOf(list('alice')).names[0]).to.contain('Name those.');
    expect(errorsOf(list('alice/*')).names[0]).to.contain('Name those.');
  });

  it('is refused for what is no name at Forgejo', () => {
    const bad = ['*', '*/*', '*/app', 'a b', 'acme/', '/app', 'acme/a/b', 'acme/..', 'acme/.', 'acme/-', 'acme/x.git', 'acme/x.wiki', '..', '-', 'acmé', 'acme/аpp', 'acme%2fapp', 'acme\\app', 'acme/app?x', 'acme/**', 'acme/a*', 'a'.repeat(41), `acme/${'a'.repeat(101)}`, 'acme/app#x', '@acme', 'acme:app', 'acme\0/app']; // prettier-ignore
    for (const line of bad) expect(errorsOf(list(line, OFFER)).names, line).to.have.length(1);
    expect(errorsOf(list('', OFFER)).names).to.have.length(1);
  });

  it('is bounded: entries, characters and messages', () => {
    const many = (count: number) => Array.from({ length: count }, (_, index) => `acme/r${index}`).join('\n');
    expect(list(many(MAX_NAMES)).decision).to.equal('allow');
    expect(errorsOf(list(many(MAX_NAMES + 1))).names).to.have.length(1);
    expect(errorsOf(list('x'.repeat(1_000_000))).names).to.have.length(1);
    expect(errorsOf(list('bad name\n'.repeat(90))).names).to.have.length(6);
    const answer = list('x'.repeat(1_000_000));
    if (answer.decision !== 'again') throw new Error('expected errors');
    expect(answer.input.names.length).to.be.at.most(16_384);
  });
});

const name = fc.constantFrom('acme', 'ACME', 'other', 'third');
const repository = fc.constantFrom('app', 'App', 'lib');
const entry = fc.oneof(
  name,
  name.map((owner) => `${owner}/*`),
  fc.tuple(name, repository).map(([owner, repo]) => `${owner}/${repo}`),
);
const policy: fc.Arbitrary<Bounds> = fc.record({
  owners: fc.array(fc.oneof(name, fc.constant('*')), { maxLength: 3 }),
  repositories: fc.array(
    fc.oneof(
      entry.filter((one) => one.includes('/')),
      fc.constantFrom('*', '*/*'),
    ),
    { maxLength: 3 },
  ),
});
const OWNERS = ['acme', 'other', 'third', 'unnamed'];
const NAMES = ['app', 'lib', 'unnamed'];

/** Every question that the proxy asks a policy. */
function answers(bounds: Bounds): boolean[] {
  const compiled = new CompiledPolicy(bounds);
  return OWNERS.flatMap((owner) => [
    compiled.wholeOwner(owner),
    ...NAMES.map((repo) => compiled.repository(owner, repo)),
  ]);
}

const within = (narrow: Bounds, wide: Bounds): boolean => {
  const allowed = answers(wide);
  return answers(narrow).every((one, index) => !one || allowed[index]);
};

describe('a choice', () => {
  it('is covered by a policy exactly where the credential proxy lets it through', () => {
    fc.assert(
      fc.property(policy, (bounds) => {
        const mine = OWNERS.flatMap((owner) => [
          covers(bounds, owner),
          ...NAMES.map((repo) => covers(bounds, owner, repo)),
        ]);
        expect(mine).to.deep.equal(answers(bounds));
      }),
      { numRuns: 1000 },
    );
  });

  it('allows at the proxy what its lines name and nothing else, and never more than the policy', () => {
    fc.assert(
      fc.property(policy, fc.array(fc.oneof(entry, hostile), { minLength: 1, maxLength: 5 }), (bounds, lines) => {
        const read = readNames(lines.join('\n'), bounds, OFFER.forge);
        if (!('choice' in read)) return;
        expect(within(read.choice, bounds)).to.equal(true);
        const both = narrowed(new CompiledPolicy(bounds), new CompiledPolicy(read.choice));
        const named = new Set(lines.map((line) => line.trim().toLowerCase()));
        for (const owner of OWNERS) {
          const whole = named.has(owner) || named.has(`${owner}/*`);
          expect(both.wholeOwner(owner)).to.equal(whole);
          for (const repo of NAMES) {
            expect(both.repository(owner, repo)).to.equal(whole || named.has(`${owner}/${repo}`));
          }
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('as lines means the same, and those lines can be typed again', () => {
    fc.assert(
      fc.property(policy, (bounds) => {
        const lines = linesOf(bounds);
        if (lines.length === 0 || lines.some((line) => line.startsWith('*'))) return;
        const read = readNames(lines.join('\n'), bounds, OFFER.forge) as { choice: Choice };
        expect(answers(read.choice)).to.deep.equal(answers(bounds));
        expect(isWhole(read.choice, bounds)).to.equal(true);
      }),
    );
  });

  it('is whole only where it takes nothing away', () => {
    fc.assert(
      fc.property(policy, policy, (choice, bounds) => {
        if (isWhole(choice, bounds)) expect(within(bounds, choice)).to.equal(true);
      }),
      { numRuns: 1000 },
    );
  });

  it('never goes beyond the offer, whatever the form holds', () => {
    const field = fc.constantFrom('decision', 'access', 'reach', 'names', 'remember', 'scope', 'owners');
    const value = fc.oneof(fc.constantFrom('allow', 'read', 'write', 'all', 'list', 'yes', '*'), entry, hostile);
    const scopes = fc.subarray(['forgejo:read', 'forgejo:write'] as const);
    fc.assert(
      fc.property(
        policy,
        scopes,
        fc.constantFrom('read' as const, 'write' as const),
        fc.array(fc.tuple(field, value), { maxLength: 8 }),
        (bounds, asked, access, extra) => {
          const offer: ConsentOffer = { ...LOOPBACK_OFFER, scopes: asked, policy: { access, ...bounds } };
          for (const fields of [extra, [['decision', 'allow'], ['access', 'write'], ['reach', 'list'], ...extra]]) {
            const answer = readConsent(new URLSearchParams(fields as [string, string][]), offer);
            if (answer.decision !== 'allow') continue;
            expect(asked).to.include.members([...answer.scopes]);
            expect(answer.scopes).not.to.be.empty;
            if (access === 'read') expect(answer.scopes).to.deep.equal(['forgejo:read']);
            expect(within(answer.choice, bounds)).to.equal(true);
            expect(answer.remember).to.equal(false);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });

  it('of everything is what the policy lists now', () => {
    expect(readChoice(form({}), LIMITED)).to.deep.include({
      choice: { owners: LIMITED.policy.owners, repositories: LIMITED.policy.repositories },
    });
  });
});

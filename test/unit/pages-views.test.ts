/** Error pages, 'your connections', and going on to another site. */
import { expect } from 'chai';
import fc from 'fast-check';
import { ERRORS } from '../../src/errors';
import {
  type Connection,
  connectionsPage,
  type ConnectionsView,
  readConnections,
} from '../../src/http/pages/connections';
import { errorPage } from '../../src/http/pages/error';
import { forwardPage } from '../../src/http/pages/forward';
import { CONNECTION, FORM, hostile, OFFER, tagsOf, textOf } from '../support/pages';

const ERROR = { status: 400, code: 'INVALID_REQUEST', message: 'This login has expired.', requestId: 'req-1' };
const VIEW: ConnectionsView = { login: 'alice', forge: OFFER.forge, connections: [CONNECTION] };
const OTHER: Connection = { ...CONNECTION, grant: 'grant-2', client: { id: 'dcr-2', name: 'Other' }, sessions: [] };

describe('an error page', () => {
  it('says what happened, what to do and the request id, for every error there is', () => {
    const oauth = ['access_denied', 'invalid_client', 'invalid_redirect_uri', 'invalid_request', 'server_error', 'temporarily_unavailable']; // prettier-ignore
    const errors = [
      ...Object.entries(ERRORS).map(([code, { status }]) => ({ code, status: status })),
      ...oauth.map((code) => ({ code, status: 400 })),
      { code: 'constructor', status: 418 },
    ];
    for (const error of errors) {
      const page = errorPage({ ...ERROR, ...error });
      expect(page.status).to.equal(error.status);
      const text = textOf(page.body);
      expect(text, error.code).to.match(/What happened This login has expired\. What to do [A-Z].{20,}/);
      expect(text, error.code).to.match(new RegExp(`Error ${error.code} Request id req-1`));
    }
  });

  it('tells a lost login from a program that cannot log in, and a busy gateway from a broken one', () => {
    const title = (code: string, status: number) =>
      /<h1>(.*?)<\/h1>/.exec(errorPage({ ...ERROR, code, status }).body)![1];
    expect(title('INVALID_REQUEST', 400)).to.equal('This login cannot go on');
    expect(title('invalid_redirect_uri', 400)).to.equal('This program cannot log in');
    expect(title('STORE_UNAVAILABLE', 503)).to.equal('Not right now');
    expect(title('FORGE_LOGIN_DENIED', 403)).to.equal('Access was not given');
    expect(title('INTERNAL', 500)).to.equal('Something went wrong');
  });

  it('says when to try again, to people and to programs', () => {
    const page = errorPage({ ...ERROR, code: 'OVERLOADED', status: 503, retryAfter: 30 });
    expect(page.headers['Retry-After']).to.equal('30');
    expect(textOf(page.body)).to.contain('Try again in 30 seconds.');
    expect(textOf(errorPage({ ...ERROR, retryAfter: 300 }).body)).to.contain('Try again in 5 minutes.');
  });

  it('has no forms, and no markup from a message', () => {
    expect(errorPage(ERROR).headers['Content-Security-Policy']).to.contain("form-action 'none'");
    const tags = tagsOf(errorPage(ERROR).body);
    fc.assert(
      fc.property(hostile, hostile, (message, requestId) => {
        expect(tagsOf(errorPage({ ...ERROR, message, code: message, requestId }).body)).to.deep.equal(tags);
      }),
    );
  });
});

describe('your connections', () => {
  it('lists each connection with its client, rights, choice, times and sessions', () => {
    const text = textOf(connectionsPage(VIEW, FORM).body);
    for (const part of [
      'You are alice at forge.example',
      'May read only',
      'acme/* alice/notes',
      'Since 3 October 2026',
      'default, since 22 November 2026 at 22:30 UTC',
    ]) {
      expect(text).to.contain(part);
    }
  });

  it('says how it begins where there is none', () => {
    const page = connectionsPage({ ...VIEW, connections: [] }, FORM);
    expect(page.status).to.equal(200);
    expect(textOf(page.body)).to.contain('Nothing is connected.');
    expect(page.body).not.to.contain('<form');
  });

  it('puts the CSRF token into every form, and each id once', () => {
    const { body } = connectionsPage({ ...VIEW, connections: [CONNECTION, OTHER] }, FORM);
    const forms = body.split('<form').slice(1);
    expect(forms).to.have.length(7);
    for (const form of forms) expect(form.split('</form')[0]).to.match(/name="csrf"\s+value="c5rf-token"/);
    const ids = [...body.matchAll(/\sid="([^"]+)"/g)].map(([, id]) => id);
    expect(new Set(ids).size).to.equal(ids.length);
  });

  it('begins a change with what holds now', () => {
    const { body } = connectionsPage(VIEW, FORM);
    expect(body)
      .to.match(/value="read"\s+checked/)
      .and.to.match(/value="list"\s+checked/);
    expect(body).to.contain('acme/*\nalice/notes</textarea');
    const all = connectionsPage({ ...VIEW, connections: [{ ...CONNECTION, choice: OFFER.policy }] }, FORM).body;
    expect(all).to.match(/value="all"\s+checked/);
  });

  it('shows a change that was wrong in its own form, opened, with 400', () => {
    const form = new URLSearchParams({ do: 'change', grant: 'grant-1', access: 'write', reach: 'list', names: 'a b' });
    const action = readConnections(form, [CONNECTION, OTHER]);
    if (action.do !== 'again') throw new Error('expected errors');
    const page = connectionsPage({ ...VIEW, connections: [CONNECTION, OTHER], retry: action.retry }, FORM);
    expect(page.status).to.equal(400);
    expect(page.body.match(/<details open>/g)).to.have.length(1);
    expect(page.body).to.contain('href="#c1-names"').and.to.contain('a b</textarea');
  });

  it('lets no name of a stranger be markup', () => {
    const view = (text: string): ConnectionsView => ({
      ...VIEW,
      login: text,
      connections: [
        { ...CONNECTION, client: { id: text, name: text }, choice: { owners: ['*'], repositories: [text] } },
      ],
    });
    const tags = tagsOf(connectionsPage(view('a/b'), FORM).body);
    fc.assert(
      fc.property(hostile, (text) => {
        expect(tags).to.include.members(tagsOf(connectionsPage(view(text), FORM).body));
      }),
    );
  });
});

describe('a form of your connections', () => {
  const read = (fields: Record<string, string>) => readConnections(new URLSearchParams(fields), [CONNECTION, OTHER]);

  it('changes, ends and revokes what is the user’s own', () => {
    expect(read({ do: 'change', grant: 'grant-1', access: 'write', reach: 'list', names: 'acme/app' })).to.deep.equal({
      do: 'change',
      grant: 'grant-1',
      scopes: ['forgejo:read', 'forgejo:write'],
      choice: { owners: ['acme'], repositories: ['acme/app'] },
    });
    const session = 'a'.repeat(40);
    expect(read({ do: 'end', grant: 'grant-1', session })).to.deep.equal({ do: 'end', grant: 'grant-1', session });
    expect(read({ do: 'revoke', grant: 'grant-2' })).to.deep.equal({ do: 'revoke', grant: 'grant-2' });
    expect(read({ do: 'disconnect', sure: 'yes' })).to.deep.equal({ do: 'disconnect' });
  });

  it('names nothing of another user, no session of another grant, and nothing that is gone', () => {
    for (const fields of [
      { do: 'revoke', grant: 'grant-of-bob' },
      { do: 'revoke', grant: '' },
      { do: 'end', grant: 'grant-2', session: 'a'.repeat(40) },
      { do: 'end', grant: 'grant-1', session: 'c'.repeat(40) },
    ]) {
      expect(read(fields), JSON.stringify(fields)).to.deep.include({ do: 'again' });
    }
  });

  it('disconnects everything only when that was said twice, and does nothing that it does not know', () => {
    expect(read({ do: 'disconnect' }).do).to.equal('again');
    expect(read({ do: 'drop', grant: 'grant-1' }).do).to.equal('again');
    expect(readConnections(new URLSearchParams('do=revoke&do=end&grant=grant-1'), [CONNECTION]).do).to.equal('again');
    expect(readConnections(new URLSearchParams('do=revoke&grant=grant-1&grant=grant-2'), [CONNECTION]).do).to.equal(
      'again',
    );
  });

  it('widens no further than the server’s policy and what was asked for', () => {
    const most = { ...CONNECTION.most, policy: { access: 'read' as const, owners: ['acme'], repositories: ['*'] } };
    const bounded = (fields: Record<string, string>) =>
      readConnections(new URLSearchParams({ do: 'change', grant: 'grant-1', ...fields }), [{ ...CONNECTION, most }]);
    expect(bounded({ access: 'write', reach: 'all' }).do).to.equal('again');
    expect(bounded({ access: 'read', reach: 'list', names: 'alice/notes' }).do).to.equal('again');
    expect(bounded({ access: 'read', reach: 'all' })).to.deep.include({
      choice: { owners: ['acme'], repositories: ['*'] },
    });
  });
});

describe('going on to another site', () => {
  it('is a navigation of its own, with a link for whoever’s browser does not go', () => {
    const page = forwardPage('https://forge.example/login/oauth/authorize?a=b&c=d');
    expect(page.status).to.equal(200);
    expect(page.headers.Refresh).to.equal('0; url=https://forge.example/login/oauth/authorize?a=b&c=d');
    expect(page.body).to.contain('href="https://forge.example/login/oauth/authorize?a=b&amp;c=d"');
    expect(page.headers['Content-Security-Policy']).to.contain("form-action 'none'");
  });

  it('goes nowhere but to https and http', () => {
    for (const url of [
      'javascript:alert(1)',
      'data:text/html,x',
      '/own',
      '#id',
      '//evil.example',
      'https://a@b.example/',
      'https://a.example/\r\nX: y',
    ]) {
      expect(() => forwardPage(url), url).to.throw(TypeError);
    }
  });
});

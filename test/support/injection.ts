/** Everything of a forge that an agent limited to `alice/private-notes` must neither see nor change, and how to tell whether it did. */
import { randomBytes } from 'node:crypto';
import type { ForgeAnswer, ForgeCall } from '../../scripts/seed-forge';
import type { Forge } from './forge';

/** A text that is found nowhere but where it was put. */
export class Needle {
  readonly text = `needle${randomBytes(12).toString('hex')}`;

  /** Whether an answer holds it: as it is, or within base64 at any of the three alignments. */
  isIn(bytes: Buffer): boolean {
    const text = bytes.toString('latin1');
    if (text.toLowerCase().includes(this.text)) return true;
    return [0, 1, 2].some((shift) => {
      const encoded = Buffer.from('\0'.repeat(shift) + this.text).toString('base64');
      return text.includes(encoded.slice(shift === 0 ? 0 : 4, -4));
    });
  }
}

/** What the attempts aim at, by the numbers that the forge gave it. */
export interface Targets {
  readonly needles: readonly Needle[];
  /** Numbers of `alice/vault` and what is in it. */
  readonly vault: Readonly<
    Record<'id' | 'issue' | 'comment' | 'label' | 'milestone' | 'release' | 'releaseAsset' | 'pull', number>
  > & { readonly commit: string; readonly attachment: string };
  readonly handbook: { readonly id: number; readonly issue: number };
  /** Of `alice/private-notes`: an issue and a pull request of its own. */
  readonly notes: { readonly issue: number; readonly pull: number; readonly commit: string };
  /** A notification of alice about `shared/handbook`. */
  readonly thread: number;
  /** A team of the organisation `shared`. */
  readonly team: number;
}

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** Puts secrets everywhere that alice can see beyond `alice/private-notes`. */
export async function seedTargets(forge: Forge): Promise<Targets> {
  const needles: Needle[] = [];
  const secret = (): string => {
    const needle = new Needle();
    needles.push(needle);
    return needle.text;
  };
  const must = async (path: string, call: ForgeCall = {}): Promise<any> => {
    const { status, body } = await forge.api(path, call);
    if (status >= 300) throw new Error(`seeding: ${String(status)} on ${path}: ${JSON.stringify(body)}`);
    return body;
  };
  const asAlice = (path: string, body?: unknown, method?: string): Promise<any> =>
    must(path, {
      as: forge.user('alice').tokens.full,
      ...(body === undefined ? {} : { body }),
      ...(method === undefined ? {} : { method }),
    });
  const upload = async (path: string, text: string): Promise<any> => {
    const form = new FormData();
    form.append('attachment', new Blob([text]), 'plan.txt');
    const answer = await fetch(`${forge.url}/api/v1${path}`, {
      method: 'POST',
      headers: { authorization: `token ${forge.user('alice').tokens.full}` },
      body: form,
    });
    if (!answer.ok) throw new Error(`seeding: ${String(answer.status)} on ${path}: ${await answer.text()}`);
    return answer.json();
  };

  const vault = await asAlice('/user/repos', {
    name: 'vault',
    private: true,
    auto_init: true,
    default_branch: 'main',
    description: secret(),
  });
  const at = '/repos/alice/vault';
  await asAlice(`${at}/topics/${secret().slice(0, 30)}`, undefined, 'PUT');
  const file = await asAlice(`${at}/contents/plan.md`, { content: base64(secret()), message: secret() });
  await asAlice(`${at}/branches`, { new_branch_name: 'side' });
  await asAlice(`${at}/contents/side.md`, { content: base64(secret()), message: secret(), branch: 'side' });
  const label = await asAlice(`${at}/labels`, { name: secret(), color: '#00aabb' });
  const milestone = await asAlice(`${at}/milestones`, { title: secret(), description: secret() });
  const issue = await asAlice(`${at}/issues`, {
    title: secret(),
    body: `${secret()} see alice/private-notes#1`,
    labels: [label.id],
    milestone: milestone.id,
  });
  const comment = await asAlice(`${at}/issues/${issue.number}/comments`, { body: secret() });
  const attachment = await upload(`${at}/issues/${issue.number}/assets`, secret());
  const pull = await asAlice(`${at}/pulls`, { title: secret(), body: secret(), head: 'side', base: 'main' });
  const release = await asAlice(`${at}/releases`, { tag_name: 'v1', name: secret(), body: secret() });
  const releaseAsset = await upload(`${at}/releases/${release.id}/assets`, secret());
  await asAlice(`${at}/wiki/new`, { title: 'Home', content_base64: base64(secret()) });
  await asAlice(`${at}/issues/${issue.number}/times`, { time: 60 });
  await asAlice(`${at}/issues/${issue.number}/stopwatch/start`, undefined, 'POST');
  await asAlice(`${at}/issues/1/dependencies`, { owner: 'alice', repo: 'private-notes', index: 1 });
  await asAlice('/user/starred/alice/vault', undefined, 'PUT');

  await must('/repos/shared/handbook', { method: 'PATCH', body: { description: secret() } });
  await must('/repos/shared/handbook/contents/chapter.md', { body: { content: base64(secret()), message: secret() } });
  const handbookIssue = await must('/repos/shared/handbook/issues', {
    sudo: 'bob',
    body: { title: secret(), body: `@alice ${secret()}` },
  });
  const orgs = { username: 'hidden-org', visibility: 'private', description: secret(), full_name: secret() };
  await asAlice('/orgs', orgs);
  await must('/repos/bob/private-notes/collaborators/alice', {
    method: 'PUT',
    sudo: 'bob',
    body: { permission: 'write' },
  });
  needles.push(literal(forge.user('bob').secret));

  const generic = await fetch(`${forge.url}/api/packages/alice/generic/${secret()}/1.0/file.txt`, {
    method: 'PUT',
    headers: { authorization: `token ${forge.user('alice').tokens.full}` },
    body: secret(),
  });
  if (!generic.ok) throw new Error(`seeding: ${String(generic.status)} for a package`);

  const notes = '/repos/alice/private-notes';
  // A fork of the session's own repository, by somebody else, with a pull request from it.
  await must(`${notes}/collaborators/bob`, { method: 'PUT', body: { permission: 'write' } });
  await must(`${notes}/forks`, { sudo: 'bob', body: { name: 'notes-fork' } });
  await must('/repos/bob/notes-fork', { method: 'PATCH', sudo: 'bob', body: { description: secret() } });
  await must('/repos/bob/notes-fork/contents/fork.md', {
    sudo: 'bob',
    body: { content: base64('a change'), message: 'a change', new_branch: 'change' },
  });
  const notesPull = await must(`${notes}/pulls`, {
    sudo: 'bob',
    body: { title: 'from a fork', head: 'bob:change', base: 'main' },
  });
  const [commit] = await asAlice(`${notes}/commits?limit=1`);

  const threads = await asAlice('/notifications?all=true');
  const thread = threads.find((one: any) => one.repository.full_name === 'shared/handbook');
  const teams = await must('/orgs/shared/teams');
  return {
    needles,
    vault: {
      id: vault.id,
      issue: issue.number,
      comment: comment.id,
      label: label.id,
      milestone: milestone.id,
      release: release.id,
      releaseAsset: releaseAsset.id,
      pull: pull.number,
      commit: file.commit.sha,
      attachment: attachment.uuid,
    },
    handbook: { id: (await must('/repos/shared/handbook')).id, issue: handbookIssue.number },
    notes: { issue: 1, pull: notesPull.number, commit: commit.sha },
    thread: thread.id,
    team: teams.find((team: any) => team.name === 'members').id,
  };
}

/** A needle that the seed made. */
function literal(text: string): Needle {
  return Object.assign(new Needle(), { text: text.trim().toLowerCase() });
}

const REPOSITORIES = ['alice/vault', 'shared/handbook', 'shared/website', 'bob/private-notes', 'bob/notes-fork'];
const PARTS = [
  '',
  '/branches',
  '/commits?sha=main&limit=50',
  '/tags',
  '/releases',
  '/labels',
  '/milestones?state=all',
  '/issues?state=all&type=all&limit=50',
  '/issues/comments?limit=50',
  '/forks',
  '/stargazers',
  '/subscribers',
  '/collaborators',
  '/topics',
  '/hooks',
  '/keys',
  '/branch_protections',
  '/actions/secrets',
  '/actions/variables',
  '/wiki/pages',
];
const USER_PARTS = [
  '/user/keys',
  '/user/gpg_keys',
  '/user/emails',
  '/user/hooks',
  '/user/applications/oauth2',
  '/user/starred',
  '/user/subscriptions',
  '/user/following',
  '/user/orgs',
  '/user/repos?limit=50',
  '/user/settings',
  '/user/blocks',
  '/notifications?all=true&status-types=unread&status-types=read&status-types=pinned',
  '/packages/alice',
];

/** Everything else in the forge as it is now, by path: for comparing before and after. */
export async function snapshot(forge: Forge, { vault, handbook }: Targets): Promise<Readonly<Record<string, unknown>>> {
  const paths = [
    ...REPOSITORIES.flatMap((name) => PARTS.map((part) => `/repos/${name}${part}`)),
    `/repos/alice/vault/issues/${String(vault.issue)}/timeline`,
    `/repos/shared/handbook/issues/${String(handbook.issue)}/timeline`,
    '/repos/shared/website/issues/1/timeline',
    '/orgs/shared',
    '/orgs/shared/teams',
    '/orgs/shared/labels',
    '/orgs/shared/hooks',
    '/orgs/shared/members',
    '/orgs/shared/repos',
    '/orgs/hidden-org/repos',
    '/users/bob',
    '/users/bob/repos',
    '/admin/users',
  ];
  const call = async (path: string, how: ForgeCall = {}): Promise<readonly [string, unknown]> => {
    const { status, body }: ForgeAnswer = await forge.api(path, how);
    return [path, { status, body: steady(body) }];
  };
  const all = [];
  for (const path of paths) all.push(await call(path));
  for (const path of USER_PARTS) all.push(await call(path, { as: forge.user('alice').tokens.full }));
  return Object.fromEntries(all);
}

/** What the forge counts behind its answers, some time after a change, or writes in no order, and a fork's description of the session's own repository. */
const MOVING = new Set(['last_login', 'updated_at', 'language', 'size', 'parent', 'units']);

/** Without what moves by itself, and without what the session may change: its own repository, and issues of it. */
function steady(value: unknown): unknown {
  if (Array.isArray(value)) return value.filter((item) => !isOwn(item)).map(steady);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, item]) => !MOVING.has(key) && !isOwn(item))
      .map(([key, item]) => [key, steady(item)]),
  );
}

function isOwn(item: unknown): boolean {
  const { full_name, repository } = (item ?? {}) as { full_name?: string; repository?: { full_name?: string } };
  return full_name === 'alice/private-notes' || repository?.full_name === 'alice/private-notes';
}

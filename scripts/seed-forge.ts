/**
 * Fills a forge with what the tests, `make run` and `make up` need: users with a private repository each, an organisation that they
 * share, and access tokens. Everything goes by the forge's HTTP API, so it works wherever the forge runs; doing it again changes nothing
 * that is right already.
 *
 *   node -r ts-node/register/transpile-only scripts/seed-forge.ts URL FILE [USER...]
 *
 * The first administrator's name and password come from FORGE_ADMIN and FORGE_ADMIN_PASSWORD. FILE (mode 0600) gets the seed as JSON, and
 * is read first: tokens in it that still work stay.
 */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';

/** Somebody who can log in with a password. */
export interface Account {
  readonly name: string;
  readonly password: string;
}

/** Access tokens of one user, by what they allow. */
export interface SeededTokens {
  /** Reads repositories, issues, organisations and the user itself; every write is refused. */
  readonly read: string;
  /** Reads and writes repositories and issues. */
  readonly write: string;
  /** All scopes. */
  readonly full: string;
}

/** A user with a private repository `<name>/private-notes`. */
export interface SeededUser extends Account {
  readonly tokens: SeededTokens;
  /** The text of `secret.md` in the private repository: found nowhere else in the forge. */
  readonly secret: string;
}

/** What is in the forge after {@link seedForge}. */
export interface Seed {
  readonly url: string;
  readonly users: Readonly<Record<string, SeededUser>>;
  /** All users are in its team `members`; it has a private repository `handbook` and a public one, `website`, with an issue each. */
  readonly organization: typeof ORGANIZATION;
}

/** Where to seed, and as whom. */
export interface SeedOptions {
  /** The forge's URL for the API, without a path. */
  readonly url: string;
  readonly admin: Account;
  /** Names of the users; `alice` and `bob` if absent. */
  readonly users?: readonly string[];
  /** An earlier seed of the same forge, whose passwords and tokens are kept where they still work. */
  readonly previous?: Seed | undefined;
}

/** An answer of the forge's API: `body` is parsed JSON where it is JSON, else text. */
export interface ForgeAnswer {
  readonly status: number;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- the forge's JSON, asserted on by its readers
  readonly body: any;
}

/** One call of the forge's API. */
export interface ForgeCall {
  readonly method?: string;
  readonly body?: unknown;
  /** A token, or an account for HTTP Basic (which alone may make tokens). */
  readonly as?: string | Account;
  /** With an administrator's account: act as this user. */
  readonly sudo?: string;
}

const ORGANIZATION = 'shared';
const SCOPES: Readonly<Record<keyof SeededTokens, readonly string[]>> = {
  read: ['read:repository', 'read:issue', 'read:user', 'read:organization', 'read:notification', 'read:misc'],
  write: ['write:repository', 'write:issue', 'read:user', 'read:organization', 'read:notification', 'read:misc'],
  full: ['all'],
};
const CALL_DEADLINE_MS = 30_000;

/**
 * Calls the API of the forge at `url`; `path` is below `/api/v1`. Every status is an answer; only a forge that cannot be reached within
 * 30 s throws.
 */
export async function callForge(url: string, path: string, call: ForgeCall = {}): Promise<ForgeAnswer> {
  const headers: Record<string, string> = { accept: 'application/json' };
  if (typeof call.as === 'string') headers['authorization'] = `token ${call.as}`;
  else if (call.as)
    headers['authorization'] = `Basic ${Buffer.from(`${call.as.name}:${call.as.password}`).toString('base64')}`;
  if (call.sudo !== undefined) headers['sudo'] = call.sudo;
  if (call.body !== undefined) headers['content-type'] = 'application/json';
  const response = await fetch(`${url}/api/v1${path}`, {
    method: call.method ?? (call.body === undefined ? 'GET' : 'POST'),
    headers,
    ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
    signal: AbortSignal.timeout(CALL_DEADLINE_MS),
  });
  const text = await response.text();
  const json = response.headers.get('content-type')?.includes('json') === true && text !== '';
  return { status: response.status, body: json ? (JSON.parse(text) as unknown) : text };
}

/** Seeds the forge, or completes a seed that was cut short. Throws with the forge's own words where it refuses. */
export async function seedForge(options: SeedOptions): Promise<Seed> {
  const names = options.users ?? ['alice', 'bob'];
  const seeder = new Seeder(options.url, options.admin);
  const users = await Promise.all(names.map((name) => seeder.user(name, options.previous?.users[name])));
  await seeder.organization(names);
  return {
    url: options.url,
    organization: ORGANIZATION,
    users: Object.fromEntries(users.map((user) => [user.name, user])),
  };
}

class Seeder {
  constructor(
    private readonly url: string,
    private readonly admin: Account,
  ) {}

  /** A user with password, private repository and tokens; what works of an earlier seed is kept. */
  async user(name: string, previous?: SeededUser): Promise<SeededUser> {
    const account = { name, password: await this.password(name, previous?.password) };
    await this.repository(`/admin/users/${name}/repos`, name, 'private-notes', true);
    await this.issue(name, 'private-notes', `A private thought of ${name}`);
    const secret = await this.secret(name);
    const [read, write, full] = await Promise.all(
      (['read', 'write', 'full'] as const).map((kind) => this.token(account, kind, previous?.tokens[kind])),
    );
    return { ...account, secret, tokens: { read, write, full } };
  }

  /** The organisation, its team of all users, and its two repositories. */
  async organization(names: readonly string[]): Promise<void> {
    await this.ensure(`/orgs/${ORGANIZATION}`, '/orgs', { username: ORGANIZATION, visibility: 'public' });
    await this.repository(`/orgs/${ORGANIZATION}/repos`, ORGANIZATION, 'handbook', true);
    await this.repository(`/orgs/${ORGANIZATION}/repos`, ORGANIZATION, 'website', false);
    await this.issue(ORGANIZATION, 'handbook', 'A chapter is missing');
    await this.issue(ORGANIZATION, 'website', 'The front page is out of date');
    const team = await this.team();
    for (const name of names) await this.must(`/teams/${team}/members/${name}`, { method: 'PUT' });
  }

  private async team(): Promise<number> {
    const teams = await this.must(`/orgs/${ORGANIZATION}/teams`);
    const found = (teams.body as { id: number; name: string }[]).find((team) => team.name === 'members');
    if (found) return found.id;
    const made = await this.must(`/orgs/${ORGANIZATION}/teams`, {
      body: {
        name: 'members',
        permission: 'write',
        includes_all_repositories: true,
        units: ['repo.code', 'repo.issues', 'repo.pulls', 'repo.releases', 'repo.wiki'],
      },
    });
    return (made.body as { id: number }).id;
  }

  private async password(name: string, previous?: string): Promise<string> {
    const exists = (await this.call(`/users/${name}`)).status === 200;
    if (exists && previous !== undefined) {
      const answer = await callForge(this.url, '/user', { as: { name, password: previous } });
      if (answer.status === 200) return previous;
    }
    const password = randomBytes(18).toString('base64url');
    const fields = { password, email: `${name}@forge.test`, must_change_password: false };
    if (exists)
      await this.must(`/admin/users/${name}`, { method: 'PATCH', body: { ...fields, login_name: name, source_id: 0 } });
    else await this.must('/admin/users', { body: { ...fields, username: name } });
    return password;
  }

  private async secret(owner: string): Promise<string> {
    const path = `/repos/${owner}/private-notes/contents/secret.md`;
    const present = await this.call(path, { sudo: owner });
    if (present.status === 200) return Buffer.from((present.body as { content: string }).content, 'base64').toString();
    const secret = `only ${owner} may read this: ${randomBytes(16).toString('hex')}\n`;
    await this.must(path, {
      sudo: owner,
      body: { content: Buffer.from(secret).toString('base64'), message: 'a secret' },
    });
    return secret;
  }

  private async token(account: Account, kind: keyof SeededTokens, previous?: string): Promise<string> {
    if (previous !== undefined && (await callForge(this.url, '/user', { as: previous })).status === 200)
      return previous;
    const path = `/users/${account.name}/tokens`;
    await callForge(this.url, `${path}/seed-${kind}`, { method: 'DELETE', as: account });
    const made = await callForge(this.url, path, { as: account, body: { name: `seed-${kind}`, scopes: SCOPES[kind] } });
    return (this.accepted(path, made).body as { sha1: string }).sha1;
  }

  private repository(create: string, owner: string, name: string, isPrivate: boolean): Promise<void> {
    return this.ensure(`/repos/${owner}/${name}`, create, {
      name,
      private: isPrivate,
      auto_init: true,
      default_branch: 'main',
    });
  }

  private async issue(owner: string, repository: string, title: string): Promise<void> {
    const path = `/repos/${owner}/${repository}/issues`;
    const present = await this.must(`${path}?state=all&limit=50`);
    if ((present.body as { title: string }[]).some((issue) => issue.title === title)) return;
    await this.must(path, { body: { title, body: `Said in ${owner}/${repository}.` } });
  }

  private async ensure(path: string, create: string, body: unknown): Promise<void> {
    if ((await this.call(path)).status !== 200) await this.must(create, { body });
  }

  private call(path: string, call: ForgeCall = {}): Promise<ForgeAnswer> {
    return callForge(this.url, path, { as: this.admin, ...call });
  }

  private async must(path: string, call: ForgeCall = {}): Promise<ForgeAnswer> {
    return this.accepted(path, await this.call(path, call));
  }

  private accepted(path: string, answer: ForgeAnswer): ForgeAnswer {
    if (answer.status < 300) return answer;
    throw new Error(`the forge answered ${answer.status} on ${path}: ${JSON.stringify(answer.body)}`);
  }
}

async function main([url, file, ...users]: readonly string[]): Promise<void> {
  const password = process.env['FORGE_ADMIN_PASSWORD'];
  if (url === undefined || file === undefined || password === undefined) {
    throw new Error('usage: FORGE_ADMIN_PASSWORD=... seed-forge.ts URL FILE [USER...]');
  }
  const previous = await readFile(file, 'utf8').then(
    (text) => JSON.parse(text) as Seed,
    () => undefined,
  );
  const seed = await seedForge({
    url: url.replace(/\/+$/, ''),
    admin: { name: process.env['FORGE_ADMIN'] ?? 'forge-admin', password },
    ...(users.length > 0 ? { users } : {}),
    previous,
  });
  await writeFile(file, `${JSON.stringify(seed, null, 2)}\n`, { mode: 0o600 });
  console.log(`seeded ${seed.url}: users ${Object.keys(seed.users).join(', ')}, organisation ${seed.organization}`);
}

if (require.main === module) {
  main(process.argv.slice(2)).catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  });
}

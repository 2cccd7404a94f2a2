/**
 * The gateway's two OAuth applications at a forge, one for reading and one for writing: what a user once granted to an application sticks to it, so
 * one application could not ask for more or less. Their owner is an account that never logs in: whoever owns an application can change where its
 * codes are sent. Everything goes by the forge's HTTP API, as its administrator; doing it again changes nothing that is right already.
 */
import { randomBytes } from 'node:crypto';
import { type Account, callForge, type ForgeAnswer, type ForgeCall } from './seed-forge';

/** What the gateway needs to know of one application. */
export interface ForgeApplicationKey {
  readonly clientId: string;
  readonly clientSecret: string;
}

/** By what the gateway does with them. */
export type ForgeApplications = Readonly<Record<ForgeApplicationKind, ForgeApplicationKey>>;
export type ForgeApplicationKind = 'read' | 'write';

export interface ForgeApplicationsOptions {
  /** The forge's URL for the API, without a path. */
  readonly url: string;
  readonly admin: Account;
  /** The gateway's, without a path. */
  readonly publicUrl: string;
  /** Applications of an earlier time, kept where they still work: the forge shows a secret only once. */
  readonly previous?: ForgeApplications | undefined;
}

/** The names that users see at the forge. */
export const APPLICATION_NAMES: Readonly<Record<ForgeApplicationKind, string>> = {
  read: 'forgejo-mcp (read)',
  write: 'forgejo-mcp (write)',
};
const OWNER = 'mcp-gateway';
const CALL_DEADLINE_MS = 30_000;

/** Where the forge sends browsers back to. @param publicUrl the gateway's. */
export const redirectUriOf = (publicUrl: string): string => `${publicUrl}/oauth/callback`;

/**
 * Makes both, or mends them: an application whose redirect URI is another or whose secret is lost keeps its id, and so what users granted to it, and
 * gets a new secret. Throws with the forge's own words where it refuses.
 */
export async function ensureForgeApplications(options: ForgeApplicationsOptions): Promise<ForgeApplications> {
  const keeper = new Keeper(options.url, options.admin, redirectUriOf(options.publicUrl));
  await keeper.owner();
  return {
    read: await keeper.application(APPLICATION_NAMES.read, options.previous?.read),
    write: await keeper.application(APPLICATION_NAMES.write, options.previous?.write),
  };
}

/** An application as the forge lists it. */
interface Listed {
  readonly id: number;
  readonly name: string;
  readonly client_id: string;
  readonly redirect_uris: readonly string[];
  readonly confidential_client: boolean;
}

class Keeper {
  constructor(
    private readonly url: string,
    private readonly admin: Account,
    private readonly redirectUri: string,
  ) {}

  /** The account that owns both. Nobody knows its password. */
  async owner(): Promise<void> {
    if ((await this.call(`/users/${OWNER}`)).status === 200) return;
    await this.must('/admin/users', {
      body: {
        username: OWNER,
        email: `${OWNER}@noreply.invalid`,
        password: randomBytes(30).toString('base64url'),
        must_change_password: false,
        visibility: 'private',
      },
    });
  }

  async application(name: string, previous: ForgeApplicationKey | undefined): Promise<ForgeApplicationKey> {
    const path = '/user/applications/oauth2';
    const listed = await this.must(`${path}?limit=50`, { sudo: OWNER });
    const present = (listed.body as Listed[]).find((one) => one.name === name);
    if (present !== undefined && previous !== undefined && (await this.stillGood(present, previous))) return previous;
    const wanted = { name, redirect_uris: [this.redirectUri], confidential_client: true };
    const made = await this.must(present === undefined ? path : `${path}/${present.id}`, {
      method: present === undefined ? 'POST' : 'PATCH',
      sudo: OWNER,
      body: wanted,
    });
    const { client_id, client_secret } = made.body as { readonly client_id: string; readonly client_secret: string };
    return { clientId: client_id, clientSecret: client_secret };
  }

  private async stillGood(present: Listed, previous: ForgeApplicationKey): Promise<boolean> {
    const { client_id: id, redirect_uris: uris, confidential_client: confidential } = present;
    if (id !== previous.clientId || !confidential || uris.length !== 1 || uris[0] !== this.redirectUri) return false;
    return this.knowsSecret(previous);
  }

  /** The forge looks at the secret before the refresh token, and says which of the two is wrong. */
  private async knowsSecret({ clientId, clientSecret }: ForgeApplicationKey): Promise<boolean> {
    const answer = await fetch(`${this.url}/login/oauth/access_token`, {
      method: 'POST',
      body: new URLSearchParams({
        grant_type: 'refresh_token',
        refresh_token: 'none',
        client_id: clientId,
        client_secret: clientSecret,
      }),
      signal: AbortSignal.timeout(CALL_DEADLINE_MS),
    });
    return ((await answer.json()) as { error?: string }).error !== 'invalid_client';
  }

  private call(path: string, call: ForgeCall = {}): Promise<ForgeAnswer> {
    return callForge(this.url, path, { as: this.admin, ...call });
  }

  private async must(path: string, call: ForgeCall = {}): Promise<ForgeAnswer> {
    const answer = await this.call(path, call);
    if (answer.status < 300) return answer;
    throw new Error(`the forge answered ${answer.status} on ${path}: ${JSON.stringify(answer.body)}`);
  }
}

/** The two OAuth applications of a forge that `make run` was given: its administrator makes them by hand. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  APPLICATION_NAMES,
  type ForgeApplicationKey,
  type ForgeApplicationKind,
  type ForgeApplications,
  redirectUriOf,
} from '../forge-applications';

/** As the configuration names an application. */
interface ApplicationSettings {
  readonly clientId: string;
  readonly clientSecretFile: string;
}

/** Applications from the environment; undefined where one of the four variables is missing or empty. */
export function givenApplications(env: NodeJS.ProcessEnv): ForgeApplications | undefined {
  const read = given(env, 'READ');
  const write = given(env, 'WRITE');
  return read === undefined || write === undefined ? undefined : { read, write };
}

function given(env: NodeJS.ProcessEnv, kind: 'READ' | 'WRITE'): ForgeApplicationKey | undefined {
  const clientId = env[`FORGEJO_${kind}_CLIENT_ID`] ?? '';
  const clientSecret = env[`FORGEJO_${kind}_CLIENT_SECRET`] ?? '';
  return clientId === '' || clientSecret === '' ? undefined : { clientId, clientSecret };
}

/** What to do where they are missing. */
export function howToMakeApplications(forge: string, publicUrl: string): string {
  return `Users log in at ${forge} through two OAuth applications, one for reading and one for writing. Whoever owns them can change where
logins are sent, so make them there with an account that nobody works with, at ${forge}/user/settings/applications,
or under its Site administration, where no user owns them, at ${forge}/admin/applications:

  Application name      ${APPLICATION_NAMES.read}
  Redirect URI          ${redirectUriOf(publicUrl)}
  Confidential client   yes

and once more with the name ${APPLICATION_NAMES.write} and the same redirect URI. Then:

  FORGEJO_READ_CLIENT_ID=... FORGEJO_READ_CLIENT_SECRET=... \\
  FORGEJO_WRITE_CLIENT_ID=... FORGEJO_WRITE_CLIENT_SECRET=... \\
  FORGEJO_URL=${forge} make run

To go without them, with access tokens that users paste: AUTH=bearer FORGEJO_URL=${forge} make run`;
}

/** Puts the secrets into files for this user alone. @returns what the configuration says of both. */
export async function keepApplications(
  folder: string,
  applications: ForgeApplications,
): Promise<Record<ForgeApplicationKind, ApplicationSettings>> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const keep = async (kind: ForgeApplicationKind): Promise<ApplicationSettings> => {
    const { clientId, clientSecret } = applications[kind];
    const clientSecretFile = join(folder, `${kind}-client-secret`);
    await writeFile(clientSecretFile, clientSecret, { mode: 0o600 });
    return { clientId, clientSecretFile };
  };
  return { read: await keep('read'), write: await keep('write') };
}

/** What `make run` tells once everything is up. */
import type { Seed } from '../seed-forge';

export interface Guide {
  readonly publicUrl: string;
  readonly forge: string;
  /** The users of the local forge. */
  readonly users?: Seed['users'] | undefined;
}

/** How to log in with a browser. */
export function oauthGuide({ publicUrl, forge, users }: Guide): string {
  const url = `${publicUrl}/mcp`;
  return text(
    `MCP endpoint   ${url}`,
    `connections    ${publicUrl}/connections (what you have allowed, to change or end it)`,
    `forge          ${forge}`,
    ...Object.values(users ?? {}).map(
      ({ name, password }) =>
        `user           ${name}, password ${password}; nobody else can read ${name}/private-notes`,
    ),
    '',
    'Add it to your MCP client, without any token:',
    `  Claude Code   claude mcp add --transport http forgejo ${url}`,
    `                then /mcp in a session, forgejo, Authenticate`,
    `  VS Code       code --add-mcp '${JSON.stringify({ name: 'forgejo', type: 'http', url })}'`,
    '',
    'It opens your browser: choose what it may do and where, log in at the forge, and it goes on by itself.',
  );
}

/** How to go with access tokens. */
export function bearerGuide({ publicUrl, forge, users }: Guide): string {
  const url = `${publicUrl}/mcp`;
  const alice = users?.['alice'];
  const token = alice?.tokens.full ?? `<a token made at ${forge}/user/settings/applications>`;
  return text(
    `MCP endpoint   ${url}`,
    `forge          ${forge}`,
    ...(alice === undefined
      ? []
      : [`user           alice, whose private repository alice/private-notes nobody else can read`]),
    `token          ${token}`,
    '',
    'Paste this into a terminal for Claude Code:',
    `  claude mcp add --transport http forgejo ${url} --header "Authorization: Bearer ${token}"`,
  );
}

function text(...lines: readonly string[]): string {
  return ['', ...lines, '', 'Ctrl-C ends it.', ''].join('\n');
}

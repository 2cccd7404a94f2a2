/** The command line. */
import { parseArgs } from 'node:util';

export type Command = 'serve' | 'operator' | 'config check' | 'config schema' | 'config docs' | 'help' | 'version';

export interface Arguments {
  readonly command: Command;
  readonly config: string | undefined;
}

const COMMANDS: ReadonlySet<string> = new Set<Command>([
  'serve',
  'operator',
  'config check',
  'config schema',
  'config docs',
]);

export const USAGE = `forgejo-mcp-operator: one Forgejo MCP server for every MCP session

  forgejo-mcp-operator [serve] [--config FILE]   serves MCP clients
  forgejo-mcp-operator operator [--config FILE]  looks after a cluster's sessions, beside the gateways
  forgejo-mcp-operator config check              tells everything that is wrong with the configuration
  forgejo-mcp-operator config schema             prints the JSON schema of the configuration file
  forgejo-mcp-operator config docs               prints docs/configuration.md
  forgejo-mcp-operator --help | --version

  -c, --config FILE   a YAML file (or the variable FMO_CONFIG); the environment (FMO_...) wins over it

Exit status: 0 all went well; 1 it could not start, or not stop in order; 2 the command line or the configuration is wrong.
The least that works, for clients that send a Forgejo access token:
  FMO_AUTH_MODE=bearer FMO_SERVER_FORGEJO_URL=https://forgejo.example.org forgejo-mcp-operator
`;

/**
 * Reads the command line.
 * @throws Error with a message for people.
 */
export function parseArguments(argv: readonly string[], env: Readonly<Record<string, string | undefined>>): Arguments {
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: {
      config: { type: 'string', short: 'c' },
      help: { type: 'boolean', short: 'h' },
      version: { type: 'boolean', short: 'v' },
    },
    allowPositionals: true,
  });
  const config = values.config ?? (env.FMO_CONFIG === '' ? undefined : env.FMO_CONFIG);
  if (values.help === true || positionals[0] === 'help') return { command: 'help', config };
  if (values.version === true || positionals[0] === 'version') return { command: 'version', config };
  const words = positionals.length === 0 ? 'serve' : positionals.join(' ');
  if (!COMMANDS.has(words)) throw new Error(`There is no command "${words}".`);
  return { command: words as Command, config };
}

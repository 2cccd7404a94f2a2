/** The configuration's documentation, made from the schema: `docs/configuration.md` and `--help`. */
import { settings, type Setting } from './describe';

const HEAD = `# Configuration

<!-- Made by \`forgejo-mcp-operator config docs\`; a test fails when it differs. Change src/config/ instead. -->

The gateway reads one YAML file (\`--config FILE\`, or the variable \`FMO_CONFIG\`), then the environment, which wins. \`forgejo-mcp-operator config check\` tells
everything that is wrong with both, at once, and \`forgejo-mcp-operator config schema\` prints a JSON schema for editors.

- **Variables.** A setting's variable is \`FMO_\` and its path in capitals, with an underscore between words: \`http.publicUrl\` is \`FMO_HTTP_PUBLIC_URL\`.
  Lists are separated by commas, or YAML (\`[a, b]\`); maps are YAML (\`{a: b}\`).
- **Times** are written \`30s\`, \`5m\`, \`1h30m\`, or as a number of seconds. **Sizes** are \`512Ki\`, \`4Mi\`, or a number of bytes.
- **Secrets** are never values of settings. Keys are in files (\`keyFile\`): one a line, base64 or hex, at least 32 bytes. The first key signs and all verify, so a
  new key goes on top and the old ones stay as long as what they signed ([keys.md](keys.md)). A file that is not there is made at first start, readable by its
  user only. Client secrets of Forgejo's are in files of their own (\`clientSecretFile\`).
- Settings whose name begins with \`insecure\` take a protection away.
- A private certificate authority of Forgejo's is given to Node: \`NODE_EXTRA_CA_CERTS=/path/ca.pem\`.

The least that works. Users log in at Forgejo, with two OAuth applications that are made there ([install.md](install.md)):

\`\`\`yaml
http: { publicUrl: https://mcp.example.org }
server:
  forgejo:
    url: https://forgejo.example.org
    applications:
      read: { clientId: 7a7b..., clientSecretFile: /etc/forgejo-mcp-operator/read-client-secret }
      write: { clientId: 1c1d..., clientSecretFile: /etc/forgejo-mcp-operator/write-client-secret }
\`\`\`

The least for scripts, whose clients send a Forgejo access token:

\`\`\`yaml
auth: { mode: bearer }
server:
  forgejo: { url: https://forgejo.example.org }
\`\`\`
`;

const SERVERS = `
## Servers

A server is what to run for each MCP session. The section \`server\` is what all have in common; alone it is the one server \`default\`. \`servers\` lists servers by
\`name\`, each with the same settings, which win over \`server\`. A folder (\`serversDir\`) has one file for each, in the form of an \`MCPServer\` resource:

\`\`\`yaml
kind: MCPServer
metadata: { name: team-a }
spec:
  policy: { access: read, owners: [team-a] }
\`\`\`

In a cluster the resources themselves are served as well (\`backend.serversNamespace\`, which the chart sets): [custom-resources.md](custom-resources.md).

Every server is served at \`/servers/<name>/mcp\`, the default one at \`/mcp\` as well. The defaults are those of
[goern's forgejo-mcp](https://codeberg.org/goern/forgejo-mcp).
`;

/** The whole of `docs/configuration.md`. */
export function configurationMarkdown(): string {
  const all = settings();
  const sections = new Map<string, Setting[]>();
  for (const setting of all) {
    const section = setting.path.length === 1 ? '' : (setting.path[0] ?? '');
    sections.set(section, [...(sections.get(section) ?? []), setting]);
  }
  const parts = [HEAD];
  for (const [section, list] of sections) {
    if (section === 'server') continue;
    parts.push(`\n## ${section === '' ? 'General' : `\`${section}\``}\n\n${table(list)}`);
  }
  parts.push(SERVERS, '\n', table(sections.get('server') ?? []));
  return `${parts.join('').trimEnd()}\n`;
}

function table(list: readonly Setting[]): string {
  const rows = list.map(
    ({ path, variable, type, default: value, description }) =>
      `| \`${path.join('.')}\`<br>\`${variable}\` | ${cell(type)} | ${shown(value)} | ${cell(description)} |`,
  );
  return `| setting and variable | type | default | meaning |\n| --- | --- | --- | --- |\n${rows.join('\n')}\n`;
}

function shown(value: unknown): string {
  if (value === undefined) return '';
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return `\`${cell(text)}\``;
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|');
}

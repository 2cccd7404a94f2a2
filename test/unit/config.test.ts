/** The configuration: one schema for file, folder and environment, and every problem at once. */
import { expect } from 'chai';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArguments } from '../../src/arguments';
import { addressGuard } from '../../src/auth/clients/addresses';
import { DEFAULT_REDIRECT_POLICY } from '../../src/auth/clients/redirect-uri';
import { LIFETIMES } from '../../src/auth/provider/ports';
import { jsonSchema, settings, variableOf } from '../../src/config/describe';
import { configurationMarkdown } from '../../src/config/documentation';
import { loadKeys } from '../../src/config/key-files';
import { loadConfig, type Config } from '../../src/config/load';
import { formatDuration, parseBytes, parseDuration } from '../../src/config/units';
import { AppError } from '../../src/errors';
import { checkScopes } from '../../src/forgejo/login/scopes';

const FORGE = 'auth: { mode: bearer }\nserver: { forgejo: { url: "https://forge.example/" } }\n';
const APPLICATIONS = {
  read: { clientId: 'r', clientSecretFile: '/r' },
  write: { clientId: 'w', clientSecretFile: '/w' },
};

describe('configuration', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'fmo-config-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  const load = async (text: string | undefined, env: Record<string, string> = {}): Promise<Config> => {
    const file = join(dir, 'config.yaml');
    if (text !== undefined) await writeFile(file, text);
    return loadConfig({ file: text === undefined ? undefined : file, env });
  };
  /** The problems of a configuration, a line each. */
  const problems = async (text: string | undefined, env: Record<string, string> = {}): Promise<string[]> => {
    try {
      await load(text, env);
      return [];
    } catch (thrown) {
      expect(thrown).to.be.instanceOf(AppError).and.include({ code: 'CONFIG_INVALID' });
      return (thrown as AppError).message
        .split('\n')
        .slice(1)
        .map((line) => line.trim());
    }
  };

  it('needs nothing but the forge, in a file or in the environment', async () => {
    expect((await load(FORGE)).servers[0]?.forgejo.url).to.equal('https://forge.example');
    const { servers, defaultServer } = await load(undefined, {
      FMO_AUTH_MODE: 'bearer',
      FMO_SERVER_FORGEJO_URL: 'https://forge.example/sub/',
    });
    expect(defaultServer).to.equal('default');
    expect(servers[0]?.forgejo).to.deep.include({
      url: 'https://forge.example/sub',
      apiUrl: 'https://forge.example/sub',
    });
    expect(await problems(undefined)).to.deep.equal([
      'server.forgejo.url: is needed: a URL such as https://forgejo.example.org, without user, query or fragment',
    ]);
  });

  it("has the settings of goern's forgejo-mcp as a server's defaults", async () => {
    const [server] = (await load(FORGE)).servers;
    expect(server).to.deep.include({
      name: 'default',
      command: ['/forgejo-mcp', '--transport', 'stdio'],
      idleTimeout: 300,
      sessionTTL: 86_400,
    });
    expect(server?.forgejo).to.deep.include({
      urlEnv: 'FORGEJO_URL',
      tokenEnv: ['FORGEJO_ACCESS_TOKEN'],
      insecureAllowSiteAdmins: false,
    });
  });

  it('lets the environment win over the file, and a server over what all have in common', async () => {
    const { http, servers } = await load(
      `auth: { mode: bearer }\nhttp: { maxConnections: 5, keepalive: 10s }\nserver: { callTimeout: 1m, policy: { access: read } }\nservers: [{ name: a, forgejo: { url: http://a.example } }, { name: b, callTimeout: 2m, forgejo: { url: http://b.example } }]`,
      { FMO_HTTP_MAX_CONNECTIONS: '7', FMO_SERVER_IDLE_TIMEOUT: '1h' },
    );
    expect([http.maxConnections, http.keepalive]).to.deep.equal([7, 10]);
    expect(
      servers.map(({ name, callTimeout, idleTimeout, policy }) => [name, callTimeout, idleTimeout, policy.access]),
    ).to.deep.equal([
      ['a', 60, 3600, 'read'],
      ['b', 120, 3600, 'read'],
    ]);
  });

  it('reads lists and maps from the environment', async () => {
    const { http, servers } = await load(FORGE, {
      FMO_HTTP_ALLOWED_HOSTS: 'a.example, b.example:81',
      FMO_HTTP_ALLOWED_ORIGINS: '["https://x.example"]',
      FMO_SERVER_ENV: '{ LOG: "1" }',
      FMO_SERVER_COMMAND: '/bin/child,--flag',
      FMO_SERVER_POD_TOLERATIONS: '[{ key: k, operator: Exists }]',
    });
    expect(http.allowedHosts).to.deep.equal(['a.example', 'b.example:81']);
    expect(http.allowedOrigins).to.deep.equal(['https://x.example']);
    expect(servers[0]).to.deep.include({ env: { LOG: '1' }, command: ['/bin/child', '--flag'] });
    expect(servers[0]?.pod.tolerations).to.deep.equal([{ key: 'k', operator: 'Exists' }]);
  });

  it('reads a folder of servers in the form of MCPServer resources', async () => {
    const servers = join(dir, 'servers');
    await mkdir(servers);
    await writeFile(
      join(servers, 'b.yaml'),
      'kind: MCPServer\nmetadata: { name: team }\nspec: { policy: { owners: [team] } }\n',
    );
    await writeFile(join(servers, 'c.yaml'), 'kind: Pod\nmetadata: { name: "A B" }\nspec: { idleTimeot: 1 }\n');
    await writeFile(join(servers, '.hidden.yaml'), '{');
    const found = await problems(`${FORGE}serversDir: ${servers}\n`);
    expect(found).to.have.length(3);
    expect(found.every((line) => line.startsWith(join(servers, 'c.yaml')))).to.equal(true);
    await rm(join(servers, 'c.yaml'));
    const config = await load(`${FORGE}serversDir: ${servers}\n`);
    expect(config.servers.map(({ name }) => name)).to.deep.equal(['team']);
    expect(config.servers[0]?.policy.owners).to.deep.equal(['team']);
  });

  it('tells every problem at once, with its place, the variable behind it and what to do', async () => {
    const text = `
http: { listn: 1, listen: abc, maxBodyBytes: 5x, keepalive: 5m }
server: { idleTimout: 5m, forgejo: { url: ftp://x }, policy: { access: foo } }
servers: [{ name: A b, callTimeout: x }, { name: a }, { name: a, forgejo: { url: http://x/ } }, 5]
sessions: 7
`;
    expect(
      await problems(text, { FMO_HTTP_PUBLIC_URL: 'x', FMO_HTTP_PUBLICURL: 'y', FMO_LOG_LEVEL: 'loud' }),
    ).to.have.members([
      'FMO_HTTP_PUBLICURL: sets nothing; did you mean FMO_HTTP_PUBLIC_URL?',
      'http.listen: must be an address and a port such as 127.0.0.1:8080 or [::]:8080',
      'http.publicUrl (FMO_HTTP_PUBLIC_URL): must be a URL such as https://forgejo.example.org, without user, query or fragment',
      'http.maxBodyBytes: must be a size such as 512Ki, 4Mi or a number of bytes',
      'http.keepalive: must be at most 1m',
      'http.listn: there is no such setting; did you mean "listen"?',
      'sessions: must be a map',
      'log.level (FMO_LOG_LEVEL): must be one of "debug", "info", "warn", "error"',
      'servers[3]: must be a map',
      'servers[0].name: must be a name of at most 63 lower-case letters, digits and hyphens',
      'servers[0].callTimeout: must be a time such as 30s, 5m or 1h30m',
      'servers[2].name: there are two servers named "a"; rename one',
      'server.forgejo.url: must be a URL such as https://forgejo.example.org, without user, query or fragment',
      'server.policy.access: must be one of "read", "write"',
      'server.idleTimout: there is no such setting; did you mean "idleTimeout"?',
    ]);
  });

  it('tells what does not go together', async () => {
    const text = `
auth: { mode: bearer }
http: { listen: "0.0.0.0:80", maxBodyBytes: 1Gi }
backend: { kind: pod }
store: { driver: kubernetes }
proxy: { tls: on, insecureNoTls: true, sourceCheck: require, insecureNoSourceCheck: true }
sessions: { maxPerUser: 9, maxTotal: 5 }
defaultServer: other
server: { forgejo: { url: https://f.example }, env: { FORGEJO_URL: x }, maxLifetime: 1s, pod: { launcher: inject } }
`;
    const found = (await problems(text)).map((line) => line.split(': ')[0]);
    expect(found).to.have.members([
      'http.publicUrl',
      'http.maxBodyBytesInFlight',
      'sessions.maxPerUser',
      'proxy.url',
      'defaultServer',
      'server "default"',
      'server "default"',
      'server "default"',
      'server "default"',
      'proxy.insecureNoTls',
      'proxy.insecureNoSourceCheck',
      'store.namespace',
    ]);
    expect(await problems(`${FORGE}http: { publicUrl: "https://a.example/mcp" }\n`)).to.have.length(1);
  });

  it('has a pool of no pods unless told, as large at most as told, and refuses one whose most is less than its least', async () => {
    const pools = async (yaml: string) =>
      (await load(`${FORGE}servers: [{ name: a, pool: ${yaml} }]`)).servers[0]?.pool;
    expect(await pools('{}')).to.deep.equal({ min: 0, max: 0, maxAge: 3_600 });
    expect(await pools('{ min: 3 }')).to.deep.equal({ min: 3, max: 3, maxAge: 3_600 });
    expect(await pools('{ max: 5, maxAge: 10m }')).to.deep.equal({ min: 0, max: 5, maxAge: 600 });
    expect(await problems(`${FORGE}servers: [{ name: a, pool: { min: 3, max: 2 } }]`)).to.deep.equal([
      'server "a": pool.max: must be at least pool.min',
    ]);
  });

  it('bounds what the credential proxy holds to check: 64 MiB, and never less than one body of the longest', async () => {
    expect((await load(FORGE)).proxy.maxHeldBodyBytes).to.equal(64 * 1024 * 1024);
    expect((await load(`${FORGE}proxy: { maxHeldBodyBytes: 4Mi }\n`)).proxy.maxHeldBodyBytes).to.equal(4 * 1024 * 1024);
    expect(await problems(`${FORGE}proxy: { maxHeldBodyBytes: 4095Ki }\n`)).to.deep.equal([
      'proxy.maxHeldBodyBytes: must be at least 4194304',
    ]);
  });

  describe('of logins with a browser', () => {
    /** Two servers of one Forgejo. */
    const text = (
      oauth: object = {},
      [a, b]: readonly [object, object] = [APPLICATIONS, APPLICATIONS],
      more: object = {},
    ): string => {
      const forgejo = (applications: object): object => ({ url: 'https://forge.example', applications, ...more });
      return JSON.stringify({
        auth: { oauth },
        servers: [
          { name: 'a', forgejo: forgejo(a) },
          { name: 'b', forgejo: forgejo(b) },
        ],
      });
    };

    it('is what it does unless told otherwise, with lifetimes and schemes as the authorization server has them', async () => {
      const { auth, servers } = await load(text());
      expect(auth.mode).to.equal('oauth');
      expect(auth.oauth).to.include({
        accessTokenLifetime: LIFETIMES.accessToken,
        refreshTokenLifetime: LIFETIMES.refreshToken,
        grantLifetime: LIFETIMES.grant,
        loginTimeout: LIFETIMES.interaction,
        refreshOverlap: LIFETIMES.refreshOverlap,
        registration: true,
        clientDocuments: true,
      });
      expect(auth.oauth.redirectSchemes).to.deep.equal(DEFAULT_REDIRECT_POLICY.schemes);
      const applications = Object.values(servers[0]?.forgejo.applications ?? {});
      expect(applications.map(({ clientId, clientSecretFile }) => [clientId, clientSecretFile])).to.deep.equal([
        ['r', '/r'],
        ['w', '/w'],
      ]);
      for (const { scopes } of applications) checkScopes(scopes);
      expect(applications[0]?.scopes.filter((scope) => scope.startsWith('write:'))).to.deep.equal([]);
    });

    it('needs two applications in Forgejo for every server, and says how they are made', async () => {
      const found = await problems('server: { forgejo: { url: "https://forge.example" } }');
      expect(found).to.have.length(1);
      expect(found[0]).to.match(/^server "default": forgejo\.applications: is needed/);
      expect(found[0]).to.contain('/oauth/callback').and.contain('auth.mode to bearer');
      expect(await problems(text({}, [APPLICATIONS, { read: APPLICATIONS.read }]))).to.deep.equal([
        'server.forgejo.applications.write: is needed: a map',
      ]);
    });

    it('refuses one application for reading and writing, and two logins for one Forgejo', async () => {
      const same = { ...APPLICATIONS, write: APPLICATIONS.read };
      expect(await problems(text({}, [same, same]))).to.have.length(2);
      const other = { ...APPLICATIONS, read: { ...APPLICATIONS.read, scopes: ['read:user'] } };
      expect(await problems(text({}, [APPLICATIONS, other]))).to.deep.equal([
        'server "b": forgejo: must have the apiUrl and the applications of server "a", which is of the same Forgejo',
      ]);
      const nothing = { ...APPLICATIONS, read: { ...APPLICATIONS.read, scopes: [] } };
      expect(await problems(text({}, [nothing, nothing]))).to.have.length(2);
    });

    it('refuses lifetimes that go beyond each other or their limits, and clients with one id', async () => {
      const found = await problems(
        text({ accessTokenLifetime: '1h', refreshTokenLifetime: '1h', grantLifetime: '30m' }),
      );
      expect(found.map((line) => line.split(':')[0])).to.deep.equal([
        'auth.oauth.refreshTokenLifetime',
        'auth.oauth.refreshTokenLifetime',
      ]);
      expect(await problems(text({ accessTokenLifetime: '2h' }))).to.deep.equal([
        'auth.oauth.accessTokenLifetime: must be at most 1h',
      ]);
      expect(await problems(text({ refreshOverlap: '6m' }))).to.have.length(1);
      const client = { clientId: 'ci', name: 'CI', redirectUris: ['https://ci.example/cb'] };
      expect(await problems(text({ clients: [client, client] }))).to.have.length(1);
    });

    it('takes clients that are known beforehand from a file and from the environment', async () => {
      const clients = [{ clientId: 'ci', name: 'CI', redirectUris: ['https://ci.example/cb'] }];
      expect((await load(text({ clients }))).auth.oauth.clients).to.deep.equal(clients);
      const variables = { FMO_AUTH_OAUTH_CLIENTS: JSON.stringify(clients) };
      expect((await load(text(), variables)).auth.oauth.clients).to.deep.equal(clients);
      expect(await problems(text({ clients: [{ clientId: 'ci', secret: 'x', redirectUris: [] }, 5] }))).to.deep.equal([
        'auth.oauth.clients[0].name: is needed: text',
        'auth.oauth.clients[0].redirectUris: must name at least one',
        'auth.oauth.clients[0].secret: there is no such setting; remove it',
        'auth.oauth.clients[1]: must be a map',
      ]);
    });

    it('makes networks that are refused of addresses, for the guard of documents', async () => {
      const { auth } = await load(text({ refusedNetworks: ['10.0.0.1', '2a00::/16', '2a01::1'] }));
      expect(auth.oauth.refusedNetworks).to.deep.equal(['10.0.0.1/32', '2a00::/16', '2a01::1/128']);
      expect(addressGuard(auth.oauth.refusedNetworks)('2a01::1')).to.equal(false);
      expect(await problems(text({ refusedNetworks: ['fe80::1%eth0', '10.0.0.0/33'] }))).to.have.length(2);
      expect(await problems(text({ redirectSchemes: ['vscode:', 'x y'] }))).to.have.length(2);
    });

    it('keeps them in a namespace where no session is', async () => {
      const pods = `${FORGE}backend: { kind: pod, namespace: s }\nproxy: { url: "https://p.example" }\n`;
      const image = { FMO_SERVER_POD_IMAGE: 'image' };
      expect(await problems(`${pods}store: { driver: kubernetes, namespace: l }\n`, image)).to.deep.equal([]);
      expect(await problems(`${pods}store: { driver: kubernetes, namespace: s }\n`, image)).to.have.length(1);
    });
  });

  it('tells of a file that is not there, is no YAML, or is no map', async () => {
    const missing = join(dir, 'none.yaml');
    await expectProblem(loadConfig({ file: missing, env: {} }), `${missing}: there is no such file`);
    expect((await problems('a: [')).join()).to.contain('config.yaml');
    expect((await problems('- 1')).join()).to.contain('must be a map');
    expect((await problems(`${FORGE}serversDir: ${dir}/none\n`)).join()).to.contain('there is no such folder');
  });

  async function expectProblem(promise: Promise<unknown>, text: string): Promise<void> {
    const error = await promise.catch((thrown: unknown) => thrown);
    expect((error as AppError).message).to.contain(text);
  }

  it('leaves variables alone that are not ours', async () => {
    expect(
      await problems(FORGE, { FMO_CLUSTER: 'x', FMO_GATEWAY_SERVICE_HOST: '10.0.0.1', FMO_CONFIG: 'x' }),
    ).to.deep.equal([]);
    expect(await problems(FORGE, { FMO_HTTP_NONSENSE_OF_ALL: 'x' })).to.have.length(1);
  });

  it('has a JSON schema that knows every setting, with descriptions, and requires nothing but names', () => {
    const schema = jsonSchema();
    expect(schema.properties).to.include.keys('http', 'server', 'servers', 'backend');
    expect(schema.required).to.equal(undefined);
    expect(schema.properties?.servers?.items?.required).to.deep.equal(['name']);
    for (const { path, description, variable } of settings()) {
      expect(description, path.join('.')).to.match(/^.{10,}[.!]$/s);
      expect(variable).to.match(/^FMO_[A-Z0-9_]+$/);
    }
    const variables = settings().map(({ variable }) => variable);
    expect(new Set(variables).size).to.equal(variables.length);
    expect(variableOf(['server', 'forgejo', 'insecureAllowSiteAdmins'])).to.equal(
      'FMO_SERVER_FORGEJO_INSECURE_ALLOW_SITE_ADMINS',
    );
  });

  it('is documented in docs/configuration.md as the schema says', async () => {
    const file = join(__dirname, '../../docs/configuration.md');
    if (process.env.UPDATE_DOCS === '1') await writeFile(file, configurationMarkdown());
    expect(await readFile(file, 'utf8'), 'run with UPDATE_DOCS=1').to.equal(configurationMarkdown());
  });

  it('takes the booleans that YAML 1.1 makes of on and off for what was written', async () => {
    for (const [value, word] of [
      ['on', 'on'],
      ['true', 'on'],
      ['false', 'off'],
    ] as const) {
      const config = await load(`${FORGE}servers: [{ name: a, pod: { userNamespaces: ${value} } }]\n`);
      expect(config.servers[0]?.pod.userNamespaces).to.equal(word);
    }
    expect(await problems(`${FORGE}log: { level: true }\n`)).to.have.length(1);
  });

  it('names what takes a protection away insecure', () => {
    const names = settings().filter(({ description }) => /^Lets every|^Lets site/.test(description));
    expect(names.every(({ path }) => path.at(-1)?.startsWith('insecure'))).to.equal(true);
  });

  it('reads times and sizes as people write them', () => {
    for (const [text, seconds] of [
      ['30s', 30],
      ['5m', 300],
      ['1h30m', 5400],
      ['250ms', 0.25],
      ['7d', 604_800],
      ['15', 15],
      [0, 0],
      ['1.5s', 1.5],
    ] as const) {
      expect(parseDuration(text), String(text)).to.equal(seconds);
    }
    for (const text of ['', 'x', '5 m', '-1s', '5y', -1, NaN])
      expect(parseDuration(text), String(text)).to.equal(undefined);
    for (const [text, size] of [
      ['512Ki', 524_288],
      ['4Mi', 4_194_304],
      ['1G', 1e9],
      [7, 7],
      ['1.5Ki', 1536],
    ] as const) {
      expect(parseBytes(text), String(text)).to.equal(size);
    }
    for (const text of ['', '4MB', '-1', 1.5]) expect(parseBytes(text), String(text)).to.equal(undefined);
    expect([formatDuration(86_400), formatDuration(90), formatDuration(0.25)]).to.deep.equal(['1d', '90s', '250ms']);
  });

  describe('key files', () => {
    it('are made once, for this user only, and the same for all who ask at once', async () => {
      const file = join(dir, 'sub', 'a.key');
      const all = await Promise.all(Array.from({ length: 10 }, () => loadKeys(file)));
      expect(new Set(all.map(([key]) => key.toString('hex'))).size).to.equal(1);
      expect(all[0]?.[0]).to.have.length(32);
      expect((await stat(file)).mode & 0o777).to.equal(0o600);
    });

    it('hold several keys in base64 or hex, the first one first', async () => {
      const file = join(dir, 'b.key');
      const [hex, base64] = ['ab'.repeat(32), Buffer.alloc(33, 7).toString('base64')];
      await writeFile(file, `# newest\n${hex}\n\n${base64}\n`);
      expect((await loadKeys(file)).map((key) => key.length)).to.deep.equal([32, 33]);
    });

    it('are refused when empty, short or unreadable, without showing them', async () => {
      for (const text of ['', 'c2hvcnQ=', 'ü'.repeat(40)]) {
        const file = join(dir, 'c.key');
        await writeFile(file, text);
        const error = await loadKeys(file).catch((thrown: unknown) => thrown as AppError);
        expect(error).to.include({ code: 'CONFIG_INVALID' });
        if (text !== '') expect((error as AppError).message).to.not.contain(text);
      }
      expect(await loadKeys(dir).catch((thrown: unknown) => (thrown as AppError).code)).to.equal('CONFIG_INVALID');
    });
  });

  describe('the command line', () => {
    it('serves by default, and takes the file from --config or FMO_CONFIG', () => {
      expect(parseArguments([], {})).to.deep.equal({ command: 'serve', config: undefined });
      expect(parseArguments(['serve', '-c', 'a.yaml'], { FMO_CONFIG: 'b' })).to.deep.equal({
        command: 'serve',
        config: 'a.yaml',
      });
      expect(parseArguments(['config', 'check'], { FMO_CONFIG: 'b' })).to.deep.equal({
        command: 'config check',
        config: 'b',
      });
    });

    it('knows help and version in every form', () => {
      for (const form of [['--help'], ['-h'], ['help'], ['config', 'check', '--help']])
        expect(parseArguments(form, {}).command).to.equal('help');
      for (const form of [['--version'], ['-v'], ['version']])
        expect(parseArguments(form, {}).command).to.equal('version');
    });

    it('refuses what it does not know', () => {
      for (const form of [['serv'], ['config'], ['--port', '1'], ['config', 'check', 'x']])
        expect(() => parseArguments(form, {})).to.throw();
    });
  });
});

/** What no single setting shows: settings that do not go together. */
import { isDeepStrictEqual } from 'node:util';
import type { Problem } from './problems';
import type { Settings } from './schema';
import type { ServerSpec } from './server';
import { serverPath } from './servers';

const LOOPBACK = /^(127\.|::1$)/;

/** Problems between settings; empty when all is well. */
export function checkTogether(settings: Settings, servers: readonly ServerSpec[]): Problem[] {
  const problems: Problem[] = [];
  const { http, backend, operator, proxy, sessions } = settings;

  if (http.publicUrl === undefined && !LOOPBACK.test(http.listen.address)) {
    problems.push({
      where: 'http.publicUrl',
      what: 'is needed, because http.listen is not a loopback address: the URL that clients use',
    });
  }
  if (http.publicUrl !== undefined && new URL(http.publicUrl).pathname !== '/') {
    problems.push({ where: 'http.publicUrl', what: 'must not have a path: MCP is at /mcp below it' });
  }
  if (http.maxBodyBytesInFlight < http.maxBodyBytes) {
    problems.push({ where: 'http.maxBodyBytesInFlight', what: 'must be at least http.maxBodyBytes' });
  }
  if (sessions.maxTotal !== 0 && sessions.maxPerUser > sessions.maxTotal) {
    problems.push({ where: 'sessions.maxPerUser', what: 'must be at most sessions.maxTotal' });
  }
  if (operator.perUser.enabled) {
    problems.push({ where: 'operator.perUser.enabled', what: 'must be false: this version makes no namespaces yet' });
  }
  if (proxy.tls === 'on' && proxy.insecureNoTls) {
    problems.push({ where: 'proxy.insecureNoTls', what: 'goes against proxy.tls "on": remove one' });
  }
  if (proxy.sourceCheck === 'require' && proxy.insecureNoSourceCheck) {
    problems.push({
      where: 'proxy.insecureNoSourceCheck',
      what: 'goes against proxy.sourceCheck "require": remove one',
    });
  }
  if (backend.kind === 'pod' && proxy.url === undefined) {
    problems.push({
      where: 'proxy.url',
      what: "is needed with backend.kind pod: the URL of the credential proxy's Service, https://<name>.<namespace>.svc:<port>",
    });
  }
  if (sessions.driver === 'kubernetes' && backend.kind !== 'pod') {
    problems.push({ where: 'sessions.driver', what: '"kubernetes" needs backend.kind "pod"' });
  }
  if (sessions.driver === 'kubernetes') {
    if (settings.operator.namespace === undefined)
      problems.push({
        where: 'operator.namespace',
        what: 'is needed with sessions.driver "kubernetes": the namespace of the release',
      });
    if (settings.replicas.address === undefined)
      problems.push({
        where: 'replicas.address',
        what: 'is needed with sessions.driver "kubernetes": host:port of this gateway for the others',
      });
  }
  if (settings.operator.perUser.enabled && sessions.driver !== 'kubernetes') {
    problems.push({ where: 'operator.perUser.enabled', what: 'needs sessions.driver "kubernetes"' });
  }
  if (settings.defaultServer !== undefined && !servers.some(({ name }) => name === settings.defaultServer)) {
    problems.push({ where: 'defaultServer', what: `there is no server named "${settings.defaultServer}"` });
  }
  for (const server of servers) {
    for (const { path, what } of checkServer(server, backend.kind === 'pod', settings.operator.perUser.enabled)) {
      problems.push({ where: serverPath(server.name, ...path), what });
    }
  }
  problems.push(...checkStore(settings));
  if (settings.auth.mode === 'oauth') problems.push(...checkOAuth(settings, servers));
  return problems;
}

/**
 * What does not go together within one server.
 * @param pods whether its children are pods.
 * @param perUser whether the operator makes namespaces for users.
 */
export function checkServer(
  { pod, pool, isolation, forgejo, env, maxLifetime, startTimeout }: ServerSpec,
  pods: boolean,
  perUser: boolean,
): { readonly path: string[]; readonly what: string }[] {
  const problems: { path: string[]; what: string }[] = [];
  if (pods && pod.launcher === 'inject' && pod.launcherImage === undefined) {
    problems.push({ path: ['pod', 'launcherImage'], what: 'is needed with launcher "inject"' });
  }
  if (pods && pod.image === '') {
    problems.push({
      path: ['pod', 'image'],
      what: 'is needed with backend.kind pod: the image that has the child',
    });
  }
  if (pool.max < pool.min) problems.push({ path: ['pool', 'max'], what: 'must be at least pool.min' });
  if (isolation.namespace === 'PerUser' && pool.max > 0) {
    problems.push({
      path: ['pool'],
      what: 'cannot be with isolation.namespace "PerUser": whose a pod will be is not known before it waits, and it cannot move. Set min and max to 0',
    });
  }
  if (isolation.namespace === 'PerUser' && !(pods && perUser)) {
    problems.push({
      path: ['isolation', 'namespace'],
      what: '"PerUser" needs pods, and an operator that makes namespaces: set operator.perUser.enabled (sessions.perUser.enabled of the chart), or use "Shared"',
    });
  }
  if (isolation.namespace === 'PerUser' && pod.imagePullSecrets.length > 0) {
    problems.push({
      path: ['pod', 'imagePullSecrets'],
      what: 'must be empty with isolation.namespace "PerUser": no Secret is in those namespaces. Let the nodes, or the registry, allow the pull',
    });
  }
  for (const variable of [forgejo.urlEnv, ...forgejo.tokenEnv]) {
    if (Object.hasOwn(env, variable)) {
      problems.push({ path: ['env', variable], what: 'must not be set: the gateway sets it for every session' });
    }
  }
  if (maxLifetime !== 0 && maxLifetime < startTimeout) {
    problems.push({ path: ['maxLifetime'], what: 'must be longer than startTimeout, or 0' });
  }
  return problems;
}

function checkStore({ store, backend }: Settings): Problem[] {
  if (store.driver !== 'kubernetes') return [];
  if (store.namespace === undefined) {
    return [{ where: 'store.namespace', what: 'is needed with store.driver kubernetes' }];
  }
  if (backend.kind === 'pod' && store.namespace === backend.namespace) {
    return [
      { where: 'store.namespace', what: "must differ from backend.namespace: a pod can mount its namespace's Secrets" },
    ];
  }
  return [];
}

function checkOAuth({ auth: { oauth } }: Settings, servers: readonly ServerSpec[]): Problem[] {
  const problems: Problem[] = [];
  if (oauth.accessTokenLifetime >= oauth.refreshTokenLifetime) {
    problems.push({
      where: 'auth.oauth.refreshTokenLifetime',
      what: 'must be longer than auth.oauth.accessTokenLifetime',
    });
  }
  if (oauth.refreshTokenLifetime > oauth.grantLifetime) {
    problems.push({
      where: 'auth.oauth.refreshTokenLifetime',
      what: 'must be at most auth.oauth.grantLifetime',
    });
  }
  const ids = oauth.clients.map(({ clientId }) => clientId);
  for (const id of new Set(ids.filter((one, i) => ids.indexOf(one) !== i))) {
    problems.push({ where: 'auth.oauth.clients', what: `there are two clients with the id "${id}"; remove one` });
  }
  /** One login at a forge serves all servers of it. */
  const first = new Map<string, ServerSpec>();
  for (const server of servers) {
    const { url, apiUrl, applications } = server.forgejo;
    if (applications === undefined) {
      problems.push({
        where: serverPath(server.name, 'forgejo', 'applications'),
        what: 'is needed with auth.mode oauth: make two confidential OAuth applications in Forgejo, both with the redirect URI <http.publicUrl>/oauth/callback (for another Forgejo than that of the default server: /oauth/callback/<its first server>), and write clientId and clientSecretFile of each; or set auth.mode to bearer',
      });
      continue;
    }
    if (applications.read.clientId === applications.write.clientId) {
      problems.push({
        where: serverPath(server.name, 'forgejo', 'applications'),
        what: 'must be two: Forgejo keeps what a user granted to an application first, so one for reading never gets to write',
      });
    }
    const other = first.get(url);
    if (other === undefined) first.set(url, server);
    else if (apiUrl !== other.forgejo.apiUrl || !isDeepStrictEqual(applications, other.forgejo.applications)) {
      problems.push({
        where: serverPath(server.name, 'forgejo'),
        what: `must have the apiUrl and the applications of server "${other.name}", which is of the same Forgejo`,
      });
    }
  }
  return problems;
}

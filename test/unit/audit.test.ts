/** The audit, held against docs/audit.md: every event with its level and its fields, as the code says them. */
import { expect } from 'chai';
import { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { GrantRecord } from '../../src/auth/provider/grants';
import { AppError } from '../../src/errors';
import type { Exchange as ProxyExchange } from '../../src/forgejo/proxy/exchange';
import { report } from '../../src/forgejo/proxy/audit';
import { beginExchange, exchangeOf } from '../../src/http/exchange';
import type { Outgoing } from '../../src/http/handler';
import type { SessionRecord } from '../../src/sessions/ports';
import { connectionsObserver, loginObserver, providerObserver, vaultObserver } from '../../src/telemetry/audit';
import { createMetrics } from '../../src/telemetry/metrics';
import { sessionObserver } from '../../src/telemetry/observers';
import { contextOf } from '../support/gateway-app';
import { EVERYTHING, USER } from '../support/oauth';
import { serverSpec } from '../support/server-spec';
import { keptLog } from '../support/silent-log';
import { aRecord } from '../contract/session-store';

interface Told {
  readonly levels: readonly string[];
  readonly fields: readonly string[];
}

const GRANT: GrantRecord = {
  id: 'grant',
  user: USER,
  client: { id: 'client', name: 'Client' },
  resource: 'https://mcp.example/mcp',
  scopes: ['forgejo:read'],
  policy: EVERYTHING,
  application: 'read',
  createdAt: 0,
  expiresAt: 1,
  redeemed: true,
};
const SESSION: SessionRecord = aRecord({ name: 'session', userIssuer: USER.issuer, userId: USER.id });

/** Says everything once, with every field that there can be. */
function everything(): string[] {
  const metrics = createMetrics();
  const log = keptLog();
  const login = loginObserver(metrics, log);
  const event = { client: 'client', server: 'main', scopes: GRANT.scopes };
  login.consented({ ...event, user: USER, grant: 'grant', remembered: false });
  login.denied(event);
  login.loggedIn(USER, 'read', 'consent');
  login.failed('unknown', 'INVALID_REQUEST');
  const connections = connectionsObserver(metrics, log);
  connections.changed(GRANT);
  connections.revoked(USER, 'grant');
  connections.disconnected(USER, 2);
  const provider = providerObserver(metrics, log);
  provider.replayed('code', 'grant');
  provider.fault('no audit');
  const vault = vaultObserver(metrics, log);
  vault.suspended(USER, 'read', 'revoked');
  vault.shared('read');
  const sessions = sessionObserver(metrics, log);
  sessions.opened(SESSION, 1);
  sessions.hibernated(SESSION, 'idle');
  sessions.woken(SESSION, 1);
  sessions.ended(SESSION, 'user');
  for (const outcome of ['refused', 'failed'] as const) {
    const exchange = {
      session: { ...SESSION, server: serverSpec() },
      match: { route: { path: '/repos/{owner}/{repo}', class: 'read' } },
      request: { method: 'GET' },
      response: { headersSent: true, statusCode: 403 },
      outcome,
      began: 0,
      bytesIn: 1,
    } as unknown as ProxyExchange;
    report(exchange, new AppError('POLICY_REFUSED', 'No.', { detail: 'owner' }), 1, 1, undefined, log);
  }
  for (const status of [200, 401, 403]) {
    const res = Object.assign(new EventEmitter(), {
      setHeader: () => undefined,
      headersSent: true,
      statusCode: status,
    });
    const req = { method: 'POST', headers: {}, rawHeaders: [], socket: { remoteAddress: '127.0.0.1' } };
    const observer = { request: () => undefined };
    const begin = beginExchange({ log, observer, trustedProxies: undefined });
    const outgoing = res as unknown as Outgoing;
    void begin(req as unknown as IncomingMessage, outgoing, () => undefined);
    const auth = contextOf('alice');
    Object.assign(exchangeOf(outgoing), { server: serverSpec(), auth, session: 'session', code: 'AUTH_INVALID' });
    res.emit('close');
  }
  return log.lines;
}

function audited(lines: readonly string[]): Record<string, Told> {
  const all: Record<string, Told> = {};
  for (const line of lines) {
    const { level, event, audit, ...fields } = JSON.parse(line) as Record<string, unknown> & { event: string };
    if (audit !== true) continue;
    const levels = new Set([...(all[event]?.levels ?? []), String(level)]);
    all[event] = { levels: [...levels].sort(), fields: Object.keys(fields).sort() };
  }
  return all;
}

describe('the audit', () => {
  it('is documented in docs/audit.md: every event, its level and its fields', async () => {
    const text = await readFile(join(__dirname, '../../docs/audit.md'), 'utf8');
    const rows = [...text.matchAll(/^\| `([a-z.-]+)` +\| ([a-z, ]+?) +\| [^|]+\| ([^|]+)\|$/gm)];
    const documented = rows.map(([, event, levels, fields]): [string, Told] => [
      event,
      { levels: levels.split(', ').sort(), fields: [...fields.matchAll(/`(\w+)`/g)].map(([, one]) => one).sort() },
    ]);
    expect(Object.fromEntries(documented)).to.deep.equal(audited(everything()));
  });

  it('names users by their number, never by their login', () => {
    for (const line of everything()) expect(line).to.not.contain(USER.login);
  });
});

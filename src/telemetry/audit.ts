/**
 * The audit of logins, as metrics and as lines of the log with `audit: true` (docs/audit.md): who logged in, consented, changed and ended connections. Ids only: never a
 * token, code, cookie or query.
 */
import type { ConnectionsObserver } from '../auth/connections/connections';
import type { LoginEvent, LoginObserver } from '../auth/login/contract';
import type { ProviderObserver } from '../auth/provider/ports';
import type { VaultObserver } from '../forgejo/vault/contract';
import type { Logger } from './log';
import type { Metrics } from './metrics';

export function loginObserver(metrics: Metrics, log: Logger): LoginObserver {
  const told = ({ user, ...event }: LoginEvent): Record<string, unknown> => ({ audit: true, user: user?.id, ...event });
  return {
    consented({ remembered, ...event }) {
      metrics.grants.inc({ change: 'consented' });
      log.info('login.consented', { ...told(event), remembered });
    },
    denied(event) {
      metrics.grants.inc({ change: 'denied' });
      log.info('login.denied', told(event));
    },
    loggedIn(user, application, errand) {
      metrics.logins.inc({ errand, outcome: 'ok' });
      log.info('login.forge', { audit: true, user: user.id, forge: user.issuer, application, errand });
    },
    failed(errand, code) {
      metrics.logins.inc({ errand, outcome: code });
      log.info('login.failed', { audit: true, errand, code });
    },
  };
}

export function connectionsObserver(metrics: Metrics, log: Logger): ConnectionsObserver {
  return {
    changed({ id, user, client, scopes }) {
      metrics.grants.inc({ change: 'changed' });
      log.info('connection.changed', { audit: true, user: user.id, grant: id, client: client.id, scopes });
    },
    revoked(user, grant) {
      metrics.grants.inc({ change: 'revoked' });
      log.info('connection.revoked', { audit: true, user: user.id, grant });
    },
    disconnected(user, grants) {
      metrics.grants.inc({ change: 'revoked' }, grants);
      log.info('connection.all-revoked', { audit: true, user: user.id, grants });
    },
  };
}

export function providerObserver(metrics: Metrics, log: Logger): ProviderObserver {
  return {
    replayed(what, grant) {
      metrics.grants.inc({ change: 'replayed' });
      log.warn('login.replayed', { audit: true, what, grant });
    },
    fault(detail) {
      log.warn('oauth.fault', { detail });
    },
  };
}

export function vaultObserver(metrics: Metrics, log: Logger): VaultObserver {
  return {
    refreshed(application, outcome, seconds) {
      metrics.forgeRefreshes.inc({ application, outcome });
      metrics.forgeRefreshSeconds.observe(seconds);
      if (outcome !== 'refreshed') log.warn('forge.refresh', { application, outcome });
    },
    suspended(user, application, reason) {
      metrics.forgeSuspensions.inc({ reason });
      log.info('login.suspended', { audit: true, user: user.id, forge: user.issuer, application, reason });
    },
    shared(application) {
      log.error('forge.application-shared', {
        application,
        condition: 'OAuthApplicationShared',
        why: 'a refresh token was used elsewhere: two installs need two OAuth applications at Forgejo each',
      });
    },
  };
}

/** What the parts tell their observers, as metrics and log lines. The parts know neither. */
import type { ChannelObserver } from '../bridge/contract';
import type { ProxyEvent, ProxyObserver } from '../forgejo/contract';
import type { PeerObserver } from '../peers/contract';
import type { SessionObserver, SessionRecord } from '../sessions/ports';
import type { Logger } from './log';
import type { Metrics } from './metrics';

/** HTTP methods that are a label's value; any other is `OTHER`, because a client could invent as many as it likes. */
const METHODS = new Set(['GET', 'POST', 'DELETE', 'OPTIONS', 'HEAD']);

/** For the HTTP listener. */
export function httpObserver(metrics: Metrics) {
  return {
    request(method: string, status: number, seconds: number): void {
      const known = METHODS.has(method) ? method : 'OTHER';
      metrics.httpRequests.inc({ method: known, status });
      metrics.httpSeconds.observe({ method: known }, seconds);
    },
  };
}

/** For the authenticator. */
export function authObserver(metrics: Metrics) {
  return {
    checked(outcome: string, cached: boolean): void {
      metrics.authChecks.inc({ outcome, cached: String(cached) });
    },
    forge(seconds: number): void {
      metrics.authForgeSeconds.observe(seconds);
    },
  };
}

/** For the way between gateways. */
export function peerObserver(metrics: Metrics): PeerObserver {
  return {
    forwarded(channel, outcome, seconds) {
      metrics.peerForwards.inc({ channel, outcome });
      metrics.peerForwardSeconds.observe({ channel }, seconds);
    },
    refused(why) {
      metrics.peerRefusals.inc({ why });
    },
  };
}

/** For the registry. Every session's beginning and end is a line in the log. */
export function sessionObserver(metrics: Metrics, log: Logger): SessionObserver {
  return {
    opened(session, seconds) {
      metrics.opens.inc({ server: session.server });
      metrics.openSeconds.observe({ server: session.server }, seconds);
      log.info('session.opened', { ...audited(session), seconds });
    },
    refused(code) {
      metrics.refusals.inc({ code });
    },
    ended(session, reason) {
      metrics.ends.inc({ server: session.server, reason });
      log.info('session.ended', { ...audited(session), reason });
    },
    hibernated(session, why) {
      metrics.hibernations.inc({ server: session.server, why });
      log.info('session.hibernated', { ...audited(session), why });
    },
    woken(session, seconds) {
      metrics.wakeSeconds.observe({ server: session.server }, seconds);
      log.info('session.woken', { ...audited(session), seconds });
    },
    handedOver(session, how) {
      metrics.handovers.inc({ server: session.server, how });
      log.info('session.handed-over', { ...audited(session), how });
    },
    counts(states) {
      for (const [state, count] of Object.entries(states)) metrics.sessions.set({ state }, count);
    },
  };
}

/** A session in the audit: whose it is, and through what. */
function audited({ name, server, userId, client, grant }: SessionRecord): Record<string, unknown> {
  return { audit: true, session: name, server, user: userId, client, grant };
}

/** Lines of stderr that one child may log a minute; what is more is counted. A child in a loop must not fill the node's disk. */
const STDERR_LINES_PER_MINUTE = 120;

/** For one session's bridge. */
export function channelObserver(metrics: Metrics, log: Logger, now: () => number): ChannelObserver {
  let windowBegan = now();
  let lines = 0;
  let suppressed = 0;
  return {
    call(method, outcome, seconds) {
      metrics.calls.inc({ method, outcome });
      metrics.callSeconds.observe({ outcome }, seconds);
    },
    noise(bytes) {
      metrics.noise.inc();
      metrics.noiseBytes.inc(bytes);
    },
    dropped(why) {
      metrics.dropped.inc({ why });
    },
    fault(thrown) {
      log.error('bridge.fault', { error: thrown });
    },
    stderr(line) {
      metrics.stderr.inc();
      if (now() - windowBegan > 60_000) {
        if (suppressed > 0) log.info('child.stderr.suppressed', { lines: suppressed });
        windowBegan = now();
        lines = 0;
        suppressed = 0;
      }
      lines += 1;
      if (lines > STDERR_LINES_PER_MINUTE) suppressed += 1;
      else log.info('child.stderr', { line });
    },
  };
}

/** For the credential proxy, which writes its audit itself: it knows the private detail. */
export function proxyObserver(metrics: Metrics): ProxyObserver {
  return {
    started() {
      metrics.proxyInFlight.inc();
    },
    finished(event: ProxyEvent) {
      metrics.proxyInFlight.dec();
      metrics.proxyRequests.inc({
        method: event.method,
        class: event.class,
        outcome: event.outcome,
        status: event.status,
      });
      metrics.proxySeconds.observe({ class: event.class }, event.seconds);
      metrics.proxyBytes.inc({ direction: 'in' }, event.bytesIn);
      metrics.proxyBytes.inc({ direction: 'out' }, event.bytesOut);
      if (event.code !== undefined) metrics.proxyRefusals.inc({ code: event.code, reason: event.reason ?? 'none' });
    },
    sentOn() {
      metrics.proxyInFlight.dec();
    },
  };
}

/** For the operator. Its labels are its own few words. */
export function operatorObserver(metrics: Metrics) {
  return {
    leading(is: boolean): void {
      metrics.operatorLeads.set(is ? 1 : 0);
    },
    depth(loop: string, keys: number): void {
      metrics.queueDepth.set({ loop }, keys);
    },
    done(loop: string, outcome: string, seconds: number): void {
      metrics.reconciles.inc({ loop, outcome });
      metrics.reconcileSeconds.observe({ loop }, seconds);
    },
    did(action: string): void {
      metrics.operatorActions.inc({ action });
    },
    pool(server: string, counts: Readonly<Record<'ready' | 'starting' | 'desired', number>> | undefined): void {
      for (const state of ['ready', 'starting', 'desired'] as const) {
        if (counts === undefined) metrics.poolPods.remove({ server, state });
        else metrics.poolPods.set({ server, state }, counts[state]);
      }
    },
  };
}

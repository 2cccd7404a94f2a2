/** Why a session is over when its child ended first, and how long a child may take to end. Pure. */
import type { ChannelEnd } from '../bridge/contract';
import type { ServerSpec } from '../config/server';
import type { EndReason } from './ports';

/** Milliseconds beyond twice a server's `stopGrace` after which a child that does not end is given up. */
export const CLOSE_SLACK_MS = 10_000;

const REASONS: Readonly<Record<ChannelEnd['reason'], EndReason>> = {
  exited: 'exited',
  oom: 'oom',
  killed: 'killed',
  deleted: 'lost',
  lost: 'lost',
  closed: 'lost',
  'initialize-failed': 'initialize-failed',
};

/** The reason of a session whose child ended by itself. */
export function reasonOf({ reason }: Pick<ChannelEnd, 'reason'>): EndReason {
  return REASONS[reason];
}

/** Milliseconds for a child to end. */
export function closeDeadline({ stopGrace }: Pick<ServerSpec, 'stopGrace'>): number {
  return 2 * stopGrace * 1000 + CLOSE_SLACK_MS;
}

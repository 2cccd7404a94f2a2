/** Names of runs of the operator: who holds the leader's Lease, and who made a pod. */
import { randomBytes } from 'node:crypto';

/** Names one run; never used again. */
export function operatorName(): string {
  return `operator-${randomBytes(8).toString('hex')}`;
}

/** Whether a text may be such a name. */
export function isOperatorName(text: string): boolean {
  return /^operator-[0-9a-f]{16}$/.test(text);
}

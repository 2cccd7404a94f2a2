/** The last word on an attach stream: a `Status` (meta/v1) on channel 3. */
import type { TransportClosed } from './transport';

/**
 * `Success` means that the runtime's leg ended without an error: the container has finished, or its runtime was restarted; the pod's status
 * tells these apart. Anything else is a cut.
 */
export function readStatus(text: string): TransportClosed {
  try {
    const value = JSON.parse(text) as { status?: unknown; reason?: unknown; message?: unknown } | null;
    if (value?.status === 'Success') return { kind: 'ended', detail: 'the attach ended with success' };
    const reason = typeof value?.reason === 'string' ? value.reason : 'no reason';
    const message = typeof value?.message === 'string' ? value.message.slice(0, 500) : 'no message';
    return { kind: 'broken', detail: `the attach failed: ${reason}: ${message}` };
  } catch {
    return { kind: 'broken', detail: 'the attach ended with a status that is not JSON' };
  }
}

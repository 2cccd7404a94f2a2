/** From how a process ended to why a session's child is gone. */
import type { BackendExit } from './contract';

/** Signals that a process brings upon itself (signal(7): faults, abort, resource limits, a broken pipe); any other came from outside. */
const OWN_FAULT: ReadonlySet<string> = new Set([
  'SIGABRT',
  'SIGBUS',
  'SIGFPE',
  'SIGILL',
  'SIGPIPE',
  'SIGSEGV',
  'SIGSYS',
  'SIGTRAP',
  'SIGXCPU',
  'SIGXFSZ',
]);

/** Tells `exited` from `killed`. `code` and `signal` as node and the launcher report them: one of them is null. */
export function exitOf(code: number | null, signal: string | null): BackendExit {
  if (signal !== null) return { reason: OWN_FAULT.has(signal) ? 'exited' : 'killed', signal };
  return code === null ? { reason: 'killed' } : { reason: 'exited', code };
}

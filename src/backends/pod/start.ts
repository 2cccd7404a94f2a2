/** A start as it is while it runs. */
import type { StartPhase } from '../contract';
import { AppError } from '../../errors';
import { judge } from './judge';
import type { PodState } from './pod-state';

/** What is known of a start while it runs: the pod's last state, and how long each phase took. */
export class Start {
  pod: string | undefined;
  state: PodState | undefined;
  readonly phases: Partial<Record<StartPhase, number>> = {};
  #began = 0;
  #from = 0;

  began(now: number): void {
    this.#began = this.#from = now;
  }

  /** A pod that waited is this start's now. */
  took(state: PodState, now: number): void {
    this.pod = state.name;
    this.state = state;
    this.mark('take', now);
  }

  /** Begins again with another pod; what was lost until now counts for its first phase. */
  again(): void {
    this.#from = this.#began;
    this.pod = this.state = undefined;
    for (const phase of Object.keys(this.phases) as StartPhase[]) delete this.phases[phase];
  }

  /** Ends a phase now; the next one begins. */
  mark(phase: StartPhase, now: number): void {
    this.phases[phase] = (now - this.#from) / 1000;
    this.#from = now;
  }

  /** Looks at the pod's state: undefined as long as it is worth waiting. Throws why it is not. */
  look(seen: PodState | 'gone', now: number): PodState | undefined {
    if (seen === 'gone') {
      throw new AppError('BACKEND_UNAVAILABLE', 'The session’s pod was removed while it started. Try again.', {
        detail: `pod ${this.pod ?? ''} was deleted by somebody else`,
        retryAfter: 1,
      });
    }
    this.state = seen;
    // The watch may be ahead of the answer to the create; its phase then takes the scheduling in.
    if (seen.scheduled && this.phases.create !== undefined && this.phases.schedule === undefined) {
      this.mark('schedule', now);
    }
    const verdict = judge(seen);
    if (verdict.kind === 'failed') throw verdict.error;
    return verdict.kind === 'running' ? seen : undefined;
  }
}

/** round-robin: the subflows in turn, those without room passed over. A measure for others; on unequal paths the slow one sets the pace. */

import { mayCarry, onlyBackupsUsable } from './candidates.js';
import type { Scheduler, SchedulerSubflow } from './scheduler.js';

class RoundRobin implements Scheduler {
  readonly name = 'round-robin';
  readonly duplicates = false;
  private last: SchedulerSubflow | undefined;

  forConnection(): Scheduler {
    return new RoundRobin();
  }

  select<S extends SchedulerSubflow>(subflows: readonly S[]): S | undefined {
    const onlyBackups = onlyBackupsUsable(subflows);
    // Where the last one stood, or the end when it is gone.
    let at = subflows.length - 1;
    for (let i = 0; i < subflows.length; i++) if (subflows[i] === this.last) at = i;
    for (let step = 1; step <= subflows.length; step++) {
      const subflow = subflows[(at + step) % subflows.length] as S;
      if (!mayCarry(subflow, onlyBackups) || subflow.roomBytes <= 0) continue;
      this.last = subflow;
      return subflow;
    }
    return undefined;
  }
}

export function createRoundRobin(): Scheduler {
  return new RoundRobin();
}

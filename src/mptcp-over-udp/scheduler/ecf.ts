/**
 * ECF, earliest completion first (Lim, Nahum, Towsley, Gibbens, "ECF: An MPTCP path scheduler to manage heterogeneous paths", CoNEXT 2017): waits
 * for the fastest subflow when all that is queued would be through there before a slower one had delivered its part.
 */

import { fastestAlive, fastestWithRoom, onlyBackupsUsable } from './candidates.js';
import type { Scheduler, SchedulerSubflow, SchedulerView } from './scheduler.js';

/** Hysteresis: who waits keeps waiting for a little more. */
const BETA = 0.25;

class Ecf implements Scheduler {
  readonly name = 'ecf';
  readonly duplicates = false;
  private waiting = false;

  forConnection(): Scheduler {
    return new Ecf();
  }

  select<S extends SchedulerSubflow>(subflows: readonly S[], view: SchedulerView): S | undefined {
    const onlyBackups = onlyBackupsUsable(subflows);
    const candidate = fastestWithRoom(subflows, onlyBackups);
    if (candidate === undefined || view.urgent) return candidate;
    const fastest = fastestAlive(subflows, onlyBackups);
    if (fastest === undefined || candidate.rttMs <= fastest.rttMs) return candidate;
    // The end of the data is what must not come late: as long as it is not in sight every subflow is used.
    if (view.moreToCome) return candidate;
    return this.shouldWait(fastest, candidate, view.queuedBytes) ? undefined : candidate;
  }

  /** k bytes queued take k / w rounds, and one at least, as in the authors' implementation: less than a window is no sooner through than a round trip. */
  private shouldWait(fastest: SchedulerSubflow, slow: SchedulerSubflow, queuedBytes: number): boolean {
    const marginMs = Math.max(fastest.recovery.rtt.rttvarMs, slow.recovery.rtt.rttvarMs);
    const fastDoneMs = (1 + Math.max(1, queuedBytes / fastest.roundBytes)) * fastest.rttMs;
    if (fastDoneMs >= (1 + (this.waiting ? BETA : 0)) * (slow.rttMs + marginMs)) {
      this.waiting = false;
      return false;
    }
    // The slow one is hardly slower: no need to wait.
    if (Math.max(1, queuedBytes / slow.roundBytes) * slow.rttMs < 2 * fastest.rttMs + marginMs) return false;
    this.waiting = true;
    return true;
  }
}

export function createEcf(): Scheduler {
  return new Ecf();
}

/**
 * BLEST, blocking estimation (Ferlin, Alay, Mehani, Boreli, "BLEST: Blocking estimation-based MPTCP scheduler for heterogeneous networks", IFIP
 * Networking 2016): a slower subflow is passed over when what it would hold of the send window for a round trip is wanted by the fastest meanwhile.
 */

import { fastestAlive, fastestWithRoom, onlyBackupsUsable } from './candidates.js';
import type { Scheduler, SchedulerSubflow, SchedulerView } from './scheduler.js';

const INITIAL_LAMBDA = 1.2;
const MIN_LAMBDA = 1;
const MAX_LAMBDA = 1.3;
const LAMBDA_STEP_BLOCKED = 0.04;
const LAMBDA_STEP_FREE = 0.01;

class Blest implements Scheduler {
  readonly name = 'blest';
  readonly duplicates = false;
  /** Corrects the estimate of what the fastest will want. */
  private lambda = INITIAL_LAMBDA;
  private adaptedMs = 0;
  private seenBlockedCount = 0;

  forConnection(): Scheduler {
    return new Blest();
  }

  select<S extends SchedulerSubflow>(subflows: readonly S[], view: SchedulerView): S | undefined {
    const onlyBackups = onlyBackupsUsable(subflows);
    const candidate = fastestWithRoom(subflows, onlyBackups);
    if (candidate === undefined || view.urgent) return candidate;
    const fastest = fastestAlive(subflows, onlyBackups);
    if (fastest === undefined || candidate.rttMs <= fastest.rttMs) return candidate;
    this.adapt(fastest, view);
    return this.wouldBlock(fastest, candidate, view) ? undefined : candidate;
  }

  /** lambda * MSS * (w_f + (n - 1)/2) * n > send window - (inflight_s + piece), n = rtt_s / rtt_f rounded up. */
  private wouldBlock(fastest: SchedulerSubflow, slow: SchedulerSubflow, view: SchedulerView): boolean {
    const rounds = Math.ceil(slow.rttMs / Math.max(fastest.rttMs, 1));
    // The fastest's window grows by a segment each of its round trips meanwhile.
    const wantedBytes = (fastest.roundBytes + (fastest.mssBytes * (rounds - 1)) / 2) * rounds;
    const heldBytes = slow.recovery.inflightBytes + Math.min(slow.roomBytes, view.queuedBytes);
    return this.lambda * wantedBytes > view.sendWindowBytes - heldBytes;
  }

  /** Once a round trip: more caution after the window did block, less otherwise. */
  private adapt(fastest: SchedulerSubflow, view: SchedulerView): void {
    if (view.nowMs - this.adaptedMs < fastest.rttMs) return;
    this.adaptedMs = view.nowMs;
    const blocked = view.blockedCount !== this.seenBlockedCount;
    this.seenBlockedCount = view.blockedCount;
    const lambda = this.lambda + (blocked ? LAMBDA_STEP_BLOCKED : -LAMBDA_STEP_FREE);
    this.lambda = Math.min(MAX_LAMBDA, Math.max(MIN_LAMBDA, lambda));
  }
}

export function createBlest(): Scheduler {
  return new Blest();
}

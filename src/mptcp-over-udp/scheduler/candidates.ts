/** Which subflows come into question, for all schedulers alike (RFC 8684, 3.3.8). */

import type { Candidate, SchedulerSubflow } from './scheduler.js';

/** A backup is used only when no regular subflow can be: true when that is so. */
export function onlyBackupsUsable(subflows: readonly Candidate[]): boolean {
  for (let i = 0; i < subflows.length; i++) {
    if (mayCarry(subflows[i] as Candidate, false)) return false;
  }
  return true;
}

export function mayCarry(subflow: Candidate, onlyBackups: boolean): boolean {
  return subflow.usable && subflow.heldBack === onlyBackups;
}

/** The regular one (not held back) with the lowest round trip, with room or without. */
export function fastestRegular<C extends Candidate>(subflows: readonly C[]): C | undefined {
  let best: C | undefined;
  for (let i = 0; i < subflows.length; i++) {
    const subflow = subflows[i] as C;
    if (mayCarry(subflow, false) && (best === undefined || subflow.rttMs < best.rttMs)) best = subflow;
  }
  return best;
}

/** The lowest round trip with room. */
export function fastestWithRoom<S extends SchedulerSubflow>(subflows: readonly S[], onlyBackups: boolean): S | undefined {
  let best: S | undefined;
  for (let i = 0; i < subflows.length; i++) {
    const subflow = subflows[i] as S;
    if (mayCarry(subflow, onlyBackups) && subflow.roomBytes > 0 && (best === undefined || subflow.rttMs < best.rttMs)) best = subflow;
  }
  return best;
}

/** The lowest round trip of those that answer, with room or without: the one that is worth waiting for. */
export function fastestAlive<S extends SchedulerSubflow>(subflows: readonly S[], onlyBackups: boolean): S | undefined {
  let best: S | undefined;
  for (let i = 0; i < subflows.length; i++) {
    const subflow = subflows[i] as S;
    if (!mayCarry(subflow, onlyBackups) || subflow.recovery.timeoutCount > 0) continue;
    if (best === undefined || subflow.rttMs < best.rttMs) best = subflow;
  }
  return best;
}

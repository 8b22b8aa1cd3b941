/** Which subflows come into question, for all schedulers alike (RFC 8684, 3.3.8). */

import type { SchedulerSubflow } from './scheduler.js';

/** A backup is used only when no regular subflow can be: true when that is so. */
export function onlyBackupsUsable(subflows: readonly SchedulerSubflow[]): boolean {
  for (let i = 0; i < subflows.length; i++) {
    const subflow = subflows[i] as SchedulerSubflow;
    if (subflow.usable && !subflow.heldBack) return false;
  }
  return true;
}

export function mayCarry(subflow: SchedulerSubflow, onlyBackups: boolean): boolean {
  return subflow.usable && subflow.heldBack === onlyBackups;
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

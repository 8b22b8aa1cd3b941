/**
 * Paths that cost more than others carry new data only where the cheaper ones are not enough: since all of them are full and data of the connection has waited
 * without a break, for half a second and a few round trips. So pages, messages and whatever the cheap path can carry never touch the dear one, and a
 * download that fills the cheap path gets it on top. Then the next dearer in turn, if it is still not enough; once nothing waits any more, all begins anew.
 */

import { NEVER_MS } from '../tcp/tcp-connection.js';
import type { MptcpConnection } from './connection.js';
import type { Subflow } from './subflow.js';

const SPILL_AFTER_MS = 500;
/** A window that still doubles is not full. */
const SPILL_AFTER_RTTS = 4;

/** Which subflows are too dear now. Before each choice of a subflow, where any path has a cost. */
export function updateTooDear(c: MptcpConnection, nowMs: number): void {
  const { subflows } = c;
  // A scheduler that sends everything everywhere was told to.
  let ceiling = c.scheduler.duplicates ? Number.POSITIVE_INFINITY : costAbove(subflows, -1);
  let steps = spillSteps(c, ceiling, nowMs);
  while (ceiling !== Number.POSITIVE_INFINITY && (steps > 0 || !answers(subflows, ceiling))) {
    const next = costAbove(subflows, ceiling);
    if (next === Number.POSITIVE_INFINITY) break;
    ceiling = next;
    steps--;
  }
  for (let i = 0; i < subflows.length; i++) {
    const subflow = subflows[i] as Subflow;
    subflow.tooDear = subflow.cost > ceiling;
  }
}

/** How many dearer kinds of path the connection may take by now. */
function spillSteps(c: MptcpConnection, cheapest: number, nowMs: number): number {
  if (c.backlogSinceMs === NEVER_MS) return 0;
  let rttMs = 0;
  for (let i = 0; i < c.subflows.length; i++) {
    const subflow = c.subflows[i] as Subflow;
    if (mayCarryByCost(subflow) && subflow.cost === cheapest) rttMs = Math.max(rttMs, subflow.rttMs);
  }
  return Math.floor((nowMs - c.backlogSinceMs) / (SPILL_AFTER_MS + SPILL_AFTER_RTTS * rttMs));
}

/** The lowest cost beyond `cost` among those that could carry data; Infinity when there is none. */
function costAbove(subflows: readonly Subflow[], cost: number): number {
  let next = Number.POSITIVE_INFINITY;
  for (let i = 0; i < subflows.length; i++) {
    const subflow = subflows[i] as Subflow;
    if (mayCarryByCost(subflow) && subflow.cost > cost && subflow.cost < next) next = subflow.cost;
  }
  return next;
}

/** One that costs no more than that, and does not only wait for a retransmission timeout. */
function answers(subflows: readonly Subflow[], ceiling: number): boolean {
  for (let i = 0; i < subflows.length; i++) {
    const subflow = subflows[i] as Subflow;
    if (mayCarryByCost(subflow) && subflow.cost <= ceiling && subflow.recovery.timeoutCount === 0) return true;
  }
  return false;
}

function mayCarryByCost(subflow: Subflow): boolean {
  return subflow.usable && !subflow.isBackup;
}

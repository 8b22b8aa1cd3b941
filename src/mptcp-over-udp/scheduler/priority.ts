/**
 * priority: the lowest path priority number first, spilling over to the next when that is full; among equals the lowest round trip. For links that cost
 * money or quota beside one that does not.
 */

import { mayCarry, onlyBackupsUsable } from './candidates.js';
import type { Scheduler, SchedulerSubflow, SchedulerView } from './scheduler.js';

/** Pacing lets a subflow send a little at a time; it is full only when what is queued would keep it busy for this part of a round trip. */
const SPILL_WINDOW_RATIO = 0.5;

/** Held by pacing alone, with its window open and little to send: it will be through soon, and the dearer one is not needed. */
function soonThrough(subflow: SchedulerSubflow, queuedBytes: number): boolean {
  const { recovery } = subflow;
  const { cwndBytes } = recovery.congestion;
  if (recovery.timeoutCount > 0 || cwndBytes - recovery.inflightBytes < subflow.mssBytes) return false;
  return queuedBytes <= SPILL_WINDOW_RATIO * cwndBytes;
}

function selectPriority<S extends SchedulerSubflow>(subflows: readonly S[], view: SchedulerView): S | undefined {
  const onlyBackups = onlyBackupsUsable(subflows);
  let best: S | undefined;
  let waitFor = Number.POSITIVE_INFINITY;
  for (let i = 0; i < subflows.length; i++) {
    const subflow = subflows[i] as S;
    if (!mayCarry(subflow, onlyBackups)) continue;
    if (subflow.roomBytes <= 0) {
      if (!view.urgent && soonThrough(subflow, view.queuedBytes)) waitFor = Math.min(waitFor, subflow.priority);
      continue;
    }
    const ahead =
      best === undefined || subflow.priority < best.priority || (subflow.priority === best.priority && subflow.rttMs < best.rttMs);
    if (ahead) best = subflow;
  }
  return best !== undefined && best.priority > waitFor ? undefined : best;
}

const priority: Scheduler = { name: 'priority', duplicates: false, forConnection: () => priority, select: selectPriority };

export function createPriority(): Scheduler {
  return priority;
}

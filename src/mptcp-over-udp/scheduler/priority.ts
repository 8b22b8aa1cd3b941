/**
 * priority: the lowest path priority number first, spilling over to the next when that is full; among equals the lowest round trip. For links that cost
 * money or quota beside one that does not.
 */

import { mayCarry, onlyBackupsUsable } from './candidates.js';
import type { Scheduler, SchedulerSubflow, SchedulerView } from './scheduler.js';

/**
 * A subflow without room is not full at once: pacing and a young window hold every burst for a moment, and a page or a message should not end on the dear
 * link for that. Full it is when so much waits; a stream without end keeps more than this in the send buffer.
 */
const SPILL_BYTES = 64 << 10;
const SPILL_WINDOW_RATIO = 0.25;

/** Held by pacing or its window, but what waits will be through without help. */
function soonThrough(subflow: SchedulerSubflow, queuedBytes: number): boolean {
  const { timeoutCount, congestion } = subflow.recovery;
  return timeoutCount === 0 && queuedBytes <= Math.max(SPILL_BYTES, SPILL_WINDOW_RATIO * congestion.cwndBytes);
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

/** min-rtt: the lowest smoothed round trip that has room; backups only when no regular subflow can be used (RFC 8684, 3.3.8). */

import type { Subflow } from '../mptcp/subflow.js';
import type { Scheduler } from './scheduler.js';

export function createMinRtt(): Scheduler {
  return { name: 'min-rtt', select: selectMinRtt };
}

function selectMinRtt(subflows: readonly Subflow[]): Subflow | undefined {
  let best: Subflow | undefined;
  let backup: Subflow | undefined;
  let regularUsable = false;
  for (let i = 0; i < subflows.length; i++) {
    const subflow = subflows[i] as Subflow;
    if (!subflow.usable) continue;
    if (subflow.remoteBackup) {
      if (subflow.roomBytes > 0 && (backup === undefined || subflow.rttMs < backup.rttMs)) backup = subflow;
      continue;
    }
    regularUsable = true;
    if (subflow.roomBytes > 0 && (best === undefined || subflow.rttMs < best.rttMs)) best = subflow;
  }
  return regularUsable ? best : backup;
}

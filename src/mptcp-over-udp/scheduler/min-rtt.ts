/** min-rtt: the lowest smoothed round trip that has room; backups only when no regular subflow can be used (RFC 8684, 3.3.8). */

import { fastestWithRoom, onlyBackupsUsable } from './candidates.js';
import type { Scheduler, SchedulerSubflow } from './scheduler.js';

const minRtt: Scheduler = {
  name: 'min-rtt',
  duplicates: false,
  forConnection: () => minRtt,
  select: <S extends SchedulerSubflow>(subflows: readonly S[]) => fastestWithRoom(subflows, onlyBackupsUsable(subflows)),
};

export function createMinRtt(): Scheduler {
  return minRtt;
}

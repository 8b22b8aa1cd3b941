/**
 * redundant: everything goes out on every usable subflow, each at its own pace and from the oldest data without a DATA_ACK. The goodput is that of the best path,
 * a loss or a late path costs nothing as long as another delivers.
 */

import { fastestWithRoom, onlyBackupsUsable } from './candidates.js';
import type { Scheduler, SchedulerSubflow } from './scheduler.js';

const redundant: Scheduler = {
  name: 'redundant',
  duplicates: true,
  forConnection: () => redundant,
  select: <S extends SchedulerSubflow>(subflows: readonly S[]) => fastestWithRoom(subflows, onlyBackupsUsable(subflows)),
};

export function createRedundant(): Scheduler {
  return redundant;
}

/** The schedulers by the names that the configuration knows. */

import { createBlest } from './blest.js';
import { createEcf } from './ecf.js';
import { createMinRtt } from './min-rtt.js';
import { createPriority } from './priority.js';
import { createRedundant } from './redundant.js';
import { createRoundRobin } from './round-robin.js';
import type { Scheduler } from './scheduler.js';

export const SCHEDULERS = {
  'min-rtt': createMinRtt,
  blest: createBlest,
  ecf: createEcf,
  redundant: createRedundant,
  'round-robin': createRoundRobin,
  priority: createPriority,
} as const satisfies Record<string, () => Scheduler>;

export type SchedulerName = keyof typeof SCHEDULERS;

/** Schedulers and congestion controls by name. */

import { createBbr1 } from '../mptcp-over-udp/congestion/bbr1.js';
import type { CongestionControlFactory } from '../mptcp-over-udp/congestion/congestion-control.js';
import { createCubic } from '../mptcp-over-udp/congestion/cubic.js';
import { createMinRtt } from '../mptcp-over-udp/scheduler/min-rtt.js';
import type { Scheduler } from '../mptcp-over-udp/scheduler/scheduler.js';

const SCHEDULERS: Readonly<Record<string, () => Scheduler>> = { 'min-rtt': createMinRtt };
const CONGESTION_CONTROLS: Readonly<Record<string, CongestionControlFactory>> = { bbr: createBbr1, cubic: createCubic };

export const SCHEDULER_NAMES: readonly string[] = Object.keys(SCHEDULERS);
export const CONGESTION_CONTROL_NAMES: readonly string[] = Object.keys(CONGESTION_CONTROLS);

export function schedulerNamed(name: string): Scheduler {
  const create = SCHEDULERS[name];
  if (create === undefined) throw new RangeError(`scheduler must be one of ${SCHEDULER_NAMES.join(', ')}, not "${name}"`);
  return create();
}

export function congestionControlNamed(name: string): CongestionControlFactory {
  const create = CONGESTION_CONTROLS[name];
  if (create === undefined) {
    throw new RangeError(`congestionControl must be one of ${CONGESTION_CONTROL_NAMES.join(', ')}, not "${name}"`);
  }
  return create;
}

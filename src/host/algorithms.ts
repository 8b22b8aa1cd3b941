/** Schedulers and congestion controls by name, as a caller gives it. */

import type { CongestionControlFactory } from '../mptcp-over-udp/congestion/congestion-control.js';
import { CONGESTION_CONTROLS } from '../mptcp-over-udp/congestion/congestion-controls.js';
import type { Scheduler } from '../mptcp-over-udp/scheduler/scheduler.js';
import { SCHEDULERS } from '../mptcp-over-udp/scheduler/schedulers.js';

export const SCHEDULER_NAMES: readonly string[] = Object.keys(SCHEDULERS);
export const CONGESTION_CONTROL_NAMES: readonly string[] = Object.keys(CONGESTION_CONTROLS);

export function schedulerNamed(name: string): Scheduler {
  if (!Object.hasOwn(SCHEDULERS, name)) throw new RangeError(`scheduler must be one of ${SCHEDULER_NAMES.join(', ')}, not "${name}"`);
  return SCHEDULERS[name as keyof typeof SCHEDULERS]();
}

export function congestionControlNamed(name: string): CongestionControlFactory {
  if (!Object.hasOwn(CONGESTION_CONTROLS, name)) {
    throw new RangeError(`congestionControl must be one of ${CONGESTION_CONTROL_NAMES.join(', ')}, not "${name}"`);
  }
  return CONGESTION_CONTROLS[name as keyof typeof CONGESTION_CONTROLS];
}

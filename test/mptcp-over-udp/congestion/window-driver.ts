/** Drives a congestion control as the engine does, acknowledgement by acknowledgement, on a path with a constant round trip and no queue. */

import type { AckSample, CongestionControl, CongestionControlFactory } from '../../../src/mptcp-over-udp/congestion/congestion-control.js';
import { CoupledGroup, type CoupledSubflow } from '../../../src/mptcp-over-udp/congestion/coupled-group.js';
import { createAckSample } from '../../../src/mptcp-over-udp/congestion/delivery-rate.js';

export const MSS = 1_000;

export class WindowDriver implements CoupledSubflow {
  usable = true;
  heldBack = false;
  readonly recovery: { congestion: CongestionControl };
  readonly sample: AckSample = createAckSample();
  nowMs = 0;
  rttMs: number;
  deliveredBytes = 0;

  constructor(factory: CongestionControlFactory, options: { rttMs?: number; windowSegments?: number; group?: CoupledGroup } = {}) {
    this.rttMs = options.rttMs ?? 100;
    const group = options.group === undefined ? {} : { group: options.group };
    this.recovery = {
      congestion: factory({ mssBytes: MSS, initialWindowBytes: (options.windowSegments ?? 10) * MSS, nowMs: 0, ...group }),
    };
  }

  get cc(): CongestionControl {
    return this.recovery.congestion;
  }

  get cwnd(): number {
    return this.cc.cwndBytes;
  }

  /** One acknowledgement of `bytes`. */
  ack(bytes: number, more: Partial<AckSample> = {}): void {
    const prior = this.deliveredBytes;
    this.deliveredBytes += bytes;
    const fixed = { nowMs: this.nowMs, deliveredBytes: bytes, inflightBytes: this.cwnd, rttMs: this.rttMs, srttMs: this.rttMs };
    const totals = { minRttMs: this.rttMs, totalDeliveredBytes: this.deliveredBytes, priorDeliveredBytes: prior };
    this.cc.onAck(Object.assign(this.sample, fixed, totals, { cwndLimited: true, ecnEcho: false }, more));
  }

  /** One window, segment by segment. */
  round(more: Partial<AckSample> = {}): void {
    const prior = this.deliveredBytes;
    const segments = Math.max(1, Math.round(this.cwnd / MSS));
    for (let i = 0; i < segments; i++) {
      this.nowMs += this.rttMs / segments;
      this.ack(MSS, { priorDeliveredBytes: prior, ...more });
    }
  }

  /** Lost segments within one window: halving, recovery, and out of it. */
  loss(): void {
    this.cc.onRecoveryStart(this.nowMs, this.cwnd);
    this.cc.onRecoveryEnd(this.nowMs);
  }
}

/** Subflows of one connection, each in congestion avoidance at its window. */
export function coupledSubflows(
  factory: CongestionControlFactory,
  shapes: readonly { windowSegments: number; rttMs: number; lossIntervalBytes?: number }[],
): WindowDriver[] {
  const drivers: WindowDriver[] = [];
  const made: WindowDriver[] = [];
  const group = new CoupledGroup(drivers);
  // The windows are built before they are coupled, so that each is what its shape says.
  for (const { windowSegments, rttMs, lossIntervalBytes = 1_000_000 } of shapes) {
    const driver = new WindowDriver(factory, { rttMs, windowSegments: 2 * windowSegments, group });
    driver.ack(lossIntervalBytes, { cwndLimited: false });
    driver.cc.onRecoveryStart(0, driver.cwnd);
    driver.cc.onRecoveryEnd(0);
    made.push(driver);
  }
  drivers.push(...made);
  return drivers;
}

/**
 * The NewReno frame (RFC 5681, 6582, 6675) with appropriate byte counting (RFC 3465) and HyStart++ (RFC 9406): slow start, one reduction per
 * window of data, timeout, idle restart, undo. Reno and the coupled algorithms differ in how much congestion avoidance adds and what a loss leaves.
 */

import type { AckSample, CongestionControl, CongestionControlOptions } from './congestion-control.js';
import type { CoupledGroup, CoupledMember } from './coupled-group.js';
import { HyStart } from './hystart.js';

/** Idle time after which the window decays, one halving for each (RFC 2861, 3.1, with the minimum RTO as the unit). */
const MIN_IDLE_UNIT_MS = 200;

export abstract class WindowReno implements CongestionControl, CoupledMember {
  abstract readonly name: string;
  cwndBytes: number;
  ssthreshBytes = Number.POSITIVE_INFINITY;
  readonly pacingRateBytesPerSec = Number.POSITIVE_INFINITY;
  srttMs = -1;
  silent = false;
  protected mssBytes: number;
  /** RFC 5681 (4): 2 segments; OLIA goes to one. */
  protected minSsthreshSegments = 2;
  private initialWindowBytes: number;
  private readonly hystart = new HyStart();
  private inRecovery = false;
  /** Growth is allowed until this much is delivered: the window was full within the last round (RFC 7661, 4.3). */
  private limitedUntilBytes = 0;
  private totalDeliveredBytes = 0;
  private ecnRoundEndBytes = 0;
  /** Timeouts in a row: RFC 5681 (4) holds ssthresh on the repeated ones. */
  private timedOut = false;
  private bytesSinceLoss = 0;
  private bytesBetweenLosses = 0;
  private undoCwndBytes = 0;
  private undoSsthreshBytes = 0;

  constructor(options: CongestionControlOptions) {
    this.mssBytes = options.mssBytes;
    this.initialWindowBytes = options.initialWindowBytes;
    this.cwndBytes = Math.max(options.mssBytes, options.initialWindowBytes);
  }

  /** Bytes that congestion avoidance adds to the window for `deliveredBytes` acknowledged; may be negative. */
  protected abstract increaseBytes(deliveredBytes: number): number;

  /** What a loss leaves of a window. */
  protected reducedBytes(windowBytes: number): number {
    return windowBytes / 2;
  }

  get lossIntervalBytes(): number {
    return Math.max(this.bytesSinceLoss, this.bytesBetweenLosses);
  }

  protected get inSlowStart(): boolean {
    return this.cwndBytes < this.ssthreshBytes;
  }

  /** The window was full within the last round trip, and no loss is being repaired: it may grow. */
  protected get mayGrow(): boolean {
    return !this.inRecovery && this.limitedLately;
  }

  private get limitedLately(): boolean {
    return this.totalDeliveredBytes <= this.limitedUntilBytes;
  }

  onSent(_nowMs: number, _bytes: number, _inflightBytes: number): void {}

  onAck(sample: AckSample): void {
    if (sample.srttMs > 0) this.srttMs = sample.srttMs;
    if (sample.deliveredBytes > 0) {
      this.silent = false;
      this.timedOut = false;
    }
    this.bytesSinceLoss += sample.deliveredBytes;
    this.totalDeliveredBytes = sample.totalDeliveredBytes;
    if (sample.cwndLimited) this.limitedUntilBytes = sample.totalDeliveredBytes + sample.inflightBytes;
    if (sample.ecnEcho) this.handleEcnEcho(sample);
    if (this.inSlowStart) this.slowStart(sample);
    else if (sample.deliveredBytes > 0 && this.mayGrow) this.setWindow(this.cwndBytes + this.increaseBytes(sample.deliveredBytes));
  }

  onRecoveryStart(_nowMs: number, inflightBytes: number): void {
    this.reduce(inflightBytes);
    this.inRecovery = true;
  }

  onRecoveryEnd(_nowMs: number): void {
    this.inRecovery = false;
  }

  onRetransmissionTimeout(_nowMs: number, inflightBytes: number): void {
    if (!this.timedOut) this.reduce(inflightBytes);
    this.timedOut = true;
    this.silent = true;
    // RFC 5681 (4): the loss window, from which slow start leads back.
    this.cwndBytes = this.mssBytes;
    this.inRecovery = false;
  }

  onSpuriousLoss(_nowMs: number): void {
    if (this.undoCwndBytes === 0) return;
    this.cwndBytes = Math.max(this.cwndBytes, this.undoCwndBytes);
    this.ssthreshBytes = this.undoSsthreshBytes;
    this.undoCwndBytes = 0;
    this.inRecovery = false;
  }

  onHandshake(_rttMs: number, initialWindowBytes: number): void {
    if (this.cwndBytes !== this.initialWindowBytes) return;
    this.initialWindowBytes = Math.max(this.initialWindowBytes, initialWindowBytes);
    this.cwndBytes = this.initialWindowBytes;
  }

  onIdleRestart(_nowMs: number, idleMs: number): void {
    const halvings = Math.floor(idleMs / Math.max(MIN_IDLE_UNIT_MS, 2 * this.srttMs));
    if (halvings < 1) return;
    // RFC 2861: what was learnt survives in ssthresh; the window decays to the restart window (RFC 5681, 4.1).
    this.ssthreshBytes = Math.max(this.ssthreshBytes, 0.75 * this.cwndBytes);
    this.cwndBytes = Math.max(Math.min(this.initialWindowBytes, this.cwndBytes), this.cwndBytes / 2 ** Math.min(halvings, 30));
  }

  setMss(mssBytes: number): void {
    this.mssBytes = mssBytes;
    if (this.cwndBytes < mssBytes) this.cwndBytes = mssBytes;
  }

  protected setWindow(bytes: number): void {
    this.cwndBytes = Math.max(this.mssBytes, bytes);
  }

  private slowStart(sample: AckSample): void {
    // RFC 9406 (4.3): HyStart++ is for the initial slow start, while ssthresh is still unknown.
    const initial = this.ssthreshBytes === Number.POSITIVE_INFINITY;
    if (initial) this.hystart.onAck(sample);
    // RFC 9406 (4.2): paced, so L is infinite.
    const growth = sample.deliveredBytes / (initial ? this.hystart.growthDivisor : 1);
    if (this.mayGrow) this.cwndBytes = Math.min(this.cwndBytes + growth, this.ssthreshBytes);
    if (initial && this.hystart.done) this.ssthreshBytes = this.cwndBytes;
  }

  private reduce(inflightBytes: number): void {
    this.undoCwndBytes = this.cwndBytes;
    this.undoSsthreshBytes = this.ssthreshBytes;
    this.bytesBetweenLosses = this.bytesSinceLoss;
    this.bytesSinceLoss = 0;
    // RFC 5681 (4): FlightSize, not cwnd, when the sender did not fill it. What is in flight lacks what was just lost, hence the half as a floor.
    const flightBytes = this.limitedLately ? this.cwndBytes : Math.min(this.cwndBytes, Math.max(inflightBytes, this.cwndBytes / 2));
    this.ssthreshBytes = Math.max(this.reducedBytes(flightBytes), this.minSsthreshSegments * this.mssBytes);
    this.cwndBytes = Math.min(this.cwndBytes, this.ssthreshBytes);
  }

  private handleEcnEcho(sample: AckSample): void {
    if (this.inRecovery || sample.priorDeliveredBytes < this.ecnRoundEndBytes) return;
    // RFC 3168 (6.1.2): as a loss, at most once per window of data.
    this.ecnRoundEndBytes = sample.totalDeliveredBytes;
    this.reduce(0);
    this.undoCwndBytes = 0;
  }
}

/** A Reno whose increase or decrease depends on the connection's other subflows. */
export abstract class CoupledReno extends WindowReno {
  readonly coupled: CoupledMember = this;
  private readonly group: CoupledGroup | undefined;
  private readonly alone: readonly CoupledMember[] = [this];

  constructor(options: CongestionControlOptions) {
    super(options);
    this.group = options.group;
  }

  /** The subflows that count, this one among them. */
  protected members(): readonly CoupledMember[] {
    return this.group?.refresh(this) ?? this.alone;
  }
}

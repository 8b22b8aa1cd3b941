/**
 * CUBIC (RFC 9438) with HyStart++ (RFC 9406): the loss-based algorithm, for networks where a flow must hold its own against other
 * loss-based flows. Windows are in bytes; the cubic function works in segments and seconds, as the RFC does.
 */
import type { AckSample, CongestionControl, CongestionControlFactory, CongestionControlOptions } from './congestion-control.js';
import { HyStart } from './hystart.js';

/** RFC 9438, 4.1, 4.6. */
const C_CUBIC = 0.4;
const BETA_CUBIC = 0.7;
/** RFC 9438, 4.3. */
const ALPHA_CUBIC = (3 * (1 - BETA_CUBIC)) / (1 + BETA_CUBIC);
/** RFC 8511: the reduction for an ECN mark is smaller than for a loss. */
const BETA_ECN = 0.85;
/** Idle time after which the window decays, one halving for each (RFC 2861, 3.1, with the minimum RTO as the unit). */
const MIN_IDLE_UNIT_MS = 200;

class Cubic implements CongestionControl {
  readonly name = 'cubic';
  cwndBytes: number;
  readonly pacingRateBytesPerSec = Number.POSITIVE_INFINITY;
  ssthreshBytes = Number.POSITIVE_INFINITY;
  #mssBytes: number;
  #initialWindowBytes: number;
  readonly #hystart: HyStart;
  /** RFC 9438, 4.1.2: W_max, cwnd_prior, W_est, in segments; K in seconds; the epoch's start, -1 when none runs. */
  #wMaxSegments = 0;
  #cwndPriorSegments = 0;
  #wEstSegments = 0;
  #kSec = 0;
  #epochStartMs = -1;
  /** True until a loss has given W_max: then K = 0 and W_max is the window where congestion avoidance began (4.8, 4.10). */
  #unknownMax = true;
  #inRecovery = false;
  #lastAckMs: number;
  #srttMs = -1;
  #ecnRoundEndBytes = 0;
  // State before the last reduction, for its undoing (RFC 9438, 4.9).
  #canUndo = false;
  #undoCwndBytes = 0;
  #undoSsthreshBytes = 0;
  #undoWMaxSegments = 0;
  #undoCwndPriorSegments = 0;
  #undoWEstSegments = 0;
  #undoKSec = 0;
  #undoEpochStartMs = -1;
  #undoUnknownMax = true;

  constructor(options: CongestionControlOptions) {
    this.#mssBytes = options.mssBytes;
    this.#initialWindowBytes = options.initialWindowBytes;
    this.cwndBytes = Math.max(options.mssBytes, options.initialWindowBytes);
    this.#lastAckMs = options.nowMs;
    this.#hystart = new HyStart();
    const memory = options.memory;
    if (memory !== undefined && memory.bandwidthBytesPerSec > 0 && memory.minRttMs > 0) {
      // RFC 9040: slow start up to the known path's half bandwidth-delay product, cautiously beyond.
      this.ssthreshBytes = Math.max(this.cwndBytes, (memory.bandwidthBytesPerSec * memory.minRttMs) / 2000);
    }
  }

  onSent(_nowMs: number, _bytes: number, _inflightBytes: number): void {}

  onAck(sample: AckSample): void {
    const nowMs = sample.nowMs;
    if (sample.srttMs > 0) this.#srttMs = sample.srttMs;
    if (sample.ecnEcho) this.#handleEcnEcho(sample);
    if (!sample.cwndLimited && this.#epochStartMs >= 0) {
      // The window was not what held the sender: time that passed so must not let it grow (RFC 9438, 5.8).
      this.#epochStartMs += nowMs - this.#lastAckMs;
    }
    this.#lastAckMs = nowMs;
    if (this.cwndBytes < this.ssthreshBytes) this.#slowStart(sample);
    else if (!this.#inRecovery && sample.deliveredBytes > 0 && sample.cwndLimited) this.#congestionAvoidance(sample);
  }

  onRecoveryStart(nowMs: number, inflightBytes: number): void {
    this.#saveForUndo();
    this.#reduce(nowMs, BETA_CUBIC, inflightBytes);
    this.#inRecovery = true;
  }

  onRecoveryEnd(_nowMs: number): void {
    this.#inRecovery = false;
  }

  onRetransmissionTimeout(nowMs: number, inflightBytes: number): void {
    this.#saveForUndo();
    this.#reduce(nowMs, BETA_CUBIC, inflightBytes);
    // RFC 9438, 4.8; RFC 5681, (4): the loss window is one segment, and slow start leads back.
    this.cwndBytes = this.#mssBytes;
    this.#unknownMax = true;
    this.#inRecovery = false;
  }

  onSpuriousLoss(_nowMs: number): void {
    if (!this.#canUndo) return;
    this.#canUndo = false;
    this.#inRecovery = false;
    this.cwndBytes = Math.max(this.cwndBytes, this.#undoCwndBytes);
    this.ssthreshBytes = this.#undoSsthreshBytes;
    this.#wMaxSegments = this.#undoWMaxSegments;
    this.#cwndPriorSegments = this.#undoCwndPriorSegments;
    this.#wEstSegments = this.#undoWEstSegments;
    this.#kSec = this.#undoKSec;
    this.#epochStartMs = this.#undoEpochStartMs;
    this.#unknownMax = this.#undoUnknownMax;
  }

  onHandshake(_rttMs: number, initialWindowBytes: number): void {
    if (this.cwndBytes !== this.#initialWindowBytes) return;
    this.#initialWindowBytes = Math.max(this.#initialWindowBytes, initialWindowBytes);
    this.cwndBytes = this.#initialWindowBytes;
  }

  onIdleRestart(_nowMs: number, idleMs: number): void {
    const unitMs = Math.max(MIN_IDLE_UNIT_MS, 2 * this.#srttMs);
    const halvings = Math.floor(idleMs / unitMs);
    if (halvings < 1) return;
    // RFC 2861: what was learnt survives in ssthresh; the window decays to the restart window (RFC 5681, 4.1).
    this.ssthreshBytes = Math.max(this.ssthreshBytes, 0.75 * this.cwndBytes);
    const restartWindowBytes = Math.min(this.#initialWindowBytes, this.cwndBytes);
    this.cwndBytes = Math.max(restartWindowBytes, this.cwndBytes / 2 ** Math.min(halvings, 30));
    this.#epochStartMs = -1;
  }

  setMss(mssBytes: number): void {
    // The cubic function counts segments: keep the curve where it is in bytes.
    const ratio = this.#mssBytes / mssBytes;
    this.#wMaxSegments *= ratio;
    this.#cwndPriorSegments *= ratio;
    this.#wEstSegments *= ratio;
    this.#mssBytes = mssBytes;
    if (this.cwndBytes < mssBytes) this.cwndBytes = mssBytes;
  }

  #slowStart(sample: AckSample): void {
    // RFC 9406, 4.3: HyStart++ is for the initial slow start, while ssthresh is still unknown.
    const initial = this.ssthreshBytes === Number.POSITIVE_INFINITY;
    if (initial) this.#hystart.onAck(sample);
    const growthDivisor = initial ? this.#hystart.growthDivisor : 1;
    if (sample.cwndLimited && !this.#inRecovery) {
      // RFC 9406, 4.2: paced, so L is infinite; a quarter of the growth in conservative slow start.
      this.cwndBytes = Math.min(this.cwndBytes + sample.deliveredBytes / growthDivisor, Math.max(this.ssthreshBytes, this.cwndBytes));
    }
    if (initial && this.#hystart.done) this.ssthreshBytes = this.cwndBytes;
  }

  #congestionAvoidance(sample: AckSample): void {
    const mssBytes = this.#mssBytes;
    const cwndSegments = this.cwndBytes / mssBytes;
    if (this.#epochStartMs < 0) this.#startEpoch(sample.nowMs, cwndSegments);
    const ackedSegments = sample.deliveredBytes / mssBytes;
    const tSec = (sample.nowMs - this.#epochStartMs) / 1000;
    // RFC 9438, 4.3: the Reno-friendly estimate; beyond cwnd_prior it grows as Reno does.
    const alpha = this.#wEstSegments >= this.#cwndPriorSegments ? 1 : ALPHA_CUBIC;
    this.#wEstSegments += (alpha * ackedSegments) / cwndSegments;
    if (this.#wCubic(tSec) < this.#wEstSegments) {
      this.cwndBytes = Math.max(this.cwndBytes, this.#wEstSegments * mssBytes);
      return;
    }
    // RFC 9438, 4.4 and 4.5: towards W_cubic(t + RTT), at most 1.5 times the window in an RTT.
    const aheadSegments = this.#wCubic(tSec + Math.max(0, this.#srttMs) / 1000);
    const targetSegments = Math.min(Math.max(aheadSegments, cwndSegments), 1.5 * cwndSegments);
    this.cwndBytes += ((targetSegments - cwndSegments) / cwndSegments) * sample.deliveredBytes;
  }

  #startEpoch(nowMs: number, cwndSegments: number): void {
    this.#epochStartMs = nowMs;
    this.#wEstSegments = cwndSegments;
    if (this.#unknownMax || cwndSegments >= this.#wMaxSegments) {
      this.#wMaxSegments = cwndSegments;
      this.#kSec = 0;
      if (this.#unknownMax) this.#cwndPriorSegments = cwndSegments;
    } else {
      this.#kSec = Math.cbrt((this.#wMaxSegments - cwndSegments) / C_CUBIC);
    }
  }

  #wCubic(tSec: number): number {
    return C_CUBIC * (tSec - this.#kSec) ** 3 + this.#wMaxSegments;
  }

  #reduce(_nowMs: number, beta: number, inflightBytes: number): void {
    const cwndSegments = this.cwndBytes / this.#mssBytes;
    // RFC 9438, 4.7, fast convergence: a flow that lost below its last maximum gives room to newcomers.
    this.#wMaxSegments = !this.#unknownMax && cwndSegments < this.#wMaxSegments ? (cwndSegments * (1 + beta)) / 2 : cwndSegments;
    this.#cwndPriorSegments = cwndSegments;
    this.#unknownMax = false;
    // RFC 9438, 4.6: a window that the application did not fill is no measure of the path; flight size is, with what was just lost in it.
    const flightBytes = inflightBytes > 0 ? Math.min(this.cwndBytes, Math.max(inflightBytes, this.cwndBytes / 2)) : this.cwndBytes;
    this.ssthreshBytes = Math.max(beta * flightBytes, 2 * this.#mssBytes);
    this.cwndBytes = Math.min(this.cwndBytes, this.ssthreshBytes);
    this.#epochStartMs = -1;
  }

  #handleEcnEcho(sample: AckSample): void {
    if (this.#inRecovery || sample.priorDeliveredBytes < this.#ecnRoundEndBytes) return;
    this.#ecnRoundEndBytes = sample.totalDeliveredBytes;
    this.#canUndo = false;
    this.#reduce(sample.nowMs, BETA_ECN, 0);
  }

  #saveForUndo(): void {
    this.#canUndo = true;
    this.#undoCwndBytes = this.cwndBytes;
    this.#undoSsthreshBytes = this.ssthreshBytes;
    this.#undoWMaxSegments = this.#wMaxSegments;
    this.#undoCwndPriorSegments = this.#cwndPriorSegments;
    this.#undoWEstSegments = this.#wEstSegments;
    this.#undoKSec = this.#kSec;
    this.#undoEpochStartMs = this.#epochStartMs;
    this.#undoUnknownMax = this.#unknownMax;
  }
}

export const createCubic: CongestionControlFactory = (options) => new Cubic(options);

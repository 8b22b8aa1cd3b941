/**
 * BBR (Cardwell et al., ACM Queue 2016; draft-cardwell-iccrg-bbr-congestion-control-00): the path's bandwidth is the largest delivery rate of the
 * last ten round trips, its delay the smallest RTT of the last ten seconds; pacing follows the one, the window their product. Loss is no signal:
 * bonded links lose at random.
 *
 * DEVIATION (4.3.4): ProbeRTT keeps half a bandwidth-delay product in flight, so that it costs next to nothing.
 * DEVIATION (4.2.3): a few milliseconds of bandwidth are added to the window: hosts' timers and batches are that coarse.
 */

import type { AckSample, CongestionControl, CongestionControlFactory, CongestionControlOptions, PathMemory } from './congestion-control.js';
import { WindowedMax } from './windowed-max.js';

type BbrState = 'startup' | 'drain' | 'probe-bw' | 'probe-rtt';

const HIGH_GAIN = 2.885;
const DRAIN_GAIN = 1 / HIGH_GAIN;
const CWND_GAIN = 2;
const CYCLE_GAINS = [1.25, 0.75, 1, 1, 1, 1, 1, 1] as const;
const PACING_MARGIN = 0.99;
const BANDWIDTH_ROUNDS = 10;
const MIN_RTT_WINDOW_MS = 10_000;
const PROBE_RTT_GAIN = 0.5;
const FULL_BANDWIDTH_GROWTH = 1.25;
const FULL_BANDWIDTH_ROUNDS = 3;
/** Startup has overrun a short queue when a round loses this much. */
const STARTUP_LOSS_RATIO = 0.2;
const MIN_CWND_SEGMENTS = 4;
/** Window for what timers and batches hold back. */
const SLACK_MS = 3;
const MAX_EXTRA_ACKED_MS = 20;
/** A new flow begins at this part of what the path lately gave one. */
const MEMORY_RATIO = 0.5;

class Bbr implements CongestionControl {
  readonly name = 'bbr';
  readonly ssthreshBytes = Number.POSITIVE_INFINITY;
  cwndBytes: number;
  pacingRateBytesPerSec: number;
  state: BbrState = 'startup';
  private mssBytes: number;
  private readonly initialWindowBytes: number;
  private readonly memory: PathMemory | undefined;
  private readonly bandwidth = new WindowedMax(BANDWIDTH_ROUNDS);
  private readonly extraAcked = new WindowedMax(BANDWIDTH_ROUNDS);
  private minRttMs = -1;
  private minRttStampMs: number;
  private pacingGain = HIGH_GAIN;
  private cwndGain = HIGH_GAIN;
  private roundCount = 0;
  private roundEndBytes = 0;
  private roundLostBytes = 0;
  private roundDeliveredBytes = 0;
  private fullBandwidth = 0;
  private fullBandwidthRounds = 0;
  private filled = false;
  private cycleIndex = 0;
  private cycleStampMs = 0;
  private probeRttRound = 0;
  private priorCwndBytes = 0;
  private afterTimeout = false;
  private epochStartMs = 0;
  private epochDeliveredBytes = 0;

  constructor(options: CongestionControlOptions) {
    this.mssBytes = options.mssBytes;
    this.initialWindowBytes = options.initialWindowBytes;
    this.memory = options.memory;
    this.minRttStampMs = options.nowMs;
    this.cwndBytes = options.initialWindowBytes;
    this.pacingRateBytesPerSec = HIGH_GAIN * options.initialWindowBytes * 1000;
    const { memory } = options;
    if (memory === undefined || memory.bandwidthBytesPerSec <= 0 || memory.minRttMs <= 0) return;
    const bandwidth = MEMORY_RATIO * memory.bandwidthBytesPerSec;
    this.cwndBytes = Math.max(this.cwndBytes, (bandwidth * memory.minRttMs) / 1000);
    this.pacingRateBytesPerSec = Math.max((options.initialWindowBytes * 1000) / memory.minRttMs, HIGH_GAIN * bandwidth);
  }

  onSent(): void {
    // Nothing to note: the engine's delivery rate samples tell all.
  }

  onAck(sample: AckSample): void {
    const { nowMs } = sample;
    const roundStart = this.updateRound(sample);
    this.updateBandwidth(sample);
    this.updateExtraAcked(sample);
    const expired = this.updateMinRtt(sample);
    if (roundStart) this.checkFullPipe(sample);
    this.updateState(sample, expired);
    this.setPacingRate(sample);
    this.setCwnd(sample);
    if (roundStart) this.remember(nowMs);
  }

  onRecoveryStart(): void {
    // Loss is no signal.
  }

  onRecoveryEnd(): void {
    // Nor is its end.
  }

  onRetransmissionTimeout(_nowMs: number, _inflightBytes: number): void {
    if (!this.afterTimeout) this.priorCwndBytes = this.cwndBytes;
    this.afterTimeout = true;
    this.cwndBytes = MIN_CWND_SEGMENTS * this.mssBytes;
  }

  onSpuriousLoss(): void {
    this.restoreCwnd();
  }

  onIdleRestart(nowMs: number): void {
    this.epochStartMs = nowMs;
    this.epochDeliveredBytes = 0;
  }

  setMss(mssBytes: number): void {
    this.mssBytes = mssBytes;
  }

  get bandwidthBytesPerSec(): number {
    return this.bandwidth.value;
  }

  private bdpBytes(gain: number): number {
    if (this.minRttMs <= 0 || this.bandwidth.value <= 0) return gain * this.initialWindowBytes;
    return (gain * this.bandwidth.value * this.minRttMs) / 1000;
  }

  private updateRound(sample: AckSample): boolean {
    this.roundLostBytes += sample.lostBytes;
    this.roundDeliveredBytes += sample.deliveredBytes;
    if (sample.priorDeliveredBytes < this.roundEndBytes) return false;
    this.roundEndBytes = sample.totalDeliveredBytes;
    this.roundCount++;
    return true;
  }

  private updateBandwidth(sample: AckSample): void {
    if (sample.sampleIntervalMs <= 0) return;
    const rate = (sample.sampleDeliveredBytes * 1000) / sample.sampleIntervalMs;
    if (!sample.sampleAppLimited || rate >= this.bandwidth.value) this.bandwidth.update(rate, this.roundCount);
  }

  private updateExtraAcked(sample: AckSample): void {
    const bandwidth = this.bandwidth.value;
    if (bandwidth <= 0 || !this.filled) return;
    const expected = (bandwidth * (sample.nowMs - this.epochStartMs)) / 1000;
    if (this.epochDeliveredBytes <= expected) {
      this.epochStartMs = sample.nowMs;
      this.epochDeliveredBytes = 0;
    }
    this.epochDeliveredBytes += sample.deliveredBytes;
    const extra = Math.min(
      this.epochDeliveredBytes - Math.max(0, (bandwidth * (sample.nowMs - this.epochStartMs)) / 1000),
      (bandwidth * MAX_EXTRA_ACKED_MS) / 1000,
    );
    this.extraAcked.update(Math.min(extra, this.cwndBytes), this.roundCount);
  }

  /** True when the smallest RTT is too old to be believed. */
  private updateMinRtt(sample: AckSample): boolean {
    const expired = sample.nowMs - this.minRttStampMs > MIN_RTT_WINDOW_MS;
    if (sample.rttMs > 0 && (this.minRttMs < 0 || sample.rttMs <= this.minRttMs || expired)) {
      this.minRttMs = sample.rttMs;
      this.minRttStampMs = sample.nowMs;
    }
    return expired;
  }

  private checkFullPipe(sample: AckSample): void {
    const lossRatio = this.roundLostBytes / Math.max(1, this.roundLostBytes + this.roundDeliveredBytes);
    this.roundLostBytes = 0;
    this.roundDeliveredBytes = 0;
    if (this.filled || sample.sampleAppLimited) return;
    if (this.bandwidth.value >= this.fullBandwidth * FULL_BANDWIDTH_GROWTH) {
      this.fullBandwidth = this.bandwidth.value;
      this.fullBandwidthRounds = 0;
      return;
    }
    this.fullBandwidthRounds++;
    if (this.fullBandwidthRounds >= FULL_BANDWIDTH_ROUNDS || lossRatio > STARTUP_LOSS_RATIO) this.filled = true;
  }

  private updateState(sample: AckSample, minRttExpired: boolean): void {
    const { nowMs } = sample;
    if (this.state === 'startup' && this.filled) {
      this.state = 'drain';
      this.pacingGain = DRAIN_GAIN;
      this.cwndGain = CWND_GAIN;
    }
    if (this.state === 'drain' && sample.inflightBytes <= this.bdpBytes(1)) this.enterProbeBandwidth(nowMs);
    if (this.state === 'probe-bw') this.advanceCycle(sample);
    if (minRttExpired && this.state !== 'probe-rtt' && this.filled) {
      this.state = 'probe-rtt';
      this.priorCwndBytes = this.afterTimeout ? this.priorCwndBytes : this.cwndBytes;
      this.pacingGain = 1;
      this.probeRttRound = this.roundCount;
    }
    if (this.state === 'probe-rtt') this.updateProbeRtt(sample);
  }

  /** One round drains to the floor, the next one measures. */
  private updateProbeRtt(sample: AckSample): void {
    if (this.roundCount - this.probeRttRound < 2) return;
    this.minRttStampMs = sample.nowMs;
    this.restoreCwnd();
    this.enterProbeBandwidth(sample.nowMs);
  }

  private enterProbeBandwidth(nowMs: number): void {
    this.state = 'probe-bw';
    this.cwndGain = CWND_GAIN;
    // Any phase but the draining one; that flows differ is enough.
    this.cycleIndex = 2 + (Math.floor(nowMs * 1000) % 6);
    this.cycleStampMs = nowMs;
    this.pacingGain = 1;
  }

  private advanceCycle(sample: AckSample): void {
    const elapsedMs = sample.nowMs - this.cycleStampMs;
    const full = elapsedMs > Math.max(this.minRttMs, 1);
    let next: boolean;
    if (this.pacingGain > 1) next = full && (sample.lostBytes > 0 || sample.priorInflightBytes >= this.bdpBytes(this.pacingGain));
    else if (this.pacingGain < 1) next = full || sample.inflightBytes <= this.bdpBytes(1);
    else next = full;
    if (!next) return;
    this.cycleIndex = (this.cycleIndex + 1) % CYCLE_GAINS.length;
    this.cycleStampMs = sample.nowMs;
    this.pacingGain = CYCLE_GAINS[this.cycleIndex] as number;
  }

  private setPacingRate(sample: AckSample): void {
    if (this.bandwidth.value <= 0) {
      if (sample.srttMs > 0) this.pacingRateBytesPerSec = (HIGH_GAIN * this.cwndBytes * 1000) / Math.max(sample.srttMs, 0.1);
      return;
    }
    const rate = this.pacingGain * this.bandwidth.value * PACING_MARGIN;
    if (this.filled || rate > this.pacingRateBytesPerSec) this.pacingRateBytesPerSec = rate;
    else if (this.roundCount <= 1 && sample.srttMs > 0) {
      this.pacingRateBytesPerSec = Math.max(rate, (HIGH_GAIN * this.cwndBytes * 1000) / sample.srttMs);
    }
  }

  private setCwnd(sample: AckSample): void {
    if (this.afterTimeout && sample.deliveredBytes > 0) this.restoreCwnd();
    const slack = (this.bandwidth.value * SLACK_MS) / 1000;
    const target = this.bdpBytes(this.cwndGain) + (this.filled ? this.extraAcked.value : 0) + slack + 3 * this.mssBytes;
    if (this.filled) this.cwndBytes = Math.min(this.cwndBytes + sample.deliveredBytes, target);
    else if (this.cwndBytes < target || sample.totalDeliveredBytes < this.initialWindowBytes) this.cwndBytes += sample.deliveredBytes;
    this.cwndBytes = Math.max(this.cwndBytes, MIN_CWND_SEGMENTS * this.mssBytes);
    if (this.state === 'probe-rtt')
      this.cwndBytes = Math.min(this.cwndBytes, Math.max(PROBE_RTT_GAIN * this.bdpBytes(1), MIN_CWND_SEGMENTS * this.mssBytes));
  }

  private restoreCwnd(): void {
    this.afterTimeout = false;
    this.cwndBytes = Math.max(this.cwndBytes, this.priorCwndBytes);
    this.priorCwndBytes = 0;
  }

  private remember(_nowMs: number): void {
    const { memory } = this;
    if (memory === undefined || this.bandwidth.value <= 0 || !this.filled) return;
    const known = memory.bandwidthBytesPerSec;
    memory.bandwidthBytesPerSec = known > 0 ? known + (this.bandwidth.value - known) / 8 : this.bandwidth.value;
    if (memory.minRttMs <= 0 || this.minRttMs < memory.minRttMs) memory.minRttMs = this.minRttMs;
  }
}

export const createBbr1: CongestionControlFactory = (options) => new Bbr(options);

/**
 * What BBR believes about its path: bandwidth, the round-trip time without a queue of our making, ACK aggregation, loss; and what each
 * round trip measured. Pure, fed by every ACK; no decision is taken here.
 */
import { AckAggregation } from './bbr-ack-aggregation.js';
import { ReturnHistory } from './bbr-return-history.js';
import { sharedModel } from './bbr-shared-path.js';
import type { AckSample, PathMemory, SharedPathModel } from './congestion-control.js';

/**
 * ProbeRTT comes at multiples of this, not so long after the last one: flows of one host share the clock, so they drain their common queue
 * together and none takes the others' part of it for the path's RTT. A long path's measurement costs more and is repeated less often.
 */
const PROBE_RTT_INTERVAL_MS = 5_000;
const PROBE_RTT_INTERVAL_RTTS = 50;
const MAX_PROBE_RTT_INTERVAL_MS = 20_000;
const FALLING_RATIO = 0.8;
/** The same when a queue stands that we cannot drain. */
const URGENT_PROBE_RTT_INTERVAL_MS = 1_000;
/** A round this near to the smallest RTT ever confirms the base of a flow that is alone; so many turns may then be left out. */
const MAX_SKIPPED_PROBES = 4;
const BASE_RTT_CONFIRM_RATIO = 1.05;
const BASE_RTT_CONFIRM_MS = 0.5;
/** Of so many round trips the mean says what a packet takes; a flow's first round is one, its second most of its first window. */
const MEAN_SAMPLES = 4;
/** Less jitter than this part of the base may be bursts of our own on a slow path, and makes no packet much luckier than others. */
const LUCKY_JITTER_RATIO = 0.3;
/** Rounds shorter than this are joined: on a path of 0.1 ms the host's scheduling, not the path, makes the round. */
const MIN_ROUND_MS = 1;

/** Fewer lost segments than this say nothing yet. */
const OVERRUN_SEGMENTS = 32;
/** What bursts of our own and of our neighbours add to the RTT from one ACK to the next. */
const LEAP_BURST_MS = 2;
const LEAP_BURST_SEGMENTS = 4;
/** In-order delivery under jitter delays a full pipe by the maximum of many deviates, on both ways: this many times the leap. */
const JITTER_LEAPS = 4;

/** The same when the base was measured under load, by a bandwidth that has not grown by more than this since. */
const LOADED_JITTER_LEAPS = 1;
const LOADED_RATIO = 1.5;

/** Part of a leap that the interval of a rate sample is longer than it looks. */
const SAMPLE_LEAPS = 0.5;
/**
 * At most this part, well below what a probe adds: a leap of the RTT by an outage, or by a host that was away, would else lower the rate from cycle to cycle.
 */
const MAX_SAMPLE_STRETCH = 0.1;

/** More loss than this is not taken for the path's own for long. */
const MAX_RANDOM_LOSS_RATIO = 0.06;
/** A new flow begins at this part of what another lately got on the path. */
const MEMORY_RATIO = 0.5;
/** Each flow writes once per round trip, so the memory holds the mean share of those that are active. */
const MEMORY_SMOOTHING = 16;
const JITTER_LIFETIME_MS = 2_000;
/** Results of ProbeRTT within so much and two RTTs come from one common probe. */
const TOGETHER_MS = 500;

export class BbrPathModel {
  mssBytes: number;
  roundCount = 0;
  /** Startup: a sample that is too high ends nothing, one that is too low ends it too soon. */
  growing = true;
  /** True during the ACK that ended a round: the `round*` fields are that round's. */
  roundEnded = false;
  roundRttMeanMs = -1;
  /** It is of enough packets that luck, or the lack of it, does not make it. */
  roundRttIsSure = false;
  /** Next to nothing was queued: so near to the smallest base ever that it confirms it. */
  roundIsNearBase = false;
  /** Queue and jitter of the way back during the round; the round trips above are without them. */
  roundReturnMs = 0;
  /** Delivered over the duration of the round. */
  roundRateBytesPerSec = 0;
  roundLossRatio = 0;
  roundAppLimited = false;
  /** Loss, smoothed over rounds, and the part of it that is there whatever we send: falls with the loss, rises slowly. */
  lossRatio = 0;
  randomLossRatio = 0;

  /** Smallest base ever, -1 unknown, and when a round was last near it. */
  #floorRttMs: number;
  #confirmedMs: number;
  #probedMs: number;
  #falling = false;
  readonly #shared: SharedPathModel;
  readonly #flow: number;
  readonly #memory: PathMemory | undefined;
  #ownJitterMs = 0;
  // Bandwidth filter: the current probing cycle's maximum and the last one's.
  #maxBwCurrent = 0;
  #maxBwPrevious = 0;
  // The running round.
  #roundEndBytes = 0;
  #roundStartMs: number;
  #roundStartDeliveredBytes = 0;
  #roundLostBytes = 0;
  #rttSumMs = 0;
  #returnSumMs = 0;
  #rttCount = 0;
  #lastRttMs = -1;
  #lastAckMs = 0;
  #greatestLeapMs = 0;
  #sampleCount = 0;
  #appLimitedCount = 0;
  readonly #aggregation: AckAggregation;

  constructor(nowMs: number, mssBytes: number, memory: PathMemory | undefined) {
    this.#memory = memory;
    this.#shared = sharedModel(memory, nowMs);
    this.#flow = this.#shared.nextFlow++;
    this.mssBytes = mssBytes;
    this.#floorRttMs = this.#shared.baseRttMs;
    this.#confirmedMs = Number.NEGATIVE_INFINITY;
    this.#probedMs = nowMs;
    if (this.#shared.baseRttMs > 0 && memory !== undefined) this.#maxBwCurrent = MEMORY_RATIO * Math.max(0, memory.bandwidthBytesPerSec);
    this.#roundStartMs = nowMs;
    this.#aggregation = new AckAggregation(nowMs);
  }

  /** RTT without our queue: the smallest mean of a round, until ProbeRTT measures anew; -1 unknown. */
  get baseRttMs(): number {
    return this.#shared.baseRttMs;
  }

  /**
   * How far the RTT leaps from one ACK to the next, a round's greatest, smoothed, beyond what bursts of sending explain. A queue grows
   * smoothly, so this is jitter and the bunching of ACKs: delay that the path has whatever we send.
   */
  get jitterMs(): number {
    return this.#shared.jitterMs;
  }

  get extraAckedBytes(): number {
    return this.#aggregation.extraAckedBytes;
  }

  get maxBandwidthBytesPerSec(): number {
    return Math.max(this.#maxBwCurrent, this.#maxBwPrevious);
  }

  /** RTT of a full pipe without our queue: the base, and so much of what lies above it as jitter accounts for. */
  get modelRttMs(): number {
    return (
      this.baseRttMs +
      Math.min(Math.max(0, this.roundQueueMs), (this.#baseHoldsJitter ? LOADED_JITTER_LEAPS : JITTER_LEAPS) * this.jitterMs)
    );
  }

  /** In a pipe so full the base was measured. */
  get #baseHoldsJitter(): boolean {
    return this.maxBandwidthBytesPerSec < LOADED_RATIO * this.#shared.baseBandwidthBytesPerSec;
  }

  /** Delay of the last round above the base, as far as it is known. */
  get roundQueueMs(): number {
    return this.baseRttMs > 0 && this.roundRttMeanMs > 0 ? this.roundRttMeanMs - this.baseRttMs : 0;
  }

  /** Loss of the running round as a part of what left, 0 while too little was lost to judge by. */
  runningLossRatio(totalDeliveredBytes: number): number {
    if (this.#roundLostBytes < OVERRUN_SEGMENTS * this.mssBytes) return 0;
    return this.#roundLostBytes / (this.#roundLostBytes + totalDeliveredBytes - this.#roundStartDeliveredBytes);
  }

  onAck(sample: AckSample, bandwidthBytesPerSec: number): void {
    this.roundEnded = false;
    this.#noteReturn(sample.nowMs);
    if (sample.rttMs > 0) {
      const returnMs = this.#returnQueueMs(sample.rttMs);
      this.#rttSumMs += sample.rttMs - returnMs;
      this.#returnSumMs += returnMs;
      this.#rttCount++;
      const leapMs = this.#lastRttMs < 0 ? 0 : sample.rttMs - this.#lastRttMs;
      const sendGapMs = sample.nowMs - this.#lastAckMs - leapMs;
      this.#lastAckMs = sample.nowMs;
      // Between segments sent far apart a queue may have grown as much.
      if (leapMs > sendGapMs && leapMs > this.#greatestLeapMs) this.#greatestLeapMs = leapMs;
      this.#lastRttMs = sample.rttMs;
      if (this.#shared.baseRttMs < 0) this.#shared.baseRttMs = sample.rttMs - returnMs;
    }
    this.#roundLostBytes += sample.lostBytes;
    if (sample.sampleIntervalMs > 0) this.#updateBandwidth(sample);
    if (sample.deliveredBytes > 0) this.#aggregation.onAck(sample, bandwidthBytesPerSec, this.jitterMs);
    if (sample.priorDeliveredBytes >= this.#roundEndBytes && sample.nowMs - this.#roundStartMs >= MIN_ROUND_MS) this.#endRound(sample);
  }

  /** A probing cycle is over: its maximum becomes the previous one's. */
  advanceBandwidthFilter(): void {
    if (this.#maxBwCurrent === 0) return;
    this.#maxBwPrevious = this.#maxBwCurrent;
    this.#maxBwCurrent = 0;
  }

  /** Whether it is time to measure the base RTT anew. */
  probeRttDue(nowMs: number, urgent: boolean): boolean {
    const hurry = urgent || this.#falling;
    let intervalMs = hurry ? URGENT_PROBE_RTT_INTERVAL_MS : PROBE_RTT_INTERVAL_MS;
    while (!hurry && intervalMs < MAX_PROBE_RTT_INTERVAL_MS && intervalMs < PROBE_RTT_INTERVAL_RTTS * this.#floorRttMs) intervalMs *= 2;
    const turns = Math.floor(nowMs / intervalMs) - Math.floor(this.#probedMs / intervalMs);
    if (turns === 0) return false;
    return hurry || !this.alone(nowMs) || turns > MAX_SKIPPED_PROBES || nowMs - this.#confirmedMs > intervalMs;
  }

  /** No other flow of ours has been heard of on the path for a while. */
  alone(nowMs: number): boolean {
    return nowMs - this.#shared.severalFlowsStampMs > PROBE_RTT_INTERVAL_MS;
  }

  /** ProbeRTT's result replaces the base, up or down. */
  setMeasuredBaseRtt(rttMs: number, nowMs: number): void {
    // Half of a window that held a queue may still hold one: until the result stands, go on.
    this.#falling = rttMs < FALLING_RATIO * this.baseRttMs;
    this.#probedMs = nowMs;
    this.#confirmedMs = nowMs;
    if (this.#floorRttMs < 0 || rttMs < this.#floorRttMs) this.#floorRttMs = rttMs;
    const shared = this.#shared;
    shared.baseIsRough = false;
    // Flows that probed together: the smallest of their results holds.
    const together = nowMs - shared.baseRttStampMs < TOGETHER_MS + 2 * rttMs;
    if (!together || rttMs < shared.baseRttMs) shared.baseRttMs = rttMs;
    shared.baseBandwidthBytesPerSec = Math.max(this.maxBandwidthBytesPerSec, together ? shared.baseBandwidthBytesPerSec : 0);
    if (!together) shared.baseRttStampMs = nowMs;
  }

  /** What flows of this path get on average, 0 unknown. */
  get meanShareBytesPerSec(): number {
    return this.#memory === undefined ? 0 : Math.max(0, this.#memory.bandwidthBytesPerSec);
  }

  /** What a new flow may begin with (RFC 9040). */
  remember(bandwidthBytesPerSec: number): void {
    const memory = this.#memory;
    if (memory === undefined) return;
    const knownBytesPerSec = memory.bandwidthBytesPerSec;
    memory.bandwidthBytesPerSec =
      knownBytesPerSec > 0 ? knownBytesPerSec + (bandwidthBytesPerSec - knownBytesPerSec) / MEMORY_SMOOTHING : bandwidthBytesPerSec;
    if (memory.minRttMs <= 0 || this.baseRttMs < memory.minRttMs) memory.minRttMs = this.baseRttMs;
  }

  /** The next round starts with what is sent from now on. */
  restartRound(nowMs: number, totalDeliveredBytes: number): void {
    this.#roundEndBytes = totalDeliveredBytes;
    this.#startRound(nowMs, totalDeliveredBytes);
  }

  /** The path layer's word for it, which may be older than the sample: what is left is never less than the path's own, and never nothing. */
  #returnQueueMs(rttMs: number): number {
    const ownMs = this.#floorRttMs > 0 ? this.#floorRttMs : rttMs / 2;
    return Math.max(0, Math.min(this.#knownReturnMs, rttMs - ownMs));
  }

  #updateBandwidth(sample: AckSample): void {
    const rate = (sample.sampleDeliveredBytes * 1000) / (this.growing ? sample.sampleIntervalMs : this.#arrivalIntervalMs(sample));
    this.#sampleCount++;
    if (sample.sampleAppLimited) this.#appLimitedCount++;
    if (sample.sampleAppLimited && rate < this.maxBandwidthBytesPerSec) return;
    if (rate > this.#maxBwCurrent) this.#maxBwCurrent = rate;
  }

  /** The interval as it was where the data arrived. */
  #arrivalIntervalMs({ nowMs, sampleIntervalMs, sampleAckElapsedMs }: AckSample): number {
    // What waits on the way back became less meanwhile: the ACKs came closer together than the data had.
    const shrunkMs = Math.max(0, (this.#shared.returns?.before(nowMs - sampleAckElapsedMs) ?? 0) - this.#knownReturnMs);
    // A bunch of ACKs at the end of the interval, and none at its start, would pass for bandwidth: under jitter the interval is longer than it looks.
    const stretchMs = Math.min(SAMPLE_LEAPS * this.#ownJitterMs, MAX_SAMPLE_STRETCH * sampleIntervalMs);
    return Math.max(sampleIntervalMs + stretchMs, sampleAckElapsedMs + shrunkMs);
  }

  /** From the first wait on: most paths never have one. */
  #noteReturn(nowMs: number): void {
    const shared = this.#shared;
    const returnMs = this.#knownReturnMs;
    if (shared.returns === undefined && returnMs > 0) {
      shared.returns = new ReturnHistory();
      if (this.#lastAckMs > 0) shared.returns.note(this.#lastAckMs, 0);
    }
    shared.returns?.note(nowMs, returnMs);
  }

  get #knownReturnMs(): number {
    return Math.max(0, this.#memory?.returnQueueMs ?? 0);
  }

  #endRound(sample: AckSample): void {
    const nowMs = sample.nowMs;
    const durationMs = nowMs - this.#roundStartMs;
    const deliveredBytes = sample.totalDeliveredBytes - this.#roundStartDeliveredBytes;
    this.roundEnded = true;
    this.roundCount++;
    this.roundRateBytesPerSec = (deliveredBytes * 1000) / durationMs;
    // A short lack of data, as a scheduler of several paths brings, does not make a round the application's.
    this.roundAppLimited = 2 * this.#appLimitedCount > this.#sampleCount;
    this.roundLossRatio = this.#roundLostBytes / Math.max(1, this.#roundLostBytes + deliveredBytes);
    this.#updateLoss();
    if (this.#rttCount > 0) {
      this.roundRttMeanMs = this.#rttSumMs / this.#rttCount;
      this.roundRttIsSure = this.#rttCount >= MEAN_SAMPLES;
      this.roundReturnMs = this.#returnSumMs / this.#rttCount;
      this.#updateJitter(nowMs);
      this.#updateBaseRtt(nowMs);
    }
    this.#aggregation.onRoundEnd();
    this.#roundEndBytes = sample.totalDeliveredBytes;
    this.#startRound(nowMs, sample.totalDeliveredBytes);
  }

  /** The last round's losses are of no account. */
  forgetLoss(): void {
    this.roundLossRatio = 0;
    this.lossRatio = this.randomLossRatio;
  }

  #updateLoss(): void {
    this.lossRatio += (this.roundLossRatio - this.lossRatio) / 4;
    if (this.lossRatio < this.randomLossRatio) this.randomLossRatio = this.lossRatio;
    else this.randomLossRatio = Math.min(MAX_RANDOM_LOSS_RATIO, this.randomLossRatio + (this.lossRatio - this.randomLossRatio) / 32);
  }

  #updateJitter(nowMs: number): void {
    const burstMs =
      LEAP_BURST_MS + (this.growing ? 0 : (LEAP_BURST_SEGMENTS * this.mssBytes * 1000) / Math.max(1, this.maxBandwidthBytesPerSec));
    const leapMs = Math.max(0, this.#greatestLeapMs - burstMs);
    this.#ownJitterMs += (leapMs - this.#ownJitterMs) / (leapMs <= this.#ownJitterMs ? 8 : this.growing ? 1 : 4);
    const shared = this.#shared;
    // A slow flow sees few leaps: what another saw holds for a while. What it saw itself does not, or one leap at its start would last for seconds.
    const keptRatio = shared.jitterFlow === this.#flow ? 0 : Math.max(0, 1 - (nowMs - shared.jitterStampMs) / JITTER_LIFETIME_MS);
    const keptMs = keptRatio * shared.jitterMs;
    if (this.#ownJitterMs >= keptMs) shared.jitterFlow = this.#flow;
    shared.jitterMs = Math.max(this.#ownJitterMs, keptMs);
    shared.jitterStampMs = nowMs;
    if (shared.lastFlow !== this.#flow && shared.lastFlow >= 0) shared.severalFlowsStampMs = nowMs;
    shared.lastFlow = this.#flow;
  }

  #updateBaseRtt(nowMs: number): void {
    const shared = this.#shared;
    // It was a luckier packet than most, and jitter says how much: what lies beyond is a queue.
    const isTooLow = shared.baseIsRough && this.roundRttIsSure && this.#ownJitterMs > LUCKY_JITTER_RATIO * this.baseRttMs;
    if (isTooLow || this.roundRttMeanMs <= this.baseRttMs) {
      shared.baseRttMs = Math.min(this.roundRttMeanMs, this.baseRttMs + this.#ownJitterMs);
      if (this.roundAppLimited) shared.baseBandwidthBytesPerSec = 0;
      if (this.#floorRttMs < 0 || shared.baseRttMs < this.#floorRttMs) this.#floorRttMs = shared.baseRttMs;
    }
    if (this.roundRttIsSure) shared.baseIsRough = false;
    this.roundIsNearBase = this.roundRttMeanMs <= this.#floorRttMs * BASE_RTT_CONFIRM_RATIO + BASE_RTT_CONFIRM_MS;
    if (this.roundIsNearBase) this.#confirmedMs = nowMs;
  }

  #startRound(nowMs: number, totalDeliveredBytes: number): void {
    this.#roundStartMs = nowMs;
    this.#roundStartDeliveredBytes = totalDeliveredBytes;
    this.#roundLostBytes = 0;
    this.#rttSumMs = 0;
    this.#returnSumMs = 0;
    this.#rttCount = 0;
    this.#greatestLeapMs = 0;
    this.#sampleCount = 0;
    this.#appLimitedCount = 0;
  }
}

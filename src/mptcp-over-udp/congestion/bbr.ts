/**
 * A model-based congestion control for bonding, after BBR (draft-ietf-ccwg-bbr). It sends at the measured bandwidth and keeps about one
 * bandwidth-delay product in flight.
 *
 * DEVIATION draft-ietf-ccwg-bbr (5.5.10): loss alone does not bound the model. Links that are bonded lose at random; congestion is a rise of
 * the round-trip time, or loss so high that no radio explains it. Delay above the base is what lowers the short-term bandwidth, so that
 * several of our flows keep their common queue short.
 * DEVIATION (5.5.7): the RTT of the model is the smallest *mean of a round*, not the smallest sample: under jitter no packet in a full
 * pipe is as quick as the luckiest one, and a window built from that one would starve the path.
 * DEVIATION (5.3.4): ProbeRTT keeps half a bandwidth-delay product in flight.
 */
import { FullPipeCheck } from './bbr-full-pipe.js';
import { LongStart } from './bbr-long-start.js';
import { BbrPathModel } from './bbr-path-model.js';
import { ProbeDelay } from './bbr-probe-delay.js';
import type { AckSample, CongestionControl, CongestionControlFactory, CongestionControlOptions } from './congestion-control.js';

export type BbrState = 'Startup' | 'Drain' | 'ProbeBW_DOWN' | 'ProbeBW_CRUISE' | 'ProbeBW_REFILL' | 'ProbeBW_UP' | 'ProbeRTT';

const STARTUP_PACING_GAIN = 2.77;
const STARTUP_CWND_GAIN = 2.2;
const DRAIN_PACING_GAIN = 0.5;
const DOWN_PACING_GAIN = 0.9;
const UP_PACING_GAIN = 1.25;
const UP_MAX_PACING_GAIN = 2;
/** More than the last probe asked for, where that was given. */
const UP_PACING_GAIN_STEP = 0.25;
const CWND_GAIN = 1.9;
const UP_CWND_GAIN = 2;
const PROBE_RTT_BDP_RATIO = 0.5;
/** Pace this much below the estimate, so that a queue drains rather than stays. */
const PACING_MARGIN = 0.99;
/** The same in a cruise where more than the path holds is dropped without a queue before it: at the edge every burst of ours would lose something. */
const EDGE_PACING_MARGIN = 0.97;
/** Leaps of this part of the base RTT make a path jittery. */
const JITTERY_RATIO = 0.1;
const JITTERY_STARTUP_RATIO = 1.15;
/** How long one cruise lasts, in base RTTs and bounded in time. */
const CRUISE_RTTS = 5;
const CRUISE_MIN_MS = 60;
const CRUISE_MAX_MS = 1500;
/** A cruise is doubled so many times at most. */
const MAX_FAILED_PROBES = 2;
/** A round's mean RTT this far above the base, beyond the noise, is a queue. */
const QUEUE_RTT_RATIO = 0.125;
const QUEUE_MS = 2;
/** On a path shorter than this what looks like a queue is the hosts' own scheduling: there is no room to tell them apart, and no need. */
const HOST_DELAY_MS = 10;
/** Loss so far above what is always there is congestion, whatever the delay: a queue too short to be seen in it. */
const HIGH_LOSS_RATIO = 0.05;
/** A queue that stands for so many rounds though we yield is not ours to drain: measure the base anew. */
const STANDING_QUEUE_ROUNDS = 6;
/** In-flight allowance for host timers and bunched ACKs; on slow paths the smaller one, so that it adds little delay. */
const SLACK_MS = 4;
const FAST_SLACK_MS = 8;
const FAST_BYTES_PER_SEC = 50e6;
/** Part of the delay that jitter may explain for which the window makes room. */
const JITTER_GRANT = 0.6;
/** The same of what the way back holds: half of a queue that comes and goes would be ours to fill when it goes. */
const RETURN_GRANT = 0.6;
/** Part of the path's window that all flows together may keep queued. */
const QUEUE_PART = 0.15;
/** Packets in a common queue, per square root of the packets in flight. */
const QUEUE_PART_ROOT = 1.35;
/** Part of the way to the mean share that a round with a queue brings a flow. */
const SHARE_PULL = 0.1;
const OVERFLOW_CUT = 0.95;
const OVERFLOW_PART = 0.5;
const QUEUED_PACING_GAIN = 1.15;
const BURST_SEGMENTS = 10;
/** A window that is jumped to is spread over the round trip. */
const JUMP_PACING_GAIN = 1.25;
const MIN_CWND_SEGMENTS = 4;
const PROBE_RTT_MIN_SEGMENTS = 2;

class Bbr implements CongestionControl {
  readonly name = 'bbr';
  cwndBytes: number;
  pacingRateBytesPerSec: number;
  readonly ssthreshBytes = Number.POSITIVE_INFINITY;
  state: BbrState = 'Startup';
  readonly model: BbrPathModel;
  /** Short-term bound on bandwidth while a queue stands, Infinity when none. */
  bandwidthLoBytesPerSec = Number.POSITIVE_INFINITY;
  #mssBytes: number;
  #initialWindowBytes: number;
  #pacingGain = STARTUP_PACING_GAIN;
  #cwndGain = STARTUP_CWND_GAIN;
  #fullPipe = false;
  #rttSeen = false;
  /** While Startup lasts on a long path. */
  #longStart: LongStart | undefined;
  readonly #fullPipeCheck = new FullPipeCheck();
  #stateStartMs: number;
  #stateStartRound = 0;
  #cruiseMs = 0;
  #upGain = UP_PACING_GAIN;
  #bandwidthBeforeUp = 0;
  #queuedRounds = 0;
  /** Loss beyond what the path has of its own: its queue is too short for the part that we would hold. */
  #overflowing = false;
  #bandwidthBeforeQueue = 0;
  /** Probes in a row that gained nothing but loss: a path that shows no queue before it drops is asked less and less often. */
  #failedProbes = 0;
  #probeOverflowed = false;
  readonly #probeDelay = new ProbeDelay();
  /** Probes in a row, alone and under jitter, that made no round trip longer. After one that may be chance, then the next asks for more. */
  #freeProbes = 0;
  /** Up to this round, losses are those of Startup's end. */
  #overrunRound = -1;
  #afterTimeout = false;
  #priorCwndBytes = 0;
  #random: number;

  constructor(options: CongestionControlOptions) {
    this.#mssBytes = options.mssBytes;
    this.#initialWindowBytes = Math.max(options.initialWindowBytes, options.mssBytes);
    this.#stateStartMs = options.nowMs;
    this.#random = Math.floor(options.nowMs * 1000) | 1;
    this.model = new BbrPathModel(options.nowMs, options.mssBytes, options.memory);
    this.cwndBytes = this.#initialWindowBytes;
    this.pacingRateBytesPerSec = STARTUP_PACING_GAIN * this.#initialWindowBytes * 1000;
    if (options.initialRttMs !== undefined) this.#paceFirstWindow(options.initialRttMs);
    const { maxBandwidthBytesPerSec, baseRttMs } = this.model;
    if (maxBandwidthBytesPerSec > 0) {
      this.cwndBytes = Math.max(this.cwndBytes, (STARTUP_CWND_GAIN * maxBandwidthBytesPerSec * baseRttMs) / 1000);
      this.pacingRateBytesPerSec = Math.max((this.#initialWindowBytes * 1000) / baseRttMs, STARTUP_PACING_GAIN * maxBandwidthBytesPerSec);
    }
  }

  get bandwidthBytesPerSec(): number {
    return Math.min(this.model.maxBandwidthBytesPerSec, this.bandwidthLoBytesPerSec);
  }

  onHandshake(rttMs: number, initialWindowBytes: number): void {
    if (this.#rttSeen || initialWindowBytes <= this.#initialWindowBytes) return;
    this.#initialWindowBytes = initialWindowBytes;
    this.cwndBytes = Math.max(this.cwndBytes, initialWindowBytes);
    if (this.model.maxBandwidthBytesPerSec <= 0) this.#paceFirstWindow(rttMs);
  }

  /** Ten segments may go at once (RFC 6928); a larger window is that of a long path, whose queue may be short. */
  #paceFirstWindow(rttMs: number): void {
    if (this.#initialWindowBytes <= BURST_SEGMENTS * this.#mssBytes) return;
    this.pacingRateBytesPerSec = (STARTUP_PACING_GAIN * this.#initialWindowBytes * 1000) / rttMs;
    this.#longStart = new LongStart(this.#initialWindowBytes);
  }

  /** In trains, until the first round trip is over. */
  get burstBytes(): number {
    return this.#longStart === undefined || this.#rttSeen ? 0 : this.#longStart.trainBytes;
  }

  onSent(_nowMs: number, _bytes: number, _inflightBytes: number): void {}

  onAck(sample: AckSample): void {
    const model = this.model;
    model.onAck(sample, this.bandwidthBytesPerSec);
    if (model.roundEnded) this.#onRoundEnd(sample);
    if (!this.#fullPipe) this.#fullPipe = this.#fullPipeCheck.isOverrun(model, sample.totalDeliveredBytes);
    if (this.#fullPipe) this.#longStart = undefined;
    else if (this.#longStart !== undefined) this.#jumpTo(this.#longStart.onAck(sample, model));
    this.#updateState(sample);
    this.#setPacingRate(sample);
    this.#setCwnd(sample);
  }

  #jumpTo(windowBytes: number): void {
    if (windowBytes <= this.cwndBytes) return;
    this.cwndBytes = windowBytes;
    this.pacingRateBytesPerSec = Math.max(this.pacingRateBytesPerSec, (JUMP_PACING_GAIN * windowBytes * 1000) / this.model.baseRttMs);
  }

  get #startupBoundBytesPerSec(): number {
    return this.#longStart?.boundBytesPerSec ?? Number.POSITIVE_INFINITY;
  }

  /** The window that goes with it. */
  get #startupBoundBytes(): number {
    const bound = this.#startupBoundBytesPerSec;
    // Times a round trip of nothing, without a bound, would be no number.
    return bound === Number.POSITIVE_INFINITY ? bound : (bound * this.#windowRttMs()) / 1000;
  }

  onRecoveryStart(_nowMs: number, _inflightBytes: number): void {}

  onRecoveryEnd(_nowMs: number): void {}

  onRetransmissionTimeout(_nowMs: number, _inflightBytes: number): void {
    // The model survives a silence; the window does not, until the first ACK shows that the path is back.
    this.#priorCwndBytes = Math.max(this.#priorCwndBytes, this.cwndBytes);
    this.#afterTimeout = true;
    this.cwndBytes = Math.min(this.cwndBytes, MIN_CWND_SEGMENTS * this.#mssBytes);
  }

  onSpuriousLoss(_nowMs: number): void {
    if (!this.#afterTimeout) return;
    this.#afterTimeout = false;
    this.cwndBytes = Math.max(this.cwndBytes, this.#priorCwndBytes);
    this.#priorCwndBytes = 0;
  }

  onIdleRestart(nowMs: number, _idleMs: number): void {
    // draft-ietf-ccwg-bbr, 5.4.1: restart at the estimated rate, without a gain.
    if (!this.#fullPipe) return;
    if (this.state === 'ProbeRTT') this.#leaveProbeRtt(nowMs);
    else if (this.state !== 'ProbeBW_CRUISE') this.#enterCruise(nowMs);
    const rate = PACING_MARGIN * this.bandwidthBytesPerSec;
    if (rate > 0) this.pacingRateBytesPerSec = rate;
  }

  setMss(mssBytes: number): void {
    this.#mssBytes = mssBytes;
    this.model.mssBytes = mssBytes;
    this.cwndBytes = Math.max(this.cwndBytes, mssBytes);
  }

  /** Bytes in flight that fill the path at `gain` without the allowances. */
  #bdpBytes(gain: number): number {
    if (this.model.baseRttMs <= 0) return this.#initialWindowBytes;
    return (gain * this.bandwidthBytesPerSec * this.#windowRttMs()) / 1000;
  }

  /**
   * RTT that the window is made for. Of the delay that jitter may explain only a part is granted, once the pipe is full: were it all, flows that
   * share a path under jitter would keep whatever shares they have. What waits on the way back is in flight as well.
   */
  #windowRttMs(): number {
    const model = this.model;
    const rttMs = this.#fullPipe ? model.baseRttMs + JITTER_GRANT * (model.modelRttMs - model.baseRttMs) : model.modelRttMs;
    return rttMs + RETURN_GRANT * model.roundReturnMs;
  }

  #queueThresholdMs(): number {
    const { baseRttMs } = this.model;
    return Math.max(QUEUE_RTT_RATIO * baseRttMs + QUEUE_MS, HOST_DELAY_MS - baseRttMs / 2);
  }

  /** The last round's delay that neither the path nor its jitter explains. */
  #queueMs(): number {
    return this.model.baseRttMs > 0 ? this.model.roundRttMeanMs - this.model.modelRttMs : 0;
  }

  #jittery(): boolean {
    return this.model.jitterMs > JITTERY_RATIO * this.model.baseRttMs;
  }

  #queued(): boolean {
    return this.#queueMs() > this.#queueThresholdMs();
  }

  #onRoundEnd(sample: AckSample): void {
    const queued = this.#queued();
    this.#noteProbeDelay();
    this.#queuedRounds = queued ? this.#queuedRounds + 1 : 0;
    this.model.growing = !this.#fullPipe;
    if (!this.#fullPipe) {
      // Under jitter a packet may be late, before so much as that is known.
      const isSurelyQueued = queued && this.model.roundRttIsSure;
      this.#fullPipe =
        this.#fullPipeCheck.onRoundEnd(this.model, isSurelyQueued ? this.#queueMs() : 0, this.#longStart?.capacityBytesPerSec ?? 0) ||
        (isSurelyQueued && this.#hasItsShare(sample));
      return;
    }
    this.#adaptShortTermBandwidth(queued, sample.nowMs);
    if (this.#isLossy() && (this.state === 'ProbeBW_UP' || this.state === 'ProbeBW_DOWN')) this.#probeOverflowed = true;
    if (!this.model.roundAppLimited) this.model.remember(this.bandwidthBytesPerSec);
  }

  #noteProbeDelay(): void {
    const { roundRttMeanMs } = this.model;
    if (this.state === 'ProbeBW_UP' || this.state === 'ProbeBW_DOWN') this.#probeDelay.handleProbeRound(roundRttMeanMs);
    else if (this.state === 'ProbeBW_CRUISE' || this.state === 'ProbeBW_REFILL') this.#probeDelay.handleSteadyRound(roundRttMeanMs);
  }

  /** Beside others, who yield to whoever grows: a flow that has what they have on average has found its place. */
  #hasItsShare(sample: AckSample): boolean {
    const shareBytesPerSec = this.model.meanShareBytesPerSec;
    return shareBytesPerSec > 0 && !this.model.alone(sample.nowMs) && this.bandwidthBytesPerSec >= shareBytesPerSec;
  }

  /**
   * While a queue stands that is not our own probe, hold what we are served and an equal small part of the queue, whatever our share: flows
   * that do so end with equal shares (FAST TCP, Wei et al. 2006). Without a queue, grow by the same part each round trip.
   */
  #adaptShortTermBandwidth(queued: boolean, nowMs: number): void {
    const model = this.model;
    if (this.state === 'ProbeBW_UP' || this.state === 'ProbeRTT' || this.state === 'Drain' || model.roundAppLimited) return;
    // What Startup lost by its last doubling is reported now, and says nothing about the rate that followed.
    if (model.roundCount <= this.#overrunRound) {
      if (this.#isLossy() && !queued) this.#probeLater();
      model.forgetLoss();
    }
    this.#overflowing = model.lossRatio > HIGH_LOSS_RATIO + 2 * model.randomLossRatio && model.roundLossRatio > HIGH_LOSS_RATIO;
    if (queued || this.#overflowing) {
      if (this.#queuedRounds === 1) this.#bandwidthBeforeQueue = this.bandwidthBytesPerSec;
      const served = Math.min(this.bandwidthBytesPerSec, model.roundRateBytesPerSec) * (this.#overflowing ? OVERFLOW_CUT : 1);
      this.bandwidthLoBytesPerSec = Math.max(this.#pulledToShare(served, nowMs), 0.5 * this.bandwidthBytesPerSec);
      return;
    }
    // A part each round trip, which is not known while all was sent again (Karn).
    if (this.bandwidthLoBytesPerSec === Number.POSITIVE_INFINITY || model.baseRttMs <= 0) return;
    this.bandwidthLoBytesPerSec += (0.5 * this.#queuePartBytes() * 1000) / model.baseRttMs;
    if (this.bandwidthLoBytesPerSec >= model.maxBandwidthBytesPerSec) this.bandwidthLoBytesPerSec = Number.POSITIVE_INFINITY;
  }

  /** Flows of one host know what they have on average: who came first gives way sooner than the queue alone would teach. */
  #pulledToShare(rateBytesPerSec: number, nowMs: number): number {
    const shareBytesPerSec = this.model.meanShareBytesPerSec;
    if (shareBytesPerSec <= 0 || this.model.alone(nowMs)) return rateBytesPerSec;
    return rateBytesPerSec + SHARE_PULL * (shareBytesPerSec - rateBytesPerSec);
  }

  /**
   * Our part of a common queue: the same for every flow, and all of them together the same, however many they are. Without knowledge of the
   * others it is of the square root of the window, so that neither many slow flows nor few fast ones fill the queue.
   */
  #queuePartBytes(): number {
    const shareBytesPerSec = this.model.meanShareBytesPerSec;
    const partBytes =
      shareBytesPerSec > 0
        ? (QUEUE_PART * shareBytesPerSec * this.model.baseRttMs) / 1000
        : QUEUE_PART_ROOT * Math.sqrt(this.#bdpBytes(1) * this.#mssBytes);
    return Math.max(this.#mssBytes, this.#overflowing ? OVERFLOW_PART * partBytes : partBytes);
  }

  #updateState(sample: AckSample): void {
    const nowMs = sample.nowMs;
    const model = this.model;
    const rounds = model.roundCount - this.#stateStartRound;
    switch (this.state) {
      case 'Startup':
        if (this.#fullPipe) this.#leaveStartup(nowMs);
        break;
      case 'Drain':
        if (sample.inflightBytes <= this.#bdpBytes(1) || rounds >= 4) this.#enterCruise(nowMs);
        break;
      case 'ProbeBW_DOWN':
        if (rounds >= 1 && (sample.inflightBytes <= this.#bdpBytes(1) || rounds >= 3)) this.#leaveDown(nowMs);
        break;
      case 'ProbeBW_CRUISE':
        if (nowMs - this.#stateStartMs >= this.#cruiseMs) this.#enterRefill(sample);
        break;
      case 'ProbeBW_REFILL':
        if (rounds >= 1) this.#enterUp(nowMs, UP_PACING_GAIN + UP_PACING_GAIN_STEP * Math.max(0, this.#freeProbes - 1));
        break;
      case 'ProbeBW_UP':
        if (this.#upIsOver(sample, rounds)) this.#setState('ProbeBW_DOWN', nowMs, DOWN_PACING_GAIN, CWND_GAIN);
        break;
      case 'ProbeRTT':
        this.#updateProbeRtt(nowMs, rounds);
        return;
    }
    if (this.#fullPipe && this.state !== 'Drain' && model.probeRttDue(nowMs, this.#queueIsNotOurs())) this.#enterProbeRtt(sample);
  }

  /** Where nothing is queued there is nothing to drain: what was too much has been dropped, and its repair wants the whole rate. */
  #leaveStartup(nowMs: number): void {
    this.#overrunRound = this.model.roundCount + 2;
    if (this.model.roundQueueMs > this.#queueThresholdMs()) this.#setState('Drain', nowMs, DRAIN_PACING_GAIN, CWND_GAIN);
    else {
      // No probe soon: it would end likewise.
      if (this.#isLossy()) this.#failedProbes = MAX_FAILED_PROBES;
      this.#enterCruise(nowMs);
    }
  }

  /** The next probe would end as Startup did. */
  #probeLater(): void {
    if (this.state === 'ProbeBW_CRUISE') this.#cruiseMs *= 2 ** (MAX_FAILED_PROBES - this.#failedProbes);
    this.#failedProbes = MAX_FAILED_PROBES;
  }

  #queueIsNotOurs(): boolean {
    return this.#queuedRounds >= STANDING_QUEUE_ROUNDS && this.bandwidthBytesPerSec < 0.5 * this.#bandwidthBeforeQueue;
  }

  #setState(state: BbrState, nowMs: number, pacingGain: number, cwndGain: number): void {
    this.state = state;
    this.#stateStartMs = nowMs;
    this.#stateStartRound = this.model.roundCount;
    this.#pacingGain = pacingGain;
    this.#cwndGain = cwndGain;
  }

  #enterCruise(nowMs: number): void {
    const cruiseMs = Math.min(CRUISE_MAX_MS, Math.max(CRUISE_MIN_MS, CRUISE_RTTS * this.model.baseRttMs));
    // Flows must not probe in step.
    this.#cruiseMs = cruiseMs * 2 ** this.#failedProbes * (0.75 + 0.5 * this.#nextRandom(nowMs));
    this.#setState('ProbeBW_CRUISE', nowMs, 1, CWND_GAIN);
  }

  #enterRefill(sample: AckSample): void {
    // In a shared queue the probe starts from what we hold; with the path to ourselves, from the most that it has given.
    this.bandwidthLoBytesPerSec *= UP_PACING_GAIN;
    if (this.bandwidthLoBytesPerSec >= this.model.maxBandwidthBytesPerSec) this.bandwidthLoBytesPerSec = Number.POSITIVE_INFINITY;
    this.model.restartRound(sample.nowMs, sample.totalDeliveredBytes);
    this.#setState('ProbeBW_REFILL', sample.nowMs, 1, CWND_GAIN);
  }

  #enterUp(nowMs: number, gain: number): void {
    this.#upGain = Math.min(gain, UP_MAX_PACING_GAIN);
    this.#probeDelay.startProbe();
    this.#bandwidthBeforeUp = this.model.maxBandwidthBytesPerSec;
    this.#probeOverflowed = false;
    this.model.advanceBandwidthFilter();
    this.#setState('ProbeBW_UP', nowMs, this.#upGain, UP_CWND_GAIN);
  }

  #upIsOver(sample: AckSample, rounds: number): boolean {
    if (rounds >= 1 && (this.model.roundEnded || sample.inflightBytes >= this.#bdpBytes(this.#upGain))) return true;
    return this.model.roundEnded && this.#isLossy();
  }

  /** The last round lost more than the path does by itself. */
  #isLossy(): boolean {
    return this.model.roundLossRatio > HIGH_LOSS_RATIO + 2 * this.model.randomLossRatio;
  }

  #leaveDown(nowMs: number): void {
    const grew = this.model.maxBandwidthBytesPerSec >= 1.1 * this.#bandwidthBeforeUp;
    // The path took all that the probe gave: ask for more at once.
    this.#failedProbes = grew || !this.#probeOverflowed ? 0 : Math.min(MAX_FAILED_PROBES, this.#failedProbes + 1);
    const isFree = this.#jittery() && this.model.alone(nowMs) && !this.#probeOverflowed && this.#probeDelay.addedNone;
    this.#freeProbes = isFree ? this.#freeProbes + 1 : 0;
    if (grew && !this.#queued()) this.#enterUp(nowMs, this.#upGain + UP_PACING_GAIN_STEP);
    else this.#enterCruise(nowMs);
  }

  #enterProbeRtt(sample: AckSample): void {
    this.model.restartRound(sample.nowMs, sample.totalDeliveredBytes);
    this.#priorCwndBytes = this.cwndBytes;
    this.#queuedRounds = 0;
    this.#setState('ProbeRTT', sample.nowMs, 1, PROBE_RTT_BDP_RATIO);
  }

  #updateProbeRtt(nowMs: number, rounds: number): void {
    const model = this.model;
    if (!model.roundEnded) return;
    // The first round still drains what was in flight.
    if (rounds < 2) return;
    model.setMeasuredBaseRtt(model.roundRttMeanMs, nowMs);
    this.#leaveProbeRtt(nowMs);
  }

  #leaveProbeRtt(nowMs: number): void {
    this.cwndBytes = Math.max(this.cwndBytes, this.#priorCwndBytes);
    this.#priorCwndBytes = 0;
    this.#enterCruise(nowMs);
  }

  #setPacingRate(sample: AckSample): void {
    const bandwidth = this.bandwidthBytesPerSec;
    if (bandwidth <= 0) return;
    const isAtEdge = this.#failedProbes > 0 && this.state === 'ProbeBW_CRUISE';
    // Alone, and with nothing queued, there is nothing to drain.
    const margin = this.model.roundIsNearBase && this.model.alone(sample.nowMs) ? 1 : PACING_MARGIN;
    let rate = (isAtEdge ? EDGE_PACING_MARGIN : margin) * this.#pacingGain * bandwidth;
    // With a common queue the window decides, and pacing must let a flow grow to its part.
    if (this.state === 'ProbeBW_CRUISE' && bandwidth === this.bandwidthLoBytesPerSec && !this.#overflowing) rate *= QUEUED_PACING_GAIN;
    if (this.#fullPipe || rate > this.pacingRateBytesPerSec) this.pacingRateBytesPerSec = rate;
    else if (sample.rttMs > 0 && !this.#rttSeen) {
      // The first RTT replaces the guess of a millisecond.
      this.pacingRateBytesPerSec = Math.max(rate, (STARTUP_PACING_GAIN * this.cwndBytes * 1000) / sample.rttMs);
    }
    if (!this.#fullPipe) this.pacingRateBytesPerSec = Math.min(this.pacingRateBytesPerSec, this.#startupBoundBytesPerSec);
    if (sample.rttMs > 0) this.#rttSeen = true;
  }

  #setCwnd(sample: AckSample): void {
    const model = this.model;
    const bandwidth = this.bandwidthBytesPerSec;
    const slackMs = bandwidth >= FAST_BYTES_PER_SEC ? FAST_SLACK_MS : SLACK_MS;
    const allowanceBytes = (bandwidth * slackMs) / 1000 + model.extraAckedBytes;
    // Alone and without a queue, pacing rules, and the window only has to be no hindrance while losses are repaired.
    const free = bandwidth < this.bandwidthLoBytesPerSec && !this.#jittery() && model.alone(sample.nowMs);
    const windowBytes = this.#cwndGain === CWND_GAIN && !free ? this.#bdpBytes(1) + this.#queuePartBytes() : this.#bdpBytes(this.#cwndGain);
    const targetBytes = windowBytes + (this.state === 'ProbeRTT' ? 0 : allowanceBytes);
    if (this.#afterTimeout && sample.deliveredBytes > 0) {
      this.#afterTimeout = false;
      this.#priorCwndBytes = 0;
      this.cwndBytes = Math.max(this.cwndBytes, 0.5 * targetBytes);
    }
    const grownBytes = this.cwndBytes + sample.deliveredBytes;
    if (this.#fullPipe) this.cwndBytes = Math.min(grownBytes, targetBytes);
    // Under jitter the model runs behind a window that doubles; the window leads.
    else if (
      this.cwndBytes < (this.#jittery() ? JITTERY_STARTUP_RATIO : 1) * targetBytes ||
      sample.totalDeliveredBytes < this.#initialWindowBytes
    )
      this.cwndBytes = Math.min(grownBytes, Math.max(this.cwndBytes, this.#startupBoundBytes));
    const minSegments = this.state === 'ProbeRTT' ? PROBE_RTT_MIN_SEGMENTS : MIN_CWND_SEGMENTS;
    this.cwndBytes = Math.max(this.cwndBytes, minSegments * this.#mssBytes);
  }

  /** In [0, 1): a small generator whose only task is that flows differ. */
  #nextRandom(nowMs: number): number {
    this.#random = (Math.imul(this.#random ^ (Math.floor(nowMs * 1000) | 0), 1664525) + 1013904223) >>> 0;
    return this.#random / 4294967296;
  }
}

export const createBbr: CongestionControlFactory = (options) => new Bbr(options);

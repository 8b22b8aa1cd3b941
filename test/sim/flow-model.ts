/**
 * A bulk sender and its receiver, as small as congestion control can be tested with: every transmission has a number of its own, every
 * arrival is acknowledged by that number, three later arrivals or 5/4 of an RTT declare a loss, and lost data counts as new data.
 */
import type {
  AckSample,
  CongestionControl,
  CongestionControlFactory,
  PathMemory,
} from '../../src/mptcp-over-udp/congestion/congestion-control.js';
import { createAckSample, DeliveryRate, type RateRecord } from '../../src/mptcp-over-udp/congestion/delivery-rate.js';
import type { SimClock, SimEvent } from './sim-clock.js';
import type { SimLink } from './sim-link.js';

/** What travels: a data packet and, on the way back, its acknowledgement. */
export interface FlowPacket extends RateRecord {
  flow: FlowModel;
  number: number;
  /** Arrived at the receiver: every later ACK says so too, as SACK and the cumulative number do. */
  received: boolean;
  settled: boolean;
}

export interface FlowModelOptions {
  clock: SimClock;
  forward: SimLink<FlowPacket>;
  backward: SimLink<FlowPacket>;
  congestion: CongestionControlFactory;
  mssBytes?: number;
  initialWindowBytes?: number;
  memory?: PathMemory;
  /** The pacing timer fires at multiples of this. 0: exact. */
  timerGranularityMs?: number;
}

const ACK_BYTES = 60;
const REORDERING_PACKETS = 3;
const MIN_RTO_MS = 200;

export class FlowModel {
  readonly congestion: CongestionControl;
  readonly delivery = new DeliveryRate();
  sentBytes = 0;
  /** Arrived at the receiver. */
  receivedBytes = 0;
  lostBytes = 0;
  timeoutCount = 0;
  rttSumMs = 0;
  rttCount = 0;
  srttMs = -1;
  minRttMs = -1;
  inflightBytes = 0;
  stopped = false;
  /** Called after each ACK has been processed: for traces. */
  onAckProcessed: ((flow: FlowModel, sample: AckSample) => void) | undefined;
  readonly #options: FlowModelOptions;
  readonly #mssBytes: number;
  readonly #sample = createAckSample();
  #inflight: (FlowPacket | undefined)[] = [];
  #base = 0;
  #next = 0;
  #highestDelivered = -1;
  #rttvarMs = 0;
  #recoveryPoint = -1;
  #nextSendMs = 0;
  #cwndLimited = false;
  #sendTimer: SimEvent | undefined;
  #rtoTimer: SimEvent | undefined;
  #lossTimer: SimEvent | undefined;
  #lastProgressMs = 0;
  #backoff = 1;
  #idleSinceMs = -1;
  #applicationBytesPerSec = 0;
  #applicationStartMs = 0;
  #applicationStartBytes = 0;

  constructor(options: FlowModelOptions) {
    this.#options = options;
    this.#mssBytes = options.mssBytes ?? 1400;
    const initialWindowBytes = options.initialWindowBytes ?? 10 * this.#mssBytes;
    const nowMs = options.clock.nowMs;
    const base = { mssBytes: this.#mssBytes, initialWindowBytes, nowMs };
    this.congestion = options.congestion(options.memory === undefined ? base : { ...base, memory: options.memory });
  }

  start(): void {
    this.#trySend();
  }

  /** The application's rate from now on; 0: always something to send, as at first. */
  set applicationBytesPerSec(bytesPerSec: number) {
    this.#applicationBytesPerSec = bytesPerSec;
    this.#applicationStartMs = this.#options.clock.nowMs;
    this.#applicationStartBytes = this.sentBytes;
    this.#trySend();
  }

  /** Data packet arrives at the receiver: it is acknowledged at once. */
  static handleData(packet: FlowPacket): void {
    packet.received = true;
    packet.flow.receivedBytes += packet.payloadBytes;
    packet.flow.#options.backward.send(packet, ACK_BYTES);
  }

  static handleAck(packet: FlowPacket): void {
    packet.flow.#handleAck(packet);
  }

  #handleAck(packet: FlowPacket): void {
    const nowMs = this.#options.clock.nowMs;
    const priorInflightBytes = this.inflightBytes;
    const priorLostBytes = this.lostBytes;
    this.#lastProgressMs = nowMs;
    this.#backoff = 1;
    if (packet.number > this.#highestDelivered) this.#highestDelivered = packet.number;
    const priorDeliveredBytes = this.delivery.totalDeliveredBytes;
    if (!packet.settled) this.#settleDelivered(packet, nowMs);
    const rttMs = nowMs - packet.sentMs;
    this.#updateRtt(rttMs);
    this.#detectLosses(nowMs);
    const deliveredBytes = this.delivery.totalDeliveredBytes - priorDeliveredBytes;
    this.#finishAck(nowMs, deliveredBytes, this.lostBytes - priorLostBytes, priorInflightBytes, rttMs);
    this.#trySend();
  }

  #settleDelivered(packet: FlowPacket, nowMs: number): void {
    packet.settled = true;
    this.inflightBytes -= packet.payloadBytes;
    this.delivery.onDelivered(packet, nowMs);
    this.#inflight[packet.number - this.#base] = undefined;
  }

  #finishAck(nowMs: number, deliveredBytes: number, lostBytes: number, priorInflightBytes: number, rttMs: number): void {
    const sample = this.#sample;
    sample.nowMs = nowMs;
    sample.deliveredBytes = deliveredBytes;
    sample.lostBytes = lostBytes;
    sample.priorInflightBytes = priorInflightBytes;
    sample.inflightBytes = this.inflightBytes;
    sample.rttMs = rttMs;
    sample.srttMs = this.srttMs;
    sample.minRttMs = this.minRttMs;
    sample.cwndLimited = this.#cwndLimited;
    this.#cwndLimited = false;
    this.delivery.fillSample(sample, nowMs, this.minRttMs);
    if (lostBytes > 0 && this.#recoveryPoint < 0) {
      this.#recoveryPoint = this.#next;
      this.congestion.onRecoveryStart(nowMs, this.inflightBytes);
    }
    this.congestion.onAck(sample);
    if (this.#recoveryPoint >= 0 && this.#base >= this.#recoveryPoint) {
      this.#recoveryPoint = -1;
      this.congestion.onRecoveryEnd(nowMs);
    }
    this.onAckProcessed?.(this, sample);
  }

  #updateRtt(rttMs: number): void {
    this.rttSumMs += rttMs;
    this.rttCount++;
    if (this.minRttMs < 0 || rttMs < this.minRttMs) this.minRttMs = rttMs;
    if (this.srttMs < 0) {
      this.srttMs = rttMs;
      this.#rttvarMs = rttMs / 2;
      return;
    }
    this.#rttvarMs += (Math.abs(this.srttMs - rttMs) - this.#rttvarMs) / 4;
    this.srttMs += (rttMs - this.srttMs) / 8;
  }

  #detectLosses(nowMs: number): void {
    const timeThresholdMs = 1.25 * this.srttMs;
    const list = this.#inflight;
    let index = 0;
    let oldestMs = -1;
    for (; index < list.length && this.#base + index < this.#highestDelivered; index++) {
      const packet = list[index];
      if (packet === undefined) continue;
      if (packet.received) this.#settleDelivered(packet, nowMs);
      else if (packet.number + REORDERING_PACKETS <= this.#highestDelivered || packet.sentMs + timeThresholdMs <= nowMs) {
        packet.settled = true;
        list[index] = undefined;
        this.inflightBytes -= packet.payloadBytes;
        this.lostBytes += packet.payloadBytes;
        this.delivery.onLost(packet.payloadBytes);
      } else if (oldestMs < 0) oldestMs = packet.sentMs;
    }
    let settled = 0;
    while (settled < list.length && list[settled] === undefined) settled++;
    if (settled > 64 || settled === list.length) {
      list.splice(0, settled);
      this.#base += settled;
    }
    if (oldestMs >= 0 && !this.#lossTimer?.pending) {
      this.#lossTimer = this.#options.clock.schedule(oldestMs + timeThresholdMs, () => this.#lossTimeout());
    }
  }

  #lossTimeout(): void {
    if (this.stopped) return;
    const nowMs = this.#options.clock.nowMs;
    const priorInflightBytes = this.inflightBytes;
    const priorLostBytes = this.lostBytes;
    this.#detectLosses(nowMs);
    const lostBytes = this.lostBytes - priorLostBytes;
    if (lostBytes > 0) this.#finishAck(nowMs, 0, lostBytes, priorInflightBytes, -1);
    this.#trySend();
  }

  #trySend(): void {
    if (this.stopped) return;
    const clock = this.#options.clock;
    for (;;) {
      const nowMs = clock.nowMs;
      if (this.inflightBytes + this.#mssBytes > Math.max(this.congestion.cwndBytes, this.#mssBytes)) {
        this.#cwndLimited = true;
        break;
      }
      if (this.#nextSendMs > nowMs + 1e-9) {
        this.#armSendTimer(this.#nextSendMs);
        break;
      }
      const rate = this.#pacingRate();
      if (!this.#sendBurst(nowMs, rate)) break;
    }
    this.#armRto();
  }

  #sendBurst(nowMs: number, rate: number): boolean {
    const mssBytes = this.#mssBytes;
    // About a millisecond's worth, at least two segments, at most what one super-segment holds.
    let quantumBytes = Math.min(65536, Math.max(2 * mssBytes, rate / 1000));
    const applicationRate = this.#applicationBytesPerSec;
    if (applicationRate > 0) {
      const availableBytes = ((nowMs - this.#applicationStartMs) * applicationRate) / 1000 - (this.sentBytes - this.#applicationStartBytes);
      if (availableBytes < mssBytes) {
        this.delivery.markAppLimited(this.inflightBytes);
        if (this.inflightBytes === 0 && this.#idleSinceMs < 0) this.#idleSinceMs = nowMs;
        this.#armSendTimer(nowMs + ((mssBytes - availableBytes) / applicationRate) * 1000 + 0.001);
        return false;
      }
      quantumBytes = Math.min(quantumBytes, availableBytes);
    }
    if (this.inflightBytes === 0 && this.#idleSinceMs >= 0) this.congestion.onIdleRestart(nowMs, nowMs - this.#idleSinceMs);
    this.#idleSinceMs = -1;
    let burstBytes = 0;
    while (burstBytes + mssBytes <= quantumBytes && this.inflightBytes + mssBytes <= Math.max(this.congestion.cwndBytes, mssBytes)) {
      this.#sendPacket(nowMs);
      burstBytes += mssBytes;
    }
    if (burstBytes > 0) this.#nextSendMs = Math.max(this.#nextSendMs, nowMs - 1) + (burstBytes / rate) * 1000;
    return burstBytes > 0;
  }

  #sendPacket(nowMs: number): void {
    const packet: FlowPacket = {
      flow: this,
      number: this.#next++,
      received: false,
      settled: false,
      sentMs: nowMs,
      deliveredAtSend: 0,
      deliveredTimeAtSendMs: 0,
      firstSentAtSendMs: 0,
      appLimitedAtSend: false,
      lostAtSendBytes: 0,
      payloadBytes: this.#mssBytes,
    };
    if (this.inflightBytes === 0) this.#lastProgressMs = nowMs;
    this.delivery.onSent(packet, nowMs, this.inflightBytes);
    this.congestion.onSent(nowMs, packet.payloadBytes, this.inflightBytes);
    this.#inflight.push(packet);
    this.inflightBytes += packet.payloadBytes;
    this.sentBytes += packet.payloadBytes;
    this.#options.forward.send(packet, packet.payloadBytes);
  }

  #pacingRate(): number {
    const rate = this.congestion.pacingRateBytesPerSec;
    if (Number.isFinite(rate)) return rate;
    const rttMs = this.srttMs > 0 ? this.srttMs : 100;
    const gain = this.congestion.cwndBytes < this.congestion.ssthreshBytes ? 2 : 1.2;
    return (gain * this.congestion.cwndBytes * 1000) / rttMs;
  }

  #armSendTimer(atMs: number): void {
    if (this.#sendTimer?.pending) {
      if (this.#sendTimer.atMs <= atMs) return;
      this.#options.clock.cancel(this.#sendTimer);
    }
    const granularityMs = this.#options.timerGranularityMs ?? 0;
    const dueMs = granularityMs > 0 ? Math.ceil(atMs / granularityMs) * granularityMs : atMs;
    this.#sendTimer = this.#options.clock.schedule(dueMs, () => this.#trySend());
  }

  #armRto(): void {
    if (this.inflightBytes === 0 || this.#rtoTimer?.pending) return;
    const rtoMs = this.srttMs < 0 ? 1000 : Math.max(MIN_RTO_MS, this.srttMs + 4 * this.#rttvarMs);
    this.#rtoTimer = this.#options.clock.schedule(this.#lastProgressMs + rtoMs * this.#backoff, () => this.#retransmissionTimeout());
  }

  #retransmissionTimeout(): void {
    if (this.stopped || this.inflightBytes === 0) return;
    const nowMs = this.#options.clock.nowMs;
    const rtoMs = (this.srttMs < 0 ? 1000 : Math.max(MIN_RTO_MS, this.srttMs + 4 * this.#rttvarMs)) * this.#backoff;
    if (this.#lastProgressMs + rtoMs > nowMs + 1e-6) {
      this.#armRto();
      return;
    }
    this.timeoutCount++;
    this.#backoff = Math.min(64, this.#backoff * 2);
    this.#lastProgressMs = nowMs;
    const inflightBytes = this.inflightBytes;
    for (const packet of this.#inflight) {
      if (packet === undefined) continue;
      packet.settled = true;
      this.lostBytes += packet.payloadBytes;
      this.delivery.onLost(packet.payloadBytes);
    }
    this.#inflight = [];
    this.#base = this.#next;
    this.inflightBytes = 0;
    this.#recoveryPoint = -1;
    this.#nextSendMs = nowMs;
    this.congestion.onRetransmissionTimeout(nowMs, inflightBytes);
    this.#trySend();
  }
}

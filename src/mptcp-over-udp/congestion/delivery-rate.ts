/**
 * Delivery rate estimation (draft-ietf-ccwg-bbr, 4.1; draft-cheng-iccrg-delivery-rate-estimation). Every segment in flight carries
 * a snapshot of the connection's delivery state at its sending; when it is delivered, the difference is one rate sample. One instance
 * per subflow, pure: the engine calls it and hands the sample to congestion control.
 */
import type { AckSample } from './congestion-control.js';

/** What a record of sent data keeps for rate estimation. A record that is split copies all of it into both parts. */
export interface RateRecord {
  /** When it was (last) sent. */
  sentMs: number;
  /** The connection's totals at that moment. */
  deliveredAtSend: number;
  deliveredTimeAtSendMs: number;
  /** Send time of the segment that was newest-delivered then: the start of the send interval. */
  firstSentAtSendMs: number;
  appLimitedAtSend: boolean;
  lostAtSendBytes: number;
  payloadBytes: number;
}

/** Clock arithmetic in floating milliseconds: an interval this much below the minimum RTT still counts as equal to it. */
const INTERVAL_TOLERANCE_MS = 0.01;

export class DeliveryRate {
  totalDeliveredBytes = 0;
  totalLostBytes = 0;
  #deliveredTimeMs = 0;
  #firstSentMs = 0;
  /** Total at which the last app-limited bubble will have left the network; 0: none. */
  #appLimitedUntilBytes = 0;
  // The newest record delivered since the last sample, flattened so that no reference to a record is kept.
  #hasNewest = false;
  #newestSentMs = 0;
  #priorDeliveredBytes = 0;
  #priorDeliveredTimeMs = 0;
  #priorLostBytes = 0;
  #newestFirstSentMs = 0;
  #newestAppLimited = false;

  /** Each transmission, first or repeated. `inflightBytes` is before it. */
  onSent(record: RateRecord, nowMs: number, inflightBytes: number): void {
    if (inflightBytes <= 0) {
      // Nothing in flight: intervals restart here, so that idle time is in no sample.
      this.#firstSentMs = nowMs;
      this.#deliveredTimeMs = nowMs;
    }
    record.sentMs = nowMs;
    record.deliveredAtSend = this.totalDeliveredBytes;
    record.deliveredTimeAtSendMs = this.#deliveredTimeMs;
    record.firstSentAtSendMs = this.#firstSentMs;
    record.appLimitedAtSend = this.#appLimitedUntilBytes !== 0;
    record.lostAtSendBytes = this.totalLostBytes;
  }

  /** Once per record, when it is first acknowledged, cumulatively or by SACK. */
  onDelivered(record: RateRecord, nowMs: number): void {
    this.totalDeliveredBytes += record.payloadBytes;
    this.#deliveredTimeMs = nowMs;
    if (this.#hasNewest && record.sentMs < this.#newestSentMs) return;
    this.#hasNewest = true;
    this.#newestSentMs = record.sentMs;
    this.#priorDeliveredBytes = record.deliveredAtSend;
    this.#priorDeliveredTimeMs = record.deliveredTimeAtSendMs;
    this.#priorLostBytes = record.lostAtSendBytes;
    this.#newestFirstSentMs = record.firstSentAtSendMs;
    this.#newestAppLimited = record.appLimitedAtSend;
    if (record.sentMs > this.#firstSentMs) this.#firstSentMs = record.sentMs;
  }

  onLost(bytes: number): void {
    this.totalLostBytes += bytes;
  }

  /** The sender has room in cwnd and pacing but nothing to send: what is in flight now, and no more, measures the application. */
  markAppLimited(inflightBytes: number): void {
    this.#appLimitedUntilBytes = Math.max(1, this.totalDeliveredBytes + inflightBytes);
  }

  /**
   * Once per ACK, after all onDelivered and onLost: fills `sample*`, `totalDeliveredBytes` and `priorDeliveredBytes` (-1 when the ACK
   * delivered nothing) and starts the next sample. `minRttMs` < 0: unknown.
   */
  fillSample(sample: AckSample, nowMs: number, minRttMs: number): void {
    if (this.#appLimitedUntilBytes !== 0 && this.totalDeliveredBytes > this.#appLimitedUntilBytes) this.#appLimitedUntilBytes = 0;
    sample.totalDeliveredBytes = this.totalDeliveredBytes;
    sample.sampleIntervalMs = -1;
    sample.sampleAckElapsedMs = 0;
    sample.sampleDeliveredBytes = 0;
    sample.sampleLostBytes = 0;
    sample.sampleAppLimited = false;
    sample.priorDeliveredBytes = -1;
    sample.newestSentMs = -1;
    if (!this.#hasNewest) return;
    this.#hasNewest = false;
    sample.priorDeliveredBytes = this.#priorDeliveredBytes;
    sample.newestSentMs = this.#newestSentMs;
    sample.sampleAppLimited = this.#newestAppLimited;
    sample.sampleDeliveredBytes = this.totalDeliveredBytes - this.#priorDeliveredBytes;
    sample.sampleLostBytes = this.totalLostBytes - this.#priorLostBytes;
    const sendElapsedMs = this.#newestSentMs - this.#newestFirstSentMs;
    const ackElapsedMs = nowMs - this.#priorDeliveredTimeMs;
    // The longer of the two: neither a burst of sending nor a burst of ACKs may pass for bandwidth.
    const intervalMs = Math.max(sendElapsedMs, ackElapsedMs);
    // An interval below the minimum RTT comes of a retransmission whose original was acknowledged: no sample.
    if (intervalMs > 0 && intervalMs + INTERVAL_TOLERANCE_MS >= minRttMs) {
      sample.sampleIntervalMs = intervalMs;
      sample.sampleAckElapsedMs = ackElapsedMs;
    }
  }
}

/** A sample in its one shape, for the engine to reuse. */
export function createAckSample(): AckSample {
  return {
    nowMs: 0,
    deliveredBytes: 0,
    lostBytes: 0,
    priorInflightBytes: 0,
    inflightBytes: 0,
    rttMs: -1,
    srttMs: -1,
    minRttMs: -1,
    sampleDeliveredBytes: 0,
    sampleIntervalMs: -1,
    sampleAckElapsedMs: 0,
    sampleAppLimited: false,
    totalDeliveredBytes: 0,
    priorDeliveredBytes: -1,
    newestSentMs: -1,
    sampleLostBytes: 0,
    ecnEcho: false,
    cwndLimited: false,
  };
}

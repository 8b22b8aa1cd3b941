/**
 * Acknowledgement processing and loss detection of one TCP connection: cumulative ACKs and SACK (RFC 2018, 6675), RACK-TLP (RFC 8985),
 * RTO (RFC 6298), with delivery-rate samples for congestion control. It decides what is lost; the output phase sends it again.
 */

import type { AckSample, CongestionControl } from '../congestion/congestion-control.js';
import { createAckSample, DeliveryRate } from '../congestion/delivery-rate.js';
import { unwrapOffset } from '../wire/sequence.js';
import { LargeLosses } from './large-losses.js';
import type { BlockPool } from './payload-block.js';
import { RangeSet } from './range-set.js';
import { RetransmissionQueue, type SegmentRecord } from './retransmission-queue.js';
import { RttEstimator } from './rtt-estimator.js';

/** RFC 8985 (7.2): the receiver may delay its ACK of a lone segment by this much. */
const MAX_ACK_DELAY_MS = 25;
/** DEVIATION RFC 8985 (7.2): a floor under the probe timeout, since hosts' timers tick in milliseconds. */
const MIN_PROBE_TIMEOUT_MS = 10;
const DUPTHRESH = 3;
/** A record above this is more than one segment: the receiver does not delay its ACK. */
const LONE_SEGMENT_BYTES = 1_500;

/** DEVIATION RFC 8985 (6.2): the smallest round trip alone would let the answer to an original pass for that to its repetition, and all sent since for lost. */
const RETRANSMISSION_RTT_RATIO = 0.6;

/** What one ACK changed. */
export const ACK_ADVANCED = 1;
export const ACK_DELIVERED = 2;
export const ACK_LOST = 4;

export type MtuProbeResult = 'none' | 'delivered' | 'lost';

/** One for all: congestion control copies what it keeps. */
const sample: AckSample = createAckSample();

export class LossRecovery {
  readonly queue: RetransmissionQueue;
  readonly rtt = new RttEstimator();
  readonly rate = new DeliveryRate();
  congestion: CongestionControl;
  sndUna = 0;
  /** One past the highest offset sent. */
  sndNxt = 0;
  inRecovery = false;
  /** Absolute; Infinity: not armed. One of the two modes of the retransmission timer (RFC 8985, 7.2). */
  rtoDeadlineMs = Number.POSITIVE_INFINITY;
  probeDeadlineMs = Number.POSITIVE_INFINITY;
  reorderDeadlineMs = Number.POSITIVE_INFINITY;
  /** Timeouts in a row without progress. */
  timeoutCount = 0;
  cwndLimited = false;
  /** Payload of a full segment towards a peer that has no SACK; 0: it has. */
  sacklessSegmentBytes = 0;
  /** What the peer has SACKed: its blocks repeat, and the records under them need not be looked at again. */
  private readonly sacked = new RangeSet();
  private duplicateAckCount = 0;
  retransmittedBytes = 0;
  /** Where a segment begins that is larger than what is known to pass (RFC 8899), -1: none is under way; and what became of the last one. */
  mtuProbeStart = -1;
  mtuProbeResult: MtuProbeResult = 'none';
  readonly largeLosses = new LargeLosses();
  private recoveryPoint = 0;
  private probeOutstanding = false;
  private reorderingSeen = false;
  /** RACK.xmit_ts, RACK.end_seq, RACK.rtt, highest offset delivered (FACK). */
  private rackSentMs = -1;
  private rackEnd = 0;
  private rackRttMs = 0;
  private highestDelivered = 0;
  // Accumulated over one ACK.
  private deliveredBytes = 0;
  private lostBytes = 0;
  private sampleRttMs = -1;
  private sampleSentMs = -1;

  constructor(pool: BlockPool, congestion: CongestionControl) {
    this.queue = new RetransmissionQueue(pool);
    this.congestion = congestion;
  }

  get inflightBytes(): number {
    return this.queue.inflightBytes;
  }

  /** Call for each transmission of a record, right after it left. */
  onSent(record: SegmentRecord, nowMs: number): void {
    const inflight = this.queue.inflightBytes;
    this.rate.onSent(record, nowMs, inflight);
    if (record.transmitCount > 0) this.retransmittedBytes += record.payloadBytes;
    this.queue.noteSent(record);
    if (record.end > this.sndNxt) this.sndNxt = record.end;
    this.congestion.onSent(nowMs, record.payloadBytes, inflight);
    if (this.rtoDeadlineMs === Number.POSITIVE_INFINITY && this.probeDeadlineMs === Number.POSITIVE_INFINITY) this.armTimer(nowMs);
  }

  /**
   * An acceptable ACK: `ackOffset` in (.., sndNxt], SACK edges as on the wire relative to `iss`; `echoedRttMs`: round trip by the echoed timestamp, -1
   * without (RFC 7323, 4: it samples what was retransmitted too). Returns ACK_* bits.
   */
  handleAck(
    ackOffset: number,
    sack: Uint32Array,
    sackCount: number,
    iss: number,
    ecnEcho: boolean,
    echoedRttMs: number,
    nowMs: number,
  ): number {
    const queue = this.queue;
    const priorInflight = queue.inflightBytes;
    this.deliveredBytes = 0;
    this.lostBytes = 0;
    this.sampleRttMs = -1;
    this.sampleSentMs = -1;
    const advanced = ackOffset > this.sndUna;
    if (advanced) {
      this.acknowledgeTo(ackOffset, nowMs);
      this.duplicateAckCount = 0;
      // RFC 6582 (3.2): a partial ACK says that the next segment is lost too.
      if (this.sacklessSegmentBytes > 0 && this.inRecovery && ackOffset < this.recoveryPoint) this.markHeadLost();
    }
    const dsack = sackCount > 0 && this.isDsack(sack, iss);
    for (let i = dsack ? 1 : 0; i < sackCount; i++) {
      const start = unwrapOffset(sack[2 * i] as number, iss, this.sndUna);
      const end = unwrapOffset(sack[2 * i + 1] as number, iss, this.sndUna);
      if (start < this.sndUna || end > this.sndNxt || start >= end) continue;
      const from = this.sacked.endOfRangeAt(start);
      if (from >= end) continue;
      this.sackRange(from, end, nowMs);
      this.sacked.add(start, end);
    }
    // In answer to what came twice: the timestamp is that of the first time, whose acknowledgement was lost.
    if (this.sampleRttMs < 0 && advanced && echoedRttMs > 0 && !dsack) this.sampleRttMs = echoedRttMs;
    if (this.sampleRttMs >= 0) this.rtt.addSample(this.sampleRttMs, nowMs);
    if (this.deliveredBytes > 0 || advanced) {
      this.timeoutCount = 0;
      if (this.sampleRttMs < 0) this.rtt.resetBackoff();
    }
    // RFC 8985 (2): RACK needs SACK, without it what arrived out of order looks lost.
    const mayDetect = this.sacklessSegmentBytes === 0 && (queue.sackedBytes > 0 || this.rackSentMs >= 0);
    if (mayDetect && queue.head !== undefined) this.detectLoss(nowMs);
    this.updateRecovery(nowMs);
    this.reportToCongestionControl(priorInflight, ecnEcho, nowMs);
    if (advanced || this.deliveredBytes > 0) {
      if (advanced) this.probeOutstanding = false;
      this.armTimer(nowMs);
    }
    return (advanced ? ACK_ADVANCED : 0) | (this.deliveredBytes > 0 ? ACK_DELIVERED : 0) | (this.lostBytes > 0 ? ACK_LOST : 0);
  }

  /** RFC 5681 (3.2), for peers without SACK: with the third duplicate ACK the first segment is deemed lost. */
  noteDuplicateAck(nowMs: number): void {
    if (this.queue.head === undefined || ++this.duplicateAckCount !== DUPTHRESH || this.inRecovery) return;
    this.lostBytes = 0;
    this.markHeadLost();
    this.updateRecovery(nowMs);
    this.armTimer(nowMs);
  }

  /** The lowest record deemed lost and not sent again. */
  nextLost(): SegmentRecord | undefined {
    return this.queue.firstLost();
  }

  /** RFC 8985 (6.2), the reordering timer. */
  handleReorderTimeout(nowMs: number): void {
    this.lostBytes = 0;
    this.reorderDeadlineMs = Number.POSITIVE_INFINITY;
    this.detectLoss(nowMs);
    this.updateRecovery(nowMs);
    if (this.lostBytes > 0) this.armTimer(nowMs);
  }

  /** RFC 8985 (7.3): the record to send as a loss probe when there is no new data; its last segment only. */
  probeRecord(mssBytes: number): SegmentRecord | undefined {
    const tail = this.queue.tail;
    if (tail === undefined) return undefined;
    return tail.payloadBytes > mssBytes ? this.queue.split(tail, tail.start + tail.payloadBytes - mssBytes) : tail;
  }

  noteProbeSent(nowMs: number): void {
    this.probeOutstanding = true;
    this.probeDeadlineMs = Number.POSITIVE_INFINITY;
    this.rtoDeadlineMs = nowMs + this.rtt.rtoMs;
  }

  /** RFC 6298 (5.4-5.6), RFC 8985 (6.3): all that is in flight is deemed lost. */
  handleRetransmissionTimeout(nowMs: number): void {
    this.timeoutCount++;
    this.congestion.onRetransmissionTimeout(nowMs, this.queue.inflightBytes);
    this.rtt.backOff();
    this.markAllLost();
    this.inRecovery = true;
    this.recoveryPoint = this.sndNxt;
    this.probeOutstanding = false;
    this.rtoDeadlineMs = nowMs + this.rtt.rtoMs;
    this.probeDeadlineMs = Number.POSITIVE_INFINITY;
    this.reorderDeadlineMs = Number.POSITIVE_INFINITY;
  }

  /** Nothing that was sent matters any more. */
  abandon(): void {
    this.queue.clear();
    this.sacked.clear();
    this.rtoDeadlineMs = Number.POSITIVE_INFINITY;
    this.probeDeadlineMs = Number.POSITIVE_INFINITY;
    this.reorderDeadlineMs = Number.POSITIVE_INFINITY;
  }

  /** The path was away and is back: everything unacknowledged goes again, without waiting for the backed-off timer. */
  restart(nowMs: number): void {
    this.rtt.resetBackoff();
    this.timeoutCount = 0;
    if (this.queue.head === undefined) return;
    this.queue.forgetSacks();
    this.sacked.clear();
    this.markAllLost();
    this.inRecovery = true;
    this.recoveryPoint = this.sndNxt;
    this.armTimer(nowMs);
  }

  /** Arms the probe timeout or the retransmission timeout for what is in flight. */
  armTimer(nowMs: number): void {
    this.rtoDeadlineMs = Number.POSITIVE_INFINITY;
    this.probeDeadlineMs = Number.POSITIVE_INFINITY;
    if (this.queue.head === undefined) return;
    const mayProbe = !this.inRecovery && !this.probeOutstanding && this.queue.sackedBytes === 0 && this.rtt.srttMs >= 0;
    if (!mayProbe) {
      this.rtoDeadlineMs = nowMs + this.rtt.rtoMs;
      return;
    }
    // RFC 8985 (7.2)
    const lone = this.queue.head === this.queue.tail && this.queue.head.payloadBytes <= LONE_SEGMENT_BYTES;
    const pto = Math.max(MIN_PROBE_TIMEOUT_MS, 2 * this.rtt.srttMs + (lone ? MAX_ACK_DELAY_MS : 4));
    this.probeDeadlineMs = nowMs + Math.min(pto, this.rtt.rtoMs);
  }

  private acknowledgeTo(ackOffset: number, nowMs: number): void {
    const queue = this.queue;
    for (let record = queue.head; record !== undefined && record.start < ackOffset; record = queue.head) {
      if (record.end > ackOffset) queue.split(record, ackOffset);
      if (!record.sacked) this.deliver(record, nowMs);
      queue.shift();
    }
    this.sndUna = ackOffset;
    this.sacked.advance(ackOffset);
    if (ackOffset > this.highestDelivered) this.highestDelivered = ackOffset;
  }

  private sackRange(start: number, end: number, nowMs: number): void {
    const queue = this.queue;
    let record = queue.head;
    // Most blocks lie near the tail: search from the nearer end.
    if (queue.tail !== undefined && start - this.sndUna > queue.tail.end - start) {
      record = queue.tail;
      while (record !== undefined && record.start > start) record = record.previous;
    }
    for (; record !== undefined && record.start < end; record = record.next) {
      if (record.end <= start || record.sacked) continue;
      if (record.start < start) {
        queue.split(record, start);
        continue;
      }
      if (record.end > end && record.payloadBytes > 0) queue.split(record, end);
      this.deliver(record, nowMs);
      queue.markSacked(record);
    }
    if (end > this.highestDelivered) this.highestDelivered = end;
  }

  /** RFC 8985 (6.2), steps 1 and 2. */
  private deliver(record: SegmentRecord, nowMs: number): void {
    this.deliveredBytes += record.payloadBytes;
    this.largeLosses.noteDelivered(record);
    // Sent again, it was cut as other data is, and tells nothing.
    if (record.start === this.mtuProbeStart) this.endMtuProbe(record.transmitCount === 1 ? 'delivered' : 'none');
    this.rate.onDelivered(record, nowMs);
    const rttMs = nowMs - record.sentMs;
    if (record.transmitCount > 1) {
      // Karn; and an ACK sooner than a round trip answers the original. Under jitter the shortest one ever is far below what is usual.
      if (rttMs < Math.max(this.rtt.minRttMs, RETRANSMISSION_RTT_RATIO * this.rtt.srttMs)) return;
    } else {
      if (record.sentMs > this.sampleSentMs) {
        this.sampleSentMs = record.sentMs;
        this.sampleRttMs = rttMs;
      }
      if (record.end < this.highestDelivered && !record.lost) this.reorderingSeen = true;
    }
    if (record.sentMs > this.rackSentMs || (record.sentMs === this.rackSentMs && record.end > this.rackEnd)) {
      this.rackSentMs = record.sentMs;
      this.rackEnd = record.end;
      this.rackRttMs = rttMs;
    }
  }

  private reorderWindowMs(): number {
    if (!this.reorderingSeen && (this.inRecovery || this.queue.sackedBytes >= DUPTHRESH * 1_200)) return 0;
    return Math.min(Math.max(this.rtt.minRttMs, 0) / 4, Math.max(this.rtt.srttMs, 0));
  }

  /** RFC 8985 (6.2), step 5: lost is what was sent a reordering window before something that has arrived. */
  private detectLoss(nowMs: number): void {
    const window = this.reorderWindowMs();
    this.reorderDeadlineMs = Number.POSITIVE_INFINITY;
    for (let record = this.queue.earliest; record !== undefined && record.sentMs <= this.rackSentMs; ) {
      const { later } = record;
      if (record.sentMs < this.rackSentMs || record.end < this.rackEnd) {
        if (record.sentMs + this.rackRttMs + window > nowMs) {
          // The rest follows in order of time, up to what arrived last.
          this.reorderDeadlineMs = this.rackSentMs + this.rackRttMs + window;
          return;
        }
        // RFC 4821 (7.7): the loss of a probe alone is none of congestion.
        if (record.start === this.mtuProbeStart && record.transmitCount === 1) this.endMtuProbe('lost');
        else {
          this.lostBytes += record.payloadBytes;
          this.rate.onLost(record.payloadBytes);
          this.largeLosses.noteLost(record, this.sndUna);
        }
        this.queue.markLost(record);
      }
      record = later;
    }
  }

  private markHeadLost(): void {
    const { head } = this.queue;
    if (head === undefined || head.lost || head.sacked) return;
    if (head.payloadBytes > this.sacklessSegmentBytes) this.queue.split(head, head.start + this.sacklessSegmentBytes);
    this.lostBytes += head.payloadBytes;
    this.rate.onLost(head.payloadBytes);
    this.queue.markLost(head);
  }

  private endMtuProbe(result: MtuProbeResult): void {
    this.mtuProbeStart = -1;
    this.mtuProbeResult = result;
  }

  private markAllLost(): void {
    this.endMtuProbe('none');
    for (let record = this.queue.head; record !== undefined; record = record.next) {
      if (record.sacked || record.lost) continue;
      this.rate.onLost(record.payloadBytes);
      this.largeLosses.noteLost(record, this.sndUna);
      this.queue.markLost(record);
    }
  }

  private updateRecovery(nowMs: number): void {
    if (this.inRecovery && this.sndUna >= this.recoveryPoint) {
      this.inRecovery = false;
      this.congestion.onRecoveryEnd(nowMs);
    }
    if (!this.inRecovery && this.lostBytes > 0) {
      this.inRecovery = true;
      this.recoveryPoint = this.sndNxt;
      this.congestion.onRecoveryStart(nowMs, this.queue.inflightBytes);
    }
  }

  private reportToCongestionControl(priorInflight: number, ecnEcho: boolean, nowMs: number): void {
    this.rate.fillSample(sample, nowMs, this.rtt.minRttMs);
    if (this.deliveredBytes === 0 && this.lostBytes === 0 && !ecnEcho) return;
    sample.nowMs = nowMs;
    sample.deliveredBytes = this.deliveredBytes;
    sample.lostBytes = this.lostBytes;
    sample.priorInflightBytes = priorInflight;
    sample.inflightBytes = this.queue.inflightBytes;
    sample.rttMs = this.sampleRttMs;
    sample.srttMs = this.rtt.srttMs;
    sample.minRttMs = this.rtt.minRttMs;
    sample.ecnEcho = ecnEcho;
    sample.cwndLimited = this.cwndLimited;
    this.cwndLimited = false;
    this.congestion.onAck(sample);
  }

  /** RFC 2883 (4): the first block reports a duplicate when it lies below the ACK or inside the second block. */
  private isDsack(sack: Uint32Array, iss: number): boolean {
    const end = unwrapOffset(sack[1] as number, iss, this.sndUna);
    return end <= this.sndUna;
  }
}

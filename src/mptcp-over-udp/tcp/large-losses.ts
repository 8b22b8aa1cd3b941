/**
 * A large segment that is lost again and again while nothing as large comes through: a black hole that no timeout tells of, since smaller segments behind
 * it pass and are acknowledged (RFC 8899, 4.3).
 */

import type { SegmentRecord } from './retransmission-queue.js';

export class LargeLosses {
  /** Payload that may be too much for the path is above this; none is above `segmentBytes`. */
  private thresholdBytes = Number.POSITIVE_INFINITY;
  private segmentBytes = 0;
  /** Losses in a row of the record that begins at `start`, and its payload in one segment. */
  count = 0;
  bytes = 0;
  private start = -1;

  setSizes(thresholdBytes: number, segmentBytes: number): void {
    this.thresholdBytes = thresholdBytes;
    this.segmentBytes = segmentBytes;
    this.reset();
  }

  noteLost(record: SegmentRecord, sndUna: number): void {
    if (record.payloadBytes <= this.thresholdBytes) return;
    if (this.start < sndUna) {
      this.start = record.start;
      this.bytes = Math.min(record.payloadBytes, this.segmentBytes);
      this.count = 0;
    }
    if (record.start === this.start) this.count++;
  }

  noteDelivered(record: SegmentRecord): void {
    if (this.count > 0 && record.payloadBytes >= this.bytes) this.reset();
  }

  private reset(): void {
    this.start = -1;
    this.count = 0;
  }
}

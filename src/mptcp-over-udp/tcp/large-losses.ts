/**
 * A large segment that is lost again and again while nothing as large comes through: a black hole that no timeout tells of, since smaller segments behind
 * it pass and are acknowledged (RFC 8899, 4.3).
 */

import type { SegmentRecord } from './retransmission-queue.js';

export class LargeLosses {
  /** Payload above which a segment is large. */
  thresholdBytes = Number.POSITIVE_INFINITY;
  /** Losses in a row of the record that begins at `start`. */
  count = 0;
  private start = -1;

  reset(): void {
    this.start = -1;
    this.count = 0;
  }

  noteLost(record: SegmentRecord, sndUna: number): void {
    if (record.payloadBytes <= this.thresholdBytes) return;
    if (this.start < sndUna) {
      this.start = record.start;
      this.count = 0;
    }
    if (record.start === this.start) this.count++;
  }

  noteDelivered(record: SegmentRecord): void {
    if (record.payloadBytes > this.thresholdBytes) this.reset();
  }
}

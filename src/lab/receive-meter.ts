/** Watches a stream of pattern bytes arrive: how many, how evenly, and whether they are the right ones. */

import { findFault } from './traffic-pattern.js';

export interface ReceiveSummary {
  bytes: number;
  /** From the start of the meter to the last byte. */
  seconds: number;
  bitsPerSec: number;
  /** Longest time without a byte, between the first and the last one. */
  longestGapMs: number;
  /** When that gap began, since the start of the meter. */
  gapAtMs: number;
  /** Position of the first wrong byte, -1: all are right. */
  faultAt: number;
}

export class ReceiveMeter {
  bytes = 0;
  faultAt = -1;
  readonly startMs = performance.now();
  private lastByteMs = -1;
  private longestGapMs = 0;
  private gapAtMs = 0;
  private recentGapMs = 0;

  add(chunk: Buffer): void {
    const nowMs = performance.now();
    const gapMs = this.lastByteMs < 0 ? 0 : nowMs - this.lastByteMs;
    if (gapMs > this.longestGapMs) {
      this.longestGapMs = gapMs;
      this.gapAtMs = this.lastByteMs - this.startMs;
    }
    this.recentGapMs = Math.max(this.recentGapMs, gapMs);
    this.lastByteMs = nowMs;
    if (this.faultAt < 0) this.faultAt = findFault(chunk, this.bytes);
    this.bytes += chunk.length;
  }

  get elapsedMs(): number {
    return performance.now() - this.startMs;
  }

  /** Longest gap that ended since the last call, or the silence that lasts. */
  takeRecentGapMs(): number {
    const gapMs = Math.max(this.recentGapMs, this.lastByteMs < 0 ? 0 : performance.now() - this.lastByteMs);
    this.recentGapMs = 0;
    return gapMs;
  }

  /** `ended`: the stream is over. If it is not, the silence up to now counts as a gap. */
  summary(ended: boolean): ReceiveSummary {
    const silenceMs = this.lastByteMs < 0 || ended ? 0 : performance.now() - this.lastByteMs;
    const gapIsNow = silenceMs > this.longestGapMs;
    const seconds = Math.max(0, (this.lastByteMs - this.startMs) / 1000);
    return {
      bytes: this.bytes,
      seconds,
      bitsPerSec: seconds > 0 ? (this.bytes * 8) / seconds : 0,
      longestGapMs: gapIsNow ? silenceMs : this.longestGapMs,
      gapAtMs: gapIsNow ? this.lastByteMs - this.startMs : this.gapAtMs,
      faultAt: this.faultAt,
    };
  }
}

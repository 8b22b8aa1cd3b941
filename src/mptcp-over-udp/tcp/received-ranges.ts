/**
 * Which sequence ranges above rcvNxt have arrived, and which of them to report first (RFC 2018, 4: the block with the newest segment comes first,
 * others repeat). What is forgotten when there are too many the sender repeats (RFC 2018, 8 allows it).
 */

import { RangeSet } from './range-set.js';

/** A burst of segments with holes between them changes as many ranges: each wants to be reported. */
const MAX_CHANGED = 256;

export class ReceivedRanges extends RangeSet {
  /** Starts of ranges that changed since the last report, newest last. */
  private readonly changed: number[] = [];

  override add(start: number, end: number): number {
    const rangeStart = super.add(start, end);
    if (rangeStart >= 0) this.noteChanged(rangeStart);
    return rangeStart;
  }

  /**
   * Fills up to `maxBlocks` (start, end) pairs into `out`, changed ones first (newest first), then the highest others. Returns how many. What was changed
   * and did not fit stays changed: `hasUnreported` says so, and another ACK can carry it.
   */
  report(out: Float64Array, maxBlocks: number): number {
    let n = 0;
    while (n < maxBlocks && this.changed.length > 0) {
      const start = this.changed.pop() as number;
      const i = this.indexOfLastStartingAtOrBefore(start);
      if (i < 0 || (this.ends[i] as number) < start) continue;
      n = this.put(out, n, i);
    }
    for (let i = this.starts.length - 1; i >= 0 && n < maxBlocks; i--) n = this.put(out, n, i);
    return n;
  }

  get hasUnreported(): boolean {
    return this.changed.length > 0 && this.starts.length > 0;
  }

  override clear(): void {
    super.clear();
    this.changed.length = 0;
  }

  private put(out: Float64Array, n: number, i: number): number {
    const start = this.starts[i] as number;
    for (let k = 0; k < n; k++) if (out[2 * k] === start) return n;
    out[2 * n] = start;
    out[2 * n + 1] = this.ends[i] as number;
    return n + 1;
  }

  private noteChanged(start: number): void {
    const at = this.changed.lastIndexOf(start);
    if (at >= 0) this.changed.splice(at, 1);
    this.changed.push(start);
    if (this.changed.length > MAX_CHANGED) this.changed.shift();
  }
}

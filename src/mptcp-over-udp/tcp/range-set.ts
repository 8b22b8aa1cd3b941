/**
 * Which sequence ranges above rcvNxt have arrived, and which of them to report first (RFC 2018, 4: the block with the newest segment comes first,
 * others repeat). Offsets are plain numbers. Sorted, disjoint, not touching.
 */

/** More ranges than this are forgotten from the top: the sender repeats them (RFC 2018, 8 allows it). */
const MAX_RANGES = 512;

export class RangeSet {
  private readonly starts: number[] = [];
  private readonly ends: number[] = [];
  /** Starts of ranges that changed since the last report, newest last. */
  private readonly changed: number[] = [];

  get count(): number {
    return this.starts.length;
  }

  /** True when all of [start, end) has arrived. */
  contains(start: number, end: number): boolean {
    const i = this.indexOfLastStartingAtOrBefore(start);
    return i >= 0 && (this.ends[i] as number) >= end;
  }

  add(start: number, end: number): void {
    let i = this.indexOfLastStartingAtOrBefore(start);
    if (i >= 0 && (this.ends[i] as number) >= start) {
      if (end > (this.ends[i] as number)) this.ends[i] = end;
    } else {
      i++;
      if (this.starts.length >= MAX_RANGES && i >= MAX_RANGES) return;
      this.starts.splice(i, 0, start);
      this.ends.splice(i, 0, end);
      if (this.starts.length > MAX_RANGES) {
        this.starts.pop();
        this.ends.pop();
      }
    }
    let next = i + 1;
    while (next < this.starts.length && (this.starts[next] as number) <= (this.ends[i] as number)) {
      if ((this.ends[next] as number) > (this.ends[i] as number)) this.ends[i] = this.ends[next] as number;
      next++;
    }
    if (next > i + 1) {
      this.starts.splice(i + 1, next - i - 1);
      this.ends.splice(i + 1, next - i - 1);
    }
    this.noteChanged(this.starts[i] as number);
  }

  /** The end of what is contiguous from `from` on (`from` itself when that byte is missing); ranges below it are dropped. */
  advance(from: number): number {
    let edge = from;
    let drop = 0;
    while (drop < this.starts.length && (this.starts[drop] as number) <= edge) {
      if ((this.ends[drop] as number) > edge) edge = this.ends[drop] as number;
      drop++;
    }
    if (drop > 0) {
      this.starts.splice(0, drop);
      this.ends.splice(0, drop);
    }
    return edge;
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

  visit(visitor: (start: number, end: number) => void): void {
    for (let i = 0; i < this.starts.length; i++) visitor(this.starts[i] as number, this.ends[i] as number);
  }

  clear(): void {
    this.starts.length = 0;
    this.ends.length = 0;
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
    const at = this.changed.indexOf(start);
    if (at >= 0) this.changed.splice(at, 1);
    this.changed.push(start);
    if (this.changed.length > 32) this.changed.shift();
  }

  private indexOfLastStartingAtOrBefore(value: number): number {
    let low = 0;
    let high = this.starts.length;
    while (low < high) {
      const mid = (low + high) >>> 1;
      if ((this.starts[mid] as number) <= value) low = mid + 1;
      else high = mid;
    }
    return low - 1;
  }
}

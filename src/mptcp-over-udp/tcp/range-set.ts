/** Ranges of sequence space: offsets as plain numbers; sorted, disjoint, not touching. */

/** More ranges than this are forgotten from the top. */
const MAX_RANGES = 4_096;

export class RangeSet {
  protected readonly starts: number[] = [];
  protected readonly ends: number[] = [];

  get count(): number {
    return this.starts.length;
  }

  /** True when all of [start, end) is in one range. */
  contains(start: number, end: number): boolean {
    const i = this.indexOfLastStartingAtOrBefore(start);
    return i >= 0 && (this.ends[i] as number) >= end;
  }

  /** The end of the range that holds `start`; `start` itself when none does. */
  endOfRangeAt(start: number): number {
    const i = this.indexOfLastStartingAtOrBefore(start);
    return i >= 0 && (this.ends[i] as number) > start ? (this.ends[i] as number) : start;
  }

  /** The start of the range that [start, end) is part of now, -1: the set is full. */
  add(start: number, end: number): number {
    let i = this.indexOfLastStartingAtOrBefore(start);
    if (i >= 0 && (this.ends[i] as number) >= start) {
      if (end > (this.ends[i] as number)) this.ends[i] = end;
    } else {
      i++;
      if (this.starts.length >= MAX_RANGES && i >= MAX_RANGES) return -1;
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
    return this.starts[i] as number;
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

  visit(visitor: (start: number, end: number) => void): void {
    for (let i = 0; i < this.starts.length; i++) visitor(this.starts[i] as number, this.ends[i] as number);
  }

  clear(): void {
    this.starts.length = 0;
    this.ends.length = 0;
  }

  protected indexOfLastStartingAtOrBefore(value: number): number {
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

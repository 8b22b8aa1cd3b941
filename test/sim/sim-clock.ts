/** A virtual clock: a heap of events, run in order of time and, at one time, in the order in which they were scheduled. */
export interface SimEvent {
  readonly atMs: number;
  /** False once it has run or was cancelled. */
  readonly pending: boolean;
}

interface HeapEvent extends SimEvent {
  pending: boolean;
  order: number;
  fn: () => void;
}

export class SimClock {
  nowMs: number;
  readonly #heap: HeapEvent[] = [];
  #order = 0;

  constructor(startMs = 0) {
    this.nowMs = startMs;
  }

  get pendingCount(): number {
    return this.#heap.length;
  }

  /** Runs `fn` at `atMs`, or now (after what is due) when that is past. */
  schedule(atMs: number, fn: () => void): SimEvent {
    const event: HeapEvent = { atMs: Math.max(atMs, this.nowMs), pending: true, order: this.#order++, fn };
    this.#push(event);
    return event;
  }

  cancel(event: SimEvent): void {
    (event as HeapEvent).pending = false;
  }

  /** Runs every event due up to and including `untilMs`, and leaves the clock there. */
  runUntil(untilMs: number): void {
    for (;;) {
      const next = this.#heap[0];
      if (next === undefined || next.atMs > untilMs) break;
      this.#pop();
      if (!next.pending) continue;
      next.pending = false;
      this.nowMs = next.atMs;
      next.fn();
    }
    this.nowMs = untilMs;
  }

  /** Runs until nothing is scheduled, at most to `limitMs`; returns whether it came to rest. */
  runToRest(limitMs: number): boolean {
    while (this.#heap.length > 0 && this.#heap[0]!.atMs <= limitMs) this.runUntil(this.#heap[0]!.atMs);
    return this.#heap.length === 0;
  }

  #push(event: HeapEvent): void {
    const heap = this.#heap;
    let index = heap.length;
    heap.push(event);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = event;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop()!;
    const length = heap.length;
    if (length === 0) return;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= length) break;
      if (child + 1 < length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = last;
  }
}

function before(a: HeapEvent, b: HeapEvent): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

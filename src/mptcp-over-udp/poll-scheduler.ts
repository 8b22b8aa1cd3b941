/**
 * Which connections want attention: those touched since the last poll, and those whose deadline is over. A binary heap of deadlines with lazy
 * removal: an entry counts only while it equals its owner's `timerMs`.
 */

export interface Pollable {
  /** Owned by the scheduler. */
  dirty: boolean;
  timerMs: number;
  /** Runs deadlines and output; returns the next deadline (absolute, Infinity when none). */
  poll(nowMs: number): number;
}

interface Entry {
  atMs: number;
  owner: Pollable;
}

export class PollScheduler {
  private dirty: Pollable[] = [];
  private spare: Pollable[] = [];
  private readonly heap: Entry[] = [];

  markDirty(owner: Pollable): void {
    if (owner.dirty) return;
    owner.dirty = true;
    this.dirty.push(owner);
  }

  nextTimeoutMs(): number {
    if (this.dirty.length > 0) return 0;
    this.dropStale();
    return this.heap[0]?.atMs ?? Number.POSITIVE_INFINITY;
  }

  /** Polls all that is due. What becomes dirty meanwhile is polled too, a bounded number of rounds. */
  poll(nowMs: number): void {
    for (;;) {
      this.dropStale();
      const top = this.heap[0];
      if (top === undefined || top.atMs > nowMs) break;
      this.pop();
      top.owner.timerMs = Number.POSITIVE_INFINITY;
      this.markDirty(top.owner);
    }
    for (let round = 0; round < 8 && this.dirty.length > 0; round++) {
      const batch = this.dirty;
      this.dirty = this.spare;
      this.spare = batch;
      for (let i = 0; i < batch.length; i++) {
        const owner = batch[i] as Pollable;
        owner.dirty = false;
        this.schedule(owner, owner.poll(nowMs));
      }
      batch.length = 0;
    }
  }

  /** For an owner that is gone. */
  forget(owner: Pollable): void {
    owner.timerMs = Number.POSITIVE_INFINITY;
  }

  private schedule(owner: Pollable, atMs: number): void {
    // A deadline that moved later keeps its earlier entry: it wakes once for nothing, and is put back.
    if (atMs === Number.POSITIVE_INFINITY || atMs >= owner.timerMs) return;
    owner.timerMs = atMs;
    this.push({ atMs, owner });
  }

  private dropStale(): void {
    for (let top = this.heap[0]; top !== undefined && top.atMs !== top.owner.timerMs; top = this.heap[0]) this.pop();
  }

  private push(entry: Entry): void {
    const heap = this.heap;
    let i = heap.length;
    heap.push(entry);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = heap[parent] as Entry;
      if (above.atMs <= entry.atMs) break;
      heap[i] = above;
      i = parent;
    }
    heap[i] = entry;
  }

  private pop(): void {
    const heap = this.heap;
    const last = heap.pop() as Entry;
    if (heap.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && (heap[child + 1] as Entry).atMs < (heap[child] as Entry).atMs) child++;
      if ((heap[child] as Entry).atMs >= last.atMs) break;
      heap[i] = heap[child] as Entry;
      i = child;
    }
    heap[i] = last;
  }
}

/**
 * The connection's one receive window (RFC 8684, 3.3.4): autotuned to what arrives in a round trip of the slowest path, its right edge never
 * retreats, and all connections of a host share a bound.
 */

import type { ReassemblyBuffer } from '../tcp/reassembly.js';

export const DEFAULT_INITIAL_WINDOW_BYTES = 1 << 20;
/** Holds 1 Gbit/s x 300 ms with room for data that waits for order. */
const MAX_LIMIT_BYTES = 64 << 20;
const MIN_INTERVAL_MS = 5;
/** Data waits for order while what was lost on the slowest path is noticed, sent again, and lost again. */
const WINDOW_ROUND_TRIPS = 12;

/** Shared by the connections of one host: bytes that windows beyond the initial one may promise. */
export class ReceiveMemory {
  promisedBytes = 0;
  readonly boundBytes: number;
  /** What every connection may promise from the start. */
  readonly initialWindowBytes: number;

  constructor(boundBytes: number, initialWindowBytes: number) {
    this.boundBytes = boundBytes;
    this.initialWindowBytes = initialWindowBytes;
  }
}

export class ReceiveWindow {
  limitBytes: number;
  /** Right edge, exclusive, in data offsets. */
  edge: number;
  private readonly memory: ReceiveMemory;
  private intervalStartMs = -1;
  private intervalBytes = 0;

  constructor(memory: ReceiveMemory) {
    this.memory = memory;
    this.limitBytes = memory.initialWindowBytes;
    this.edge = 1 + this.limitBytes;
  }

  /** Moves the edge and returns the window from the DATA_ACK on, to be put into a segment now. */
  advertise(reassembly: ReassemblyBuffer): number {
    this.edge = Math.max(this.edge, reassembly.readOffset + this.limitBytes);
    return Math.max(0, this.edge - reassembly.nextOffset);
  }

  /** Reading made enough room to be worth a segment of its own: from nearly closed, or by a quarter. */
  shouldUpdate(reassembly: ReassemblyBuffer): boolean {
    const gain = reassembly.readOffset + this.limitBytes - this.edge;
    const known = this.edge - reassembly.nextOffset;
    return gain >= this.limitBytes / 4 || (gain >= 2_800 && known < this.limitBytes / 8);
  }

  /** Grows to a few times what came during the slowest round trip, in order or not, so that the window never is what limits (as Linux's DRS). */
  noteReceived(reassembly: ReassemblyBuffer, bytes: number, rttMs: number, nowMs: number): void {
    this.intervalBytes += bytes;
    if (this.intervalStartMs < 0) this.intervalStartMs = nowMs;
    const elapsedMs = nowMs - this.intervalStartMs;
    if (elapsedMs < Math.max(rttMs, MIN_INTERVAL_MS)) return;
    const wanted = Math.min(
      MAX_LIMIT_BYTES,
      Math.ceil((WINDOW_ROUND_TRIPS * this.intervalBytes * Math.max(rttMs, MIN_INTERVAL_MS)) / elapsedMs),
    );
    this.intervalBytes = 0;
    this.intervalStartMs = nowMs;
    const growth = wanted - this.limitBytes;
    // A reader that stands still needs no larger window: only data that waits for order may fill one.
    if (reassembly.nextOffset - reassembly.readOffset > this.limitBytes / 4) return;
    if (growth <= 0 || this.memory.promisedBytes + growth > this.memory.boundBytes) return;
    this.memory.promisedBytes += growth;
    this.limitBytes = wanted;
  }

  release(): void {
    this.memory.promisedBytes -= this.limitBytes - this.memory.initialWindowBytes;
    this.limitBytes = this.memory.initialWindowBytes;
  }
}

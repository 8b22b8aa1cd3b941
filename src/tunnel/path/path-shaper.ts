/**
 * Keeps what a path sends below its limit. Streams are held back where they are (mptcp-over-udp/path-limit.ts); packets of the datagram plane, whose senders
 * cannot be told to wait, wait here: 50 ms or 1 MB at most, beyond that they are dropped, so that their own congestion controls find the rate.
 */

import { HeldPackets, type PacketOutlet } from './held-packets.js';
import type { RateLimit } from './rate-limit.js';

const MAX_HELD_MS = 50;
const MAX_HELD_BYTES = 1 << 20;
/** What takes longer than this goes in pieces. */
const MAX_BURST_MS = 4;
/** Beside what may wait there is room for a super-packet at either end of the buffer. */
const SPARE_BYTES = 128 << 10;
/** Though acknowledgements take the whole rate, something gets through. */
const MAX_STARVED_MS = 100;

export class PathShaper {
  readonly limit: RateLimit;
  /** Made when the first has to wait. */
  #held: HeldPackets | undefined;
  #lastSentMs = Number.NEGATIVE_INFINITY;

  constructor(limit: RateLimit) {
    this.limit = limit;
  }

  get heldPackets(): number {
    return this.#held?.count ?? 0;
  }

  /** How long what waits takes to leave. */
  get heldMs(): number {
    return this.#held === undefined ? 0 : (this.#held.bytes * 1000) / this.limit.bytesPerSec;
  }

  /** A packet that comes now has to wait. */
  isClosed(nowMs: number): boolean {
    return this.heldPackets > 0 || !this.limit.isFree(nowMs);
  }

  /** A super-packet that would keep others waiting for too long. */
  isLong(length: number): boolean {
    return length * 1000 > MAX_BURST_MS * this.limit.bytesPerSec;
  }

  /** The packet waits (it is copied); false: too many do already. */
  hold(
    packet: Uint8Array,
    offset: number,
    length: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
    nowMs: number,
  ): boolean {
    const maxBytes = Math.min(MAX_HELD_BYTES, (this.limit.bytesPerSec * MAX_HELD_MS) / 1000);
    if (this.heldPackets === 0 && (this.#held?.capacityBytes ?? 0) < maxBytes + SPARE_BYTES)
      this.#held = new HeldPackets(maxBytes + SPARE_BYTES);
    const held = this.#held!;
    if (held.count > 0 && (held.bytes + length > maxBytes || this.limit.waitMs(held.bytes, nowMs) > MAX_HELD_MS)) return false;
    if (!held.push(packet, offset, length, gsoType, gsoSize, csumStart, csumOffset, nowMs)) return false;
    this.limit.noteWaiting(1);
    return true;
  }

  /** What may leave by now goes to `outlet`, which charges the limit. */
  drain(outlet: PacketOutlet, nowMs: number): void {
    const held = this.#held;
    while (held !== undefined && held.count > 0 && (this.limit.isFree(nowMs) || nowMs >= this.#starvedAtMs())) {
      this.#lastSentMs = nowMs;
      this.limit.noteWaiting(-1);
      held.shift(outlet);
    }
  }

  /** The limit is gone: all of it leaves. */
  flush(outlet: PacketOutlet): void {
    while (this.#held !== undefined && this.#held.count > 0) {
      this.limit.noteWaiting(-1);
      this.#held.shift(outlet);
    }
    this.#held = undefined;
  }

  /** When something of what waits may leave; Infinity when nothing does. */
  nextTimeoutMs(nowMs: number): number {
    return this.heldPackets === 0 ? Number.POSITIVE_INFINITY : Math.min(this.limit.freeAtMs(nowMs), Math.max(nowMs, this.#starvedAtMs()));
  }

  #starvedAtMs(): number {
    return Math.max(this.#held?.oldestSinceMs ?? 0, this.#lastSentMs) + MAX_STARVED_MS;
  }
}

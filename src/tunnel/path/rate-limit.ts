/**
 * The rate limit of a path, as a bucket that leaks: what was sent fills it, time drains it, and nothing is let go while it is not empty. So the path's own
 * queue stays empty as far as we are concerned, and what waits, waits with us. Pure: time comes in.
 *
 * Streams and datagrams share it by turns where both wait, byte for byte; where only one does it has all.
 */

import type { PathLimit } from '../../mptcp-over-udp/path-limit.js';

/** A late timer is made up for by this much. */
const CREDIT_MS = 3;
/** What one turn may send: so much time's worth, and no less than two packets. */
const TURN_MS = 1;
const TURN_MIN_BYTES = 3000;
/** Acknowledgements and control are charged, and never held back: what they owe beyond this is forgiven. */
const MAX_DEBT_MS = 200;
/** Less than this is what rounding leaves: time that passes by less than it can hold would never drain it. */
const EMPTY_BYTES = 1;

export class RateLimit implements PathLimit {
  readonly #creditMs: number;
  #bytesPerSec: number;
  /** What is yet to drain; below zero: credit. */
  #levelBytes = 0;
  #atMs = Number.NEGATIVE_INFINITY;
  /** Packets of datagrams that wait, and what streams sent more than they meanwhile. */
  #waitingPackets = 0;
  #streamLeadBytes = 0;

  /** `creditMs`: so much of what a late timer has cost is made up for, in one burst. */
  constructor(bytesPerSec: number, creditMs: number = CREDIT_MS) {
    this.#bytesPerSec = bytesPerSec;
    this.#creditMs = creditMs;
  }

  get bytesPerSec(): number {
    return this.#bytesPerSec;
  }

  setRate(bytesPerSec: number): void {
    // What is owed was sent at the old rate: it takes as long as it would have.
    this.#levelBytes *= bytesPerSec / this.#bytesPerSec;
    this.#bytesPerSec = bytesPerSec;
  }

  /** Sent on the path, whoever did. */
  charge(bytes: number): void {
    this.#levelBytes = Math.min(this.#levelBytes + bytes, (this.#bytesPerSec * MAX_DEBT_MS) / 1000);
  }

  chargeStream(bytes: number): void {
    this.charge(bytes);
    this.#streamLeadBytes = Math.min(this.#streamLeadBytes + bytes, this.turnBytes);
  }

  chargeDatagram(bytes: number): void {
    this.charge(bytes);
    this.#streamLeadBytes = Math.max(this.#streamLeadBytes - bytes, -this.turnBytes);
  }

  noteWaiting(packets: number): void {
    this.#waitingPackets += packets;
  }

  get turnBytes(): number {
    return Math.max(TURN_MIN_BYTES, (this.#bytesPerSec * TURN_MS) / 1000);
  }

  /** Something may be sent now. */
  isFree(nowMs: number): boolean {
    this.#drain(nowMs);
    return this.#levelBytes < EMPTY_BYTES;
  }

  streamRoomBytes(nowMs: number): number {
    if (!this.isFree(nowMs) || (this.#waitingPackets > 0 && this.#streamLeadBytes > 0)) return 0;
    return this.turnBytes;
  }

  freeAtMs(nowMs: number): number {
    return this.isFree(nowMs) ? nowMs : nowMs + (this.#levelBytes * 1000) / this.#bytesPerSec;
  }

  /** How long `bytes` take, with what is to drain before them. */
  waitMs(bytes: number, nowMs: number): number {
    this.#drain(nowMs);
    return ((Math.max(0, this.#levelBytes) + bytes) * 1000) / this.#bytesPerSec;
  }

  #drain(nowMs: number): void {
    if (nowMs <= this.#atMs) return;
    if (this.#atMs !== Number.NEGATIVE_INFINITY) {
      const drained = this.#levelBytes - ((nowMs - this.#atMs) * this.#bytesPerSec) / 1000;
      this.#levelBytes = Math.max(drained, (-this.#creditMs * this.#bytesPerSec) / 1000);
    }
    this.#atMs = nowMs;
  }
}

/**
 * Datagrams that TCP has not taken yet, as capsules, the oldest first. It is short: what has waited too long is dropped, since a late datagram is worth less than
 * the room that it takes from the next one, and the congestion control above us must learn that there is a queue.
 */

import { capsuleLengthAt, capsulesLength, emitDatagramCapsule, MAX_DATAGRAM_BYTES } from './datagram-capsule.js';

/** Of a datagram, until it is handed to TCP. */
export const MAX_WAIT_MS = 30;
/**
 * A longer time between two calls counts as this: it is not TCP that is slow then, but this process that was held up, and what it has just been given would all be lost. When
 * nobody sends, time goes slower too, for the few that wait; but not beyond MAX_AGE_MS.
 */
export const MAX_GAP_MS = 10;
export const MAX_AGE_MS = 200;
/** What comes at once may be as much as a path flushes at once; more than this is 30 ms at more than 130 Mbit/s. */
export const MAX_QUEUE_BYTES = 512 * 1024;

/** What one call brought: it is written without being copied again. */
interface Batch {
  readonly bytes: Buffer;
  readonly queuedMs: number;
  readonly queuedClockMs: number;
  at: number;
}

export class SendQueue {
  #batches: Batch[] = [];
  /** Before it, all is sent. */
  #first = 0;
  /** Time that counts, up to #lastMs. */
  #clockMs = 0;
  #lastMs = 0;
  queuedBytes = 0;
  /** Given to take. */
  sentDatagrams = 0;
  droppedDatagrams = 0;

  /** `count` datagrams back to back in `bytes`, copied. */
  push(bytes: Uint8Array, lengths: Int32Array, count: number, nowMs: number): void {
    this.#advanceClock(nowMs);
    // What is too long, or empty, does not go; it is rare.
    let [offset, first] = [0, 0];
    for (let i = 0; i < count; i++) {
      if (lengths[i]! > 0 && lengths[i]! <= MAX_DATAGRAM_BYTES) continue;
      offset = this.#pushRun(bytes, offset, lengths, first, i, nowMs) + lengths[i]!;
      first = i + 1;
      this.droppedDatagrams++;
    }
    this.#pushRun(bytes, offset, lengths, first, count, nowMs);
    while (this.queuedBytes > MAX_QUEUE_BYTES) this.#dropOldest();
  }

  /** Whole capsules, as many as fit into `maxBytes`, and one if none does. Undefined: nothing waits. The caller's. */
  take(maxBytes: number, nowMs: number): Buffer | undefined {
    this.#advanceClock(nowMs);
    while (this.#first < this.#batches.length && this.#isLate(this.#batches[this.#first]!, nowMs)) this.#dropOldest();
    const batch = this.#batches[this.#first];
    if (batch === undefined) return undefined;
    const { bytes, at } = batch;
    let end = at;
    do {
      end += capsuleLengthAt(bytes, end);
      this.sentDatagrams++;
    } while (end < bytes.length && end + capsuleLengthAt(bytes, end) - at <= maxBytes);
    this.#advance(batch, end);
    return bytes.subarray(at, end);
  }

  clear(): void {
    this.#batches = [];
    this.#first = 0;
    this.queuedBytes = 0;
  }

  #pushRun(bytes: Uint8Array, offset: number, lengths: Int32Array, first: number, end: number, nowMs: number): number {
    if (first === end) return offset;
    const out = Buffer.allocUnsafeSlow(capsulesLength(lengths, first, end));
    let [from, at] = [offset, 0];
    for (let i = first; i < end; i++) {
      at = emitDatagramCapsule(out, at, bytes, from, lengths[i]!);
      from += lengths[i]!;
    }
    this.#batches.push({ bytes: out, queuedMs: nowMs, queuedClockMs: this.#clockMs, at: 0 });
    this.queuedBytes += out.length;
    return from;
  }

  #advanceClock(nowMs: number): void {
    this.#clockMs += Math.min(nowMs - this.#lastMs, MAX_GAP_MS);
    this.#lastMs = nowMs;
  }

  #isLate(batch: Batch, nowMs: number): boolean {
    return this.#clockMs - batch.queuedClockMs > MAX_WAIT_MS || nowMs - batch.queuedMs > MAX_AGE_MS;
  }

  #dropOldest(): void {
    const batch = this.#batches[this.#first]!;
    this.droppedDatagrams++;
    this.#advance(batch, batch.at + capsuleLengthAt(batch.bytes, batch.at));
  }

  #advance(batch: Batch, end: number): void {
    this.queuedBytes -= end - batch.at;
    batch.at = end;
    if (end < batch.bytes.length) return;
    this.#first++;
    if (this.#first === this.#batches.length || this.#first > 64) {
      this.#batches.splice(0, this.#first);
      this.#first = 0;
    }
  }
}

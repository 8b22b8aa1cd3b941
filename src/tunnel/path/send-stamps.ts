/**
 * When was packet number n sent? One stamp per batch, in a ring that forgets the oldest: an acknowledgement of something older gives no sample. Pure.
 */

const STAMPS = 1024;
/** While the ring would forget what was sent so lately, batches that leave within a moment share a stamp. */
const KEEP_MS = 2000;
const MOMENT_MS = 2;

export class SendStamps {
  /** Number of the last packet of each batch, and when the batch left. */
  readonly #lastNumber = new Float64Array(STAMPS);
  readonly #sentMs = new Float64Array(STAMPS);
  /** Bytes of data that had been sent by then. */
  readonly #sentBytes = new Float64Array(STAMPS);
  #count = 0;

  /** The highest packet number that was stamped, -1 before the first. */
  get lastNumber(): number {
    return this.#count === 0 ? -1 : this.#lastNumber[(this.#count - 1) % STAMPS]!;
  }

  startEpoch(): void {
    this.#count = 0;
  }

  /** The batch that ended with packet `lastNumber` left now. Numbers rise. */
  push(lastNumber: number, nowMs: number, sentBytes = 0): void {
    const shares = this.#isTooFast(nowMs);
    const index = (shares ? this.#count - 1 : this.#count) % STAMPS;
    this.#lastNumber[index] = lastNumber;
    this.#sentBytes[index] = sentBytes;
    if (shares) return;
    this.#sentMs[index] = nowMs;
    this.#count++;
  }

  /** The time of the first stays: a round trip may seem longer by a moment, never shorter. */
  #isTooFast(nowMs: number): boolean {
    if (this.#count < STAMPS) return false;
    const oldestMs = this.#sentMs[this.#count % STAMPS]!;
    const newestMs = this.#sentMs[(this.#count - 1) % STAMPS]!;
    return nowMs - oldestMs < KEEP_MS && nowMs - newestMs < MOMENT_MS;
  }

  /** Time of the batch that held packet `number`; -1 when it was not sent, or is forgotten. */
  find(number: number): number {
    const batch = this.#batchOf(number);
    return batch < 0 ? -1 : this.#sentMs[batch % STAMPS]!;
  }

  /** Bytes of data that had been sent when the batch that held packet `number` left; -1 as above. */
  sentBytes(number: number): number {
    const batch = this.#batchOf(number);
    return batch < 0 ? -1 : this.#sentBytes[batch % STAMPS]!;
  }

  #batchOf(number: number): number {
    const oldest = Math.max(0, this.#count - STAMPS);
    let low = oldest;
    let high = this.#count;
    // The first batch whose last number is not below the one that we look for.
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#lastNumber[middle % STAMPS]! < number) low = middle + 1;
      else high = middle;
    }
    if (low === this.#count) return -1;
    // Of the oldest batch kept we don't know where it began, unless it is the first of all.
    if (low === oldest && oldest > 0) return -1;
    return low;
  }
}

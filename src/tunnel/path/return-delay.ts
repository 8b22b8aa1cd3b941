/**
 * How much longer than it could the way back takes: the peer's clock in its acknowledgements against ours when they come, above the smallest difference
 * seen (as LEDBAT does for the way there; RFC 6817, 3.4.2). A queue on the way back is not one that our sending fills. Pure.
 */

/** Clocks drift apart by some 50 parts in a million; a minimum older than both buckets is forgotten. */
const BUCKET_MS = 60_000;
const SMOOTHING = 1 / 4;
/** A difference so far from all before is a clock that was set. */
const CLOCK_LEAP_MS = 60_000;
/** The peer's clock counts modulo 2^32 tenths of a millisecond. */
const WRAP_MS = 2 ** 32 / 10;

export class ReturnDelay {
  /** Of the newest sample or smoothed, what is less: too much would make a round trip look shorter than the path. 0 before the first sample. */
  excessMs = 0;
  #smoothedMs = 0;
  #firstMs = Number.NaN;
  #bucketMinMs = Number.POSITIVE_INFINITY;
  #previousMinMs = Number.POSITIVE_INFINITY;
  #bucketStartMs = 0;

  /** `peerSentMs`: the peer's clock, modulo 2^32 / 10, when what has come now left it. */
  handleSample(peerSentMs: number, nowMs: number): void {
    const rawMs = nowMs - peerSentMs;
    if (Number.isNaN(this.#firstMs)) this.#firstMs = rawMs;
    const sinceFirstMs = rawMs - this.#firstMs;
    // The nearest to zero of those that the peer's clock cannot tell apart.
    const differenceMs = sinceFirstMs - WRAP_MS * Math.round(sinceFirstMs / WRAP_MS);
    if (Math.abs(differenceMs - this.#minMs()) > CLOCK_LEAP_MS && this.#minMs() !== Number.POSITIVE_INFINITY) {
      this.#restart(nowMs);
    } else if (nowMs - this.#bucketStartMs > BUCKET_MS) {
      this.#previousMinMs = this.#bucketMinMs;
      this.#bucketMinMs = Number.POSITIVE_INFINITY;
      this.#bucketStartMs = nowMs;
    }
    if (differenceMs < this.#bucketMinMs) this.#bucketMinMs = differenceMs;
    const newestMs = differenceMs - this.#minMs();
    this.#smoothedMs += SMOOTHING * (newestMs - this.#smoothedMs);
    this.excessMs = Math.min(newestMs, this.#smoothedMs);
  }

  #minMs(): number {
    return Math.min(this.#bucketMinMs, this.#previousMinMs);
  }

  #restart(nowMs: number): void {
    this.#bucketMinMs = Number.POSITIVE_INFINITY;
    this.#previousMinMs = Number.POSITIVE_INFINITY;
    this.#bucketStartMs = nowMs;
    this.#smoothedMs = 0;
  }
}

/** Round trip of a path: smoothed as in RFC 6298 (2.2, 2.3), and the minimum of the last ten seconds. Pure. */

const ALPHA = 1 / 8;
const BETA = 1 / 4;
const MIN_BUCKET_MS = 1000;
const MIN_BUCKETS = 10;

export class RttEstimator {
  #srttMs = -1;
  #assumed = false;
  #rttvarMs = 0;
  #minRttMs = -1;
  readonly #bucketMinMs = new Float64Array(MIN_BUCKETS).fill(Infinity);
  #bucketNumber = -1;

  /** -1 before the first sample. */
  get srttMs(): number {
    return this.#srttMs;
  }

  get rttvarMs(): number {
    return this.#rttvarMs;
  }

  /** -1 before the first sample. */
  get minRttMs(): number {
    return this.#minRttMs;
  }

  /** An upper bound, which holds until the first sample. */
  assume(rttMs: number): void {
    if (this.#srttMs >= 0) return;
    this.#assumed = true;
    this.#srttMs = rttMs;
    this.#rttvarMs = rttMs / 2;
  }

  /** `ackDelayMs`: how long the receiver says it waited; never lets a sample fall below the minimum (RFC 9002, 5.3). */
  handleSample(sampleMs: number, ackDelayMs: number, nowMs: number): void {
    if (!(sampleMs >= 0)) return;
    this.#updateMin(sampleMs, nowMs);
    const adjustedMs = sampleMs - ackDelayMs >= this.#minRttMs ? sampleMs - ackDelayMs : sampleMs;
    if (this.#srttMs < 0 || this.#assumed) {
      this.#assumed = false;
      this.#srttMs = adjustedMs;
      this.#rttvarMs = adjustedMs / 2;
      return;
    }
    this.#rttvarMs += BETA * (Math.abs(this.#srttMs - adjustedMs) - this.#rttvarMs);
    this.#srttMs += ALPHA * (adjustedMs - this.#srttMs);
  }

  #updateMin(sampleMs: number, nowMs: number): void {
    const number = Math.floor(nowMs / MIN_BUCKET_MS);
    if (this.#bucketNumber < 0) this.#bucketNumber = number;
    const passed = Math.min(number - this.#bucketNumber, MIN_BUCKETS);
    for (let i = 1; i <= passed; i++) this.#bucketMinMs[(number - passed + i) % MIN_BUCKETS] = Infinity;
    this.#bucketNumber = number;
    const index = number % MIN_BUCKETS;
    if (sampleMs < this.#bucketMinMs[index]!) this.#bucketMinMs[index] = sampleMs;
    let minimum = Infinity;
    for (let i = 0; i < MIN_BUCKETS; i++) minimum = Math.min(minimum, this.#bucketMinMs[i]!);
    this.#minRttMs = minimum;
  }
}

/** Two sums over a sliding window, in buckets of time: constant memory, no allocation after construction. Pure. */
export class SlidingSum {
  readonly #bucketMs: number;
  readonly #first: Float64Array;
  readonly #second: Float64Array;
  #bucketNumber = -1;
  #startedMs = -1;
  #firstTotal = 0;
  #secondTotal = 0;

  constructor(windowMs: number, buckets: number) {
    this.#bucketMs = windowMs / buckets;
    this.#first = new Float64Array(buckets);
    this.#second = new Float64Array(buckets);
  }

  get first(): number {
    return this.#firstTotal;
  }

  get second(): number {
    return this.#secondTotal;
  }

  add(first: number, second: number, nowMs: number): void {
    this.advance(nowMs);
    const index = this.#bucketNumber % this.#first.length;
    this.#first[index] = this.#first[index]! + first;
    this.#second[index] = this.#second[index]! + second;
    this.#firstTotal += first;
    this.#secondTotal += second;
  }

  /** Forgets what is older than the window. */
  advance(nowMs: number): void {
    const number = Math.floor(nowMs / this.#bucketMs);
    if (this.#bucketNumber < 0) {
      this.#bucketNumber = number;
      this.#startedMs = nowMs;
    }
    const passed = Math.min(number - this.#bucketNumber, this.#first.length);
    if (passed <= 0) return;
    for (let i = 1; i <= passed; i++) {
      const index = (number - passed + i) % this.#first.length;
      this.#firstTotal -= this.#first[index]!;
      this.#secondTotal -= this.#second[index]!;
      this.#first[index] = 0;
      this.#second[index] = 0;
    }
    this.#bucketNumber = number;
  }

  /** How much time the sums stand for: the window, or less in the beginning, but at least one bucket. */
  spanMs(nowMs: number): number {
    if (this.#startedMs < 0) return this.#bucketMs;
    const sinceBucketMs = nowMs - this.#bucketNumber * this.#bucketMs;
    const windowMs = (this.#first.length - 1) * this.#bucketMs + sinceBucketMs;
    return Math.max(this.#bucketMs, Math.min(windowMs, nowMs - this.#startedMs));
  }
}

/**
 * What lately waited on a path's way back, by time: acknowledgements that a shrinking queue there lets through close together say nothing of the way
 * there. One for all flows of a path. Pure.
 */

/** Denser notes would not be more true: the path layer hears of it as often at most. */
const SPACING_MS = 3;
/** Some 1.5 s. */
const CAPACITY = 512;

export class ReturnHistory {
  readonly #atMs = new Float64Array(CAPACITY).fill(Number.NEGATIVE_INFINITY);
  readonly #delayMs = new Float64Array(CAPACITY);
  #newest = 0;

  note(nowMs: number, delayMs: number): void {
    if (nowMs - this.#atMs[this.#newest]! < SPACING_MS) return;
    this.#newest = (this.#newest + 1) % CAPACITY;
    this.#atMs[this.#newest] = nowMs;
    this.#delayMs[this.#newest] = delayMs;
  }

  /** The newest note that is not younger; the oldest that there is, where all are. */
  before(ms: number): number {
    let at = this.#newest;
    for (let i = 1; i < CAPACITY && this.#atMs[at]! > ms; i++) {
      const older = (at + CAPACITY - 1) % CAPACITY;
      if (this.#atMs[older] === Number.NEGATIVE_INFINITY) break;
      at = older;
    }
    return this.#delayMs[at]!;
  }
}

/** Which probes went out and when: a reply counts only when it is for one of the last few. Pure. */

const REMEMBERED = 64;

export class ProbeLedger {
  readonly #sentMs = new Float64Array(REMEMBERED).fill(-1);
  #nextId = 0;

  /** The number that the next probe gets. */
  get nextId(): number {
    return this.#nextId;
  }

  /** The number of the probe that leaves now. */
  issue(nowMs: number): number {
    const id = this.#nextId;
    this.#nextId = (id + 1) >>> 0;
    this.#sentMs[id % REMEMBERED] = nowMs;
    return id;
  }

  /** When probe `id` left, once; -1 when it was not sent lately, or was answered already. */
  redeem(id: number): number {
    const age = (this.#nextId - id) >>> 0;
    if (age === 0 || age > REMEMBERED) return -1;
    const index = id % REMEMBERED;
    const sentMs = this.#sentMs[index]!;
    this.#sentMs[index] = -1;
    return sentMs;
  }
}

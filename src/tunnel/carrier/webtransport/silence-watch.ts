/** Notices that nothing comes back from where datagrams go. Who says nothing is not owed an answer. Time comes in. */

/** So many datagrams are answered somehow, a few may be lost. */
const MIN_OFFERED = 3;
/** Looks are more often than that; else we were held up ourselves, and know nothing. */
const MAX_GAP_MS = 1000;

export class SilenceWatch {
  #received = -1;
  /** When something last came. */
  #offeredThen = 0;
  /** When it was first seen that something had gone out since. */
  #sinceMs = Infinity;
  #lookedMs = -Infinity;

  /** For how long there has been no answer; 0: there is nothing wrong. `offered` and `received`: ever. */
  look(offered: number, received: number, nowMs: number): number {
    if (received !== this.#received || nowMs - this.#lookedMs > MAX_GAP_MS) {
      this.#received = received;
      this.#offeredThen = offered;
      this.#sinceMs = Infinity;
    } else if (offered > this.#offeredThen && this.#sinceMs === Infinity) {
      this.#sinceMs = nowMs;
    }
    this.#lookedMs = nowMs;
    return offered - this.#offeredThen < MIN_OFFERED || this.#sinceMs === Infinity ? 0 : nowMs - this.#sinceMs;
  }
}

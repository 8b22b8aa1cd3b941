/** Does data vanish on a path, so that its size may be why? Pure. */

export interface CarriedData {
  /** Of the planes' packets, ever, and those of them after the newest that was acknowledged. */
  readonly dataBytes: number;
  readonly inflightBytes: number;
  readonly lossRatio: number;
  /** In all. */
  readonly lostDatagrams: number;
}

const LOSS_RATIO = 0.05;
/** The ratio is of several seconds, with whatever was carried before: so many within one are a sign, too. */
const LOST_DATAGRAMS = 3;
const LOSS_WINDOW_MS = 1000;
/** Data that nothing acknowledges for so long. */
const STUCK_AFTER_MS = 800;

export class LossWatch {
  /** Nothing of it arrives. */
  isStuck = false;
  losesSome = false;
  #passedBytes = 0;
  #passedMs = 0;
  #lostDatagrams = 0;
  #windowMs = 0;

  /** Some times a second. */
  update({ dataBytes, inflightBytes, lossRatio, lostDatagrams }: CarriedData, nowMs: number): void {
    const passedBytes = dataBytes - inflightBytes;
    if (inflightBytes === 0 || passedBytes !== this.#passedBytes) {
      this.#passedBytes = passedBytes;
      this.#passedMs = nowMs;
    }
    this.isStuck = nowMs - this.#passedMs >= STUCK_AFTER_MS;
    if (nowMs - this.#windowMs < LOSS_WINDOW_MS) return;
    this.losesSome = lossRatio >= LOSS_RATIO || lostDatagrams - this.#lostDatagrams >= LOST_DATAGRAMS;
    this.#lostDatagrams = lostDatagrams;
    this.#windowMs = nowMs;
  }
}

/** How far deliveries run ahead of the bandwidth for a while, as where ACKs come in bunches (draft-ietf-ccwg-bbr, 5.5.9). */
import type { AckSample } from './congestion-control.js';

/** Rounds that each half of the extra_acked filter lasts. */
const EXTRA_ACKED_HALF_ROUNDS = 5;
/** Of what ran ahead, a leap of the RTT and a few milliseconds are taken for aggregation. */
const EXTRA_ACKED_LEAPS = 1;
const EXTRA_ACKED_MIN_MS = 3;
/** At most so much time's worth of bandwidth is granted for aggregation. */
const EXTRA_ACKED_MAX_MS = 100;

export class AckAggregation {
  /** Bytes by which the window must be larger so that a bunch of ACKs does not find the path empty. */
  extraAckedBytes = 0;
  #epochStartMs: number;
  #epochDeliveredBytes = 0;
  #extraCurrent = 0;
  #extraPrevious = 0;
  #rounds = 0;

  constructor(nowMs: number) {
    this.#epochStartMs = nowMs;
  }

  onAck(sample: AckSample, bandwidthBytesPerSec: number, jitterMs: number): void {
    const expectedBytes = (bandwidthBytesPerSec * (sample.nowMs - this.#epochStartMs)) / 1000;
    if (this.#epochDeliveredBytes <= expectedBytes) {
      this.#epochDeliveredBytes = sample.deliveredBytes;
      this.#epochStartMs = sample.nowMs;
      return;
    }
    this.#epochDeliveredBytes += sample.deliveredBytes;
    const limitBytes = (bandwidthBytesPerSec * EXTRA_ACKED_MAX_MS) / 1000;
    const extraBytes = Math.min(this.#epochDeliveredBytes - expectedBytes, limitBytes);
    if (extraBytes > this.#extraCurrent) this.#extraCurrent = extraBytes;
    // Where ACKs do not come in bunches, deliveries ahead of the estimate are a better share of the path, not aggregation.
    const bunchBytes = (bandwidthBytesPerSec * (EXTRA_ACKED_MIN_MS + EXTRA_ACKED_LEAPS * jitterMs)) / 1000;
    this.extraAckedBytes = Math.min(bunchBytes, Math.max(this.#extraCurrent, this.#extraPrevious));
  }

  onRoundEnd(): void {
    if (++this.#rounds < EXTRA_ACKED_HALF_ROUNDS) return;
    this.#rounds = 0;
    this.#extraPrevious = this.#extraCurrent;
    this.#extraCurrent = 0;
    this.extraAckedBytes = this.#extraPrevious;
  }
}

/** HyStart++ (RFC 9406): leaves slow start on a rise of the round-trip time, by way of conservative slow start. */
import type { AckSample } from './congestion-control.js';

/** RFC 9406, 4.3. */
const MIN_RTT_THRESH_MS = 4;
const MAX_RTT_THRESH_MS = 16;
const MIN_RTT_DIVISOR = 8;
const N_RTT_SAMPLE = 8;
const CSS_GROWTH_DIVISOR = 4;
const CSS_ROUNDS = 5;

export class HyStart {
  /** Slow start is over. */
  done = false;
  /** Divides the window's growth: 1, or 4 in conservative slow start. */
  growthDivisor = 1;
  #roundEndBytes = 0;
  #lastRoundMinRttMs = Number.POSITIVE_INFINITY;
  #currentRoundMinRttMs = Number.POSITIVE_INFINITY;
  #sampleCount = 0;
  #cssBaselineMinRttMs = Number.POSITIVE_INFINITY;
  #cssRoundCount = 0;

  onAck(sample: AckSample): void {
    if (this.done) return;
    if (sample.priorDeliveredBytes >= this.#roundEndBytes) this.#startRound(sample.totalDeliveredBytes);
    if (sample.rttMs <= 0) return;
    this.#sampleCount++;
    if (sample.rttMs < this.#currentRoundMinRttMs) this.#currentRoundMinRttMs = sample.rttMs;
    if (this.#sampleCount < N_RTT_SAMPLE) return;
    if (this.growthDivisor > 1) {
      // The rise was spurious: back to slow start.
      if (this.#currentRoundMinRttMs < this.#cssBaselineMinRttMs) this.growthDivisor = 1;
      return;
    }
    if (!Number.isFinite(this.#lastRoundMinRttMs)) return;
    const thresholdMs = Math.max(MIN_RTT_THRESH_MS, Math.min(this.#lastRoundMinRttMs / MIN_RTT_DIVISOR, MAX_RTT_THRESH_MS));
    if (this.#currentRoundMinRttMs < this.#lastRoundMinRttMs + thresholdMs) return;
    this.#cssBaselineMinRttMs = this.#currentRoundMinRttMs;
    this.#cssRoundCount = 0;
    this.growthDivisor = CSS_GROWTH_DIVISOR;
  }

  #startRound(totalDeliveredBytes: number): void {
    this.#roundEndBytes = totalDeliveredBytes;
    this.#lastRoundMinRttMs = this.#currentRoundMinRttMs;
    this.#currentRoundMinRttMs = Number.POSITIVE_INFINITY;
    this.#sampleCount = 0;
    if (this.growthDivisor === 1) return;
    this.#cssRoundCount++;
    if (this.#cssRoundCount >= CSS_ROUNDS) this.done = true;
  }
}

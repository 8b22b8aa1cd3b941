/**
 * A path's capacity by the dispersion of packet trains: what leaves at once arrives at the rate of the narrowest link, and its
 * acknowledgements tell (Dovrolis, Ramanathan, Moore, "Packet-dispersion techniques and a capacity-estimation methodology", ToN 2004). Crude, as
 * jitter and link-layer aggregation are in it; but it comes with the first round trip, where doubling would need many.
 */
import type { AckSample } from './congestion-control.js';

/** A train shorter than this, after the acknowledgement that begins it, says nothing. */
const MIN_TRAIN_SEGMENTS = 8;
const MIN_TRAINS = 4;
const MAX_TRAINS = 16;
const MIN_INTERVAL_MS = 0.1;

export class TrainDispersion {
  #ratesBytesPerSec: number[] = [];
  #sentMs = -1;
  #startMs = 0;
  #lastMs = 0;
  #bytes = 0;

  /** Every ACK that delivers something. What was sent in one moment is a train. */
  onAck(sample: AckSample, mssBytes: number): void {
    if (sample.newestSentMs < 0) return;
    if (sample.newestSentMs === this.#sentMs) {
      this.#bytes += sample.deliveredBytes;
      this.#lastMs = sample.nowMs;
      return;
    }
    const durationMs = this.#lastMs - this.#startMs;
    if (this.#bytes >= MIN_TRAIN_SEGMENTS * mssBytes && this.#ratesBytesPerSec.length < MAX_TRAINS)
      this.#ratesBytesPerSec.push((this.#bytes * 1000) / Math.max(MIN_INTERVAL_MS, durationMs));
    this.#sentMs = sample.newestSentMs;
    this.#startMs = sample.nowMs;
    this.#lastMs = sample.nowMs;
    this.#bytes = 0;
  }

  /** The median of all trains, 0 while there are too few. */
  get capacityBytesPerSec(): number {
    const rates = this.#ratesBytesPerSec;
    if (rates.length < MIN_TRAINS) return 0;
    return [...rates].sort((a, b) => a - b)[rates.length >> 1] as number;
  }
}

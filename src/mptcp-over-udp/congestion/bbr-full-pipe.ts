/** When BBR's Startup has found the path's bandwidth (draft-ietf-ccwg-bbr, 5.3.1.2 and 5.3.1.3). */
import type { BbrPathModel } from './bbr-path-model.js';

const FULL_BANDWIDTH_GROWTH = 1.25;
const FULL_BANDWIDTH_ROUNDS = 3;
/** Rounds that grow, but bring less than this part of the bandwidth: it is of a lucky packet, and ends nothing. */
const BELIEVED_RATIO = 0.7;
/** A round without growth that loses this much has found the path's end, and so has one with a queue of half a base RTT. */
const CONGESTION_LOSS_RATIO = 0.1;
const QUEUE_RTT_RATIO = 0.5;
/** Delivered at this part of the capacity that trains of packets have shown, without growth: that is all. */
const AGREED_RATIO = 0.9;
/** A round that loses this much has overrun the path, even if bandwidth still seems to grow. */
const STARTUP_LOSS_RATIO = 0.2;

export class FullPipeCheck {
  #fullBandwidthBytesPerSec = 0;
  #roundsWithoutGrowth = 0;
  #lastRoundBytesPerSec = 0;

  /** On a long path a round is too long to wait for its end while it overruns: what is lost by now may tell. */
  isOverrun(model: BbrPathModel, totalDeliveredBytes: number): boolean {
    return model.runningLossRatio(totalDeliveredBytes) > STARTUP_LOSS_RATIO;
  }

  /** `queueMs`: delay that neither the path nor its jitter explains; `capacityBytesPerSec`: by packet trains, 0 unknown. True when the pipe is full. */
  onRoundEnd(model: BbrPathModel, queueMs: number, capacityBytesPerSec: number): boolean {
    if (model.roundAppLimited) return false;
    const overrun = model.roundLossRatio > STARTUP_LOSS_RATIO;
    const bandwidth = model.maxBandwidthBytesPerSec;
    const grew = model.roundRateBytesPerSec >= this.#lastRoundBytesPerSec * FULL_BANDWIDTH_GROWTH;
    this.#lastRoundBytesPerSec = model.roundRateBytesPerSec;
    if (bandwidth >= this.#fullBandwidthBytesPerSec * FULL_BANDWIDTH_GROWTH) {
      this.#fullBandwidthBytesPerSec = bandwidth;
      this.#roundsWithoutGrowth = 0;
      return overrun;
    }
    if (!grew || model.roundRateBytesPerSec >= BELIEVED_RATIO * bandwidth) this.#roundsWithoutGrowth++;
    const overflowing = model.roundLossRatio > CONGESTION_LOSS_RATIO || queueMs > QUEUE_RTT_RATIO * model.baseRttMs;
    // Two measures of one rate that agree need no third.
    const agreed = capacityBytesPerSec > 0 && bandwidth >= AGREED_RATIO * capacityBytesPerSec;
    return overrun || overflowing || agreed || this.#roundsWithoutGrowth >= FULL_BANDWIDTH_ROUNDS;
  }
}

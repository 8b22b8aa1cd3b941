/**
 * BBR's Startup where a doubling takes long: the first window leaves in trains, their dispersion tells the path's capacity, and with it Startup needs fewer
 * doublings and does not overrun the path by the last one. In the manner of Careful Resume (draft-ietf-tsvwg-careful-resume), with a capacity that was just
 * measured instead of one that is remembered.
 */
import type { BbrPathModel } from './bbr-path-model.js';
import { TrainDispersion } from './bbr-train.js';
import type { AckSample } from './congestion-control.js';

const FIRST_WINDOW_TRAINS = 8;
/** What Startup goes on with once the capacity is known: this part of it, since others may use the path, and no more than so many first windows. */
const JUMP_RATIO = 0.5;
const MAX_JUMP_WINDOWS = 4;
/** Startup goes no further beyond the capacity than this; where more than the other ratio of it is delivered, the estimate was wrong. */
const CAPACITY_MARGIN = 1.2;
const DISPROVED_RATIO = 1.1;

export class LongStart {
  readonly trainBytes: number;
  readonly #firstWindowBytes: number;
  readonly #trains = new TrainDispersion();
  #jumped = false;
  #disproved = false;

  constructor(firstWindowBytes: number) {
    this.#firstWindowBytes = firstWindowBytes;
    this.trainBytes = firstWindowBytes / FIRST_WINDOW_TRAINS;
  }

  /** 0 unknown. */
  get capacityBytesPerSec(): number {
    return this.#disproved ? 0 : this.#trains.capacityBytesPerSec;
  }

  /** Most that Startup may send at, Infinity where nothing is known. */
  get boundBytesPerSec(): number {
    const { capacityBytesPerSec } = this;
    return capacityBytesPerSec > 0 ? CAPACITY_MARGIN * capacityBytesPerSec : Number.POSITIVE_INFINITY;
  }

  /** Each ACK of Startup, after the model has seen it. The window to go on with, once, when the capacity has become known; else 0. */
  onAck(sample: AckSample, model: BbrPathModel): number {
    if (this.#disproved) return 0;
    this.#trains.onAck(sample, model.mssBytes);
    const { capacityBytesPerSec } = this.#trains;
    if (capacityBytesPerSec <= 0 || model.baseRttMs <= 0) return 0;
    if (model.maxBandwidthBytesPerSec > DISPROVED_RATIO * capacityBytesPerSec) this.#disproved = true;
    if (this.#jumped || this.#disproved || !model.alone(sample.nowMs)) return 0;
    this.#jumped = true;
    return Math.min((JUMP_RATIO * capacityBytesPerSec * model.baseRttMs) / 1000, MAX_JUMP_WINDOWS * this.#firstWindowBytes);
  }
}

/**
 * What a path can take, for flows that are spread packet by packet. Datagrams have no congestion control of ours, so this limits nobody: it tells
 * where the next packet arrives first, and which path is full. The capacity is the most that was delivered lately; a path
 * is full when more is on its way than that explains, so an offer that is larger than the estimate raises it. Pure.
 */

import type { PathLink } from '../link.js';

/** A sample spans a round trip, and enough acknowledgements that their own rhythm does not matter. */
const SAMPLE_MIN_MS = 50;
const BUCKET_MS = 300;
const BUCKETS = 10;
/** Growth that an estimate allows over itself in a round trip. */
const GAIN = 1.15;
/** The peer acknowledges after 25 ms or 32 datagrams: what is on its way only because nothing was said yet. */
const ACK_LAG_MS = 30;
const ACK_LAG_MAX_BYTES = 60_000;
const SLACK_BYTES = 15_000;
/** Before the first estimate: what a TCP would begin with, thrice. */
const FIRST_WINDOW_BYTES = 45_000;
/** Nothing was acknowledged for so long, beyond two round trips: what was on its way is lost, not waiting. */
const STALE_MS = 1000;
/** More than the peer's acknowledgement delay. */
const STALLED_MS = 45;
/** So much delay a burst may cause on the first path before it goes on to others. */
const BURST_MS = 8;
/** A round trip longer by this is a queue, and so much loss a short one. */
const QUEUE_MIN_MS = 3;
const QUEUE_SHARE = 0.1;
const DROPPING = 0.02;
/** As for min-delay: 5 % of loss weigh as much as a doubled delay. */
const LOSS_WEIGHT = 20;

export class PathLoad {
  readonly #bucketRates = new Float64Array(BUCKETS);
  #bucketNumber = -1;
  #capacity = 0;
  #deliveredBytes = -1;
  #sampleBytes = 0;
  #sampleStartMs = 0;
  #progressMs = 0;
  #lostBytes = 0;
  #inflightBytes = 0;

  /** The most that was carried lately, bytes per second; 0 before the first measurement. */
  get capacityBytesPerSec(): number {
    return this.#capacity;
  }

  /** Call before asking, with every packet: cheap while nothing was acknowledged. */
  update(path: PathLink, nowMs: number): void {
    const delivered = path.deliveredBytes;
    if (delivered !== this.#deliveredBytes) this.#noteDelivered(path, delivered, nowMs);
    const raw = path.inflightBytes;
    if (raw <= 0) this.#progressMs = nowMs;
    if (nowMs - this.#progressMs > STALE_MS + 2 * Math.max(0, path.rttMs)) {
      this.#lostBytes = raw;
      this.#progressMs = nowMs;
    }
    this.#inflightBytes = Math.max(0, raw - this.#lostBytes);
  }

  /** How full, 1: more on its way than the path was seen to carry. */
  fullness(path: PathLink): number {
    const fullness = this.#inflightBytes / this.#windowBytes(path);
    return path.heldMs < BURST_MS ? fullness : Math.max(1, fullness);
  }

  /** It shows that the path is full: packets wait in a queue there for longer than a burst explains, or are dropped. */
  isQueueing(path: PathLink, nowMs: number): boolean {
    if (path.heldMs >= BURST_MS) return true;
    // Or nothing is acknowledged any more.
    if (nowMs - this.#progressMs > path.minRttMs + STALLED_MS) return true;
    if (this.arrivalMs(path) - path.minRttMs / 2 < BURST_MS) return false;
    return path.rttMs - path.minRttMs > Math.max(QUEUE_MIN_MS, QUEUE_SHARE * path.minRttMs) || path.lossRatio > DROPPING;
  }

  /** When a packet sent now would arrive, as things look; what is lost counts as late. */
  arrivalMs(path: PathLink): number {
    if (path.minRttMs < 0) return Number.POSITIVE_INFINITY;
    const measuredMs = path.rttMs - path.minRttMs / 2;
    const queuedMs = this.#capacity > 0 ? (this.#inflightBytes * 1000) / this.#capacity - path.minRttMs - ACK_LAG_MS : 0;
    const plannedMs = path.minRttMs / 2 + Math.max(0, queuedMs);
    return (path.heldMs + Math.max(measuredMs, plannedMs)) * (1 + LOSS_WEIGHT * path.lossRatio);
  }

  #windowBytes(path: PathLink): number {
    if (this.#capacity === 0) return FIRST_WINDOW_BYTES;
    const perMs = this.#capacity / 1000;
    return GAIN * perMs * Math.max(0, path.minRttMs) + Math.min(ACK_LAG_MAX_BYTES, perMs * ACK_LAG_MS) + SLACK_BYTES;
  }

  #noteDelivered(path: PathLink, delivered: number, nowMs: number): void {
    this.#progressMs = nowMs;
    this.#lostBytes = 0;
    if (this.#deliveredBytes < 0) {
      this.#sampleBytes = delivered;
      this.#sampleStartMs = nowMs;
    }
    this.#deliveredBytes = delivered;
    const spanMs = nowMs - this.#sampleStartMs;
    if (spanMs < Math.max(SAMPLE_MIN_MS, path.rttMs)) return;
    this.#addRate(((delivered - this.#sampleBytes) * 1000) / spanMs, nowMs);
    this.#sampleBytes = delivered;
    this.#sampleStartMs = nowMs;
  }

  /** The maximum of the last three seconds. */
  #addRate(bytesPerSec: number, nowMs: number): void {
    const number = Math.floor(nowMs / BUCKET_MS);
    const passed = this.#bucketNumber < 0 ? BUCKETS : Math.min(BUCKETS, number - this.#bucketNumber);
    for (let i = 0; i < passed; i++) this.#bucketRates[(number - i) % BUCKETS] = 0;
    this.#bucketNumber = number;
    const at = number % BUCKETS;
    this.#bucketRates[at] = Math.max(this.#bucketRates[at]!, bytesPerSec);
    this.#capacity = 0;
    for (let i = 0; i < BUCKETS; i++) this.#capacity = Math.max(this.#capacity, this.#bucketRates[i]!);
  }
}

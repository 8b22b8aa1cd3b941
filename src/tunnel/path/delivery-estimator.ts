/**
 * Loss and delivery rate of our direction of a path, from the peer's acknowledgements. A packet number counts every datagram that was sent
 * under an epoch, so the distance between two acknowledged numbers is what was sent and the peer's totals are what arrived. Pure.
 */

import { SlidingSum } from './sliding-sum.js';

const LOSS_WINDOW_MS = 5000;
const RATE_WINDOW_MS = 1000;

export class DeliveryEstimator {
  readonly #loss = new SlidingSum(LOSS_WINDOW_MS, 10);
  readonly #rate = new SlidingSum(RATE_WINDOW_MS, 10);
  #largestAcked = -1;
  #receivedDatagrams = 0;
  #receivedBytes = 0;
  /** Of all epochs. */
  #deliveredBytes = 0;
  #lossRatio = 0;
  #rateBytesPerSec = 0;
  #excusedDatagrams = 0;
  #lostDatagrams = 0;

  /** -1 before the first acknowledgement of the epoch. */
  get largestAcked(): number {
    return this.#largestAcked;
  }

  get deliveredBytes(): number {
    return this.#deliveredBytes;
  }

  get lossRatio(): number {
    return this.#lossRatio;
  }

  /** In all: of those that were sent before one that arrived. */
  get lostDatagrams(): number {
    return this.#lostDatagrams;
  }

  get rateBytesPerSec(): number {
    return this.#rateBytesPerSec;
  }

  /** Packet numbers and the peer's totals start again from 0. */
  startEpoch(): void {
    this.#largestAcked = -1;
    this.#receivedDatagrams = 0;
    this.#receivedBytes = 0;
  }

  /** So many datagrams that were sent are no loss if they do not arrive: probes of a size. Negative: they have arrived. */
  excuse(datagrams: number): void {
    this.#excusedDatagrams += datagrams;
  }

  /** False when it is old news (an acknowledgement that was overtaken): nothing is counted. */
  handleAck(largest: number, receivedDatagrams: number, receivedBytes: number, nowMs: number): boolean {
    if (largest < this.#largestAcked || receivedDatagrams < this.#receivedDatagrams || receivedBytes < this.#receivedBytes) return false;
    const sentDatagrams = largest - this.#largestAcked - this.#excusedDatagrams;
    this.#loss.add(sentDatagrams, receivedDatagrams - this.#receivedDatagrams, nowMs);
    this.#lostDatagrams += sentDatagrams - (receivedDatagrams - this.#receivedDatagrams);
    this.#excusedDatagrams = 0;
    this.#rate.add(receivedBytes - this.#receivedBytes, 0, nowMs);
    this.#deliveredBytes += receivedBytes - this.#receivedBytes;
    this.#largestAcked = largest;
    this.#receivedDatagrams = receivedDatagrams;
    this.#receivedBytes = receivedBytes;
    this.update(nowMs);
    return true;
  }

  /** Lets old samples go when no acknowledgement comes. */
  update(nowMs: number): void {
    this.#loss.advance(nowMs);
    this.#rate.advance(nowMs);
    const sent = this.#loss.first;
    this.#lossRatio = sent > 0 ? Math.min(1, Math.max(0, 1 - this.#loss.second / sent)) : 0;
    this.#rateBytesPerSec = (this.#rate.first * 1000) / this.#rate.spanMs(nowMs);
  }
}

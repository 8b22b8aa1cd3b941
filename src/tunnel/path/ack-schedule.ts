/**
 * The receiving side of one path under one epoch: what arrived, and when the next path acknowledgement is due. Data asks for one (after
 * 32 datagrams or 25 ms, and not more often than every 5 ms); control frames are counted but ask for none, or two peers would answer each other for ever. Pure.
 */

const ACK_AFTER_DATAGRAMS = 32;
const ACK_AFTER_MS = 25;
const ACK_SPACING_MS = 5;

export class AckSchedule {
  /** Highest packet number seen, -1 before the first. */
  largest = -1;
  largestReceivedMs = 0;
  receivedDatagrams = 0;
  /** UDP payload bytes. */
  receivedBytes = 0;
  #owedDatagrams = 0;
  #firstOwedMs = 0;
  #lastAckMs = -Infinity;

  handleReceived(largest: number, datagrams: number, bytes: number, isData: boolean, nowMs: number): void {
    if (largest > this.largest) {
      this.largest = largest;
      this.largestReceivedMs = nowMs;
    }
    this.receivedDatagrams += datagrams;
    this.receivedBytes += bytes;
    if (!isData) return;
    if (this.#owedDatagrams === 0) this.#firstOwedMs = nowMs;
    this.#owedDatagrams += datagrams;
  }

  /** Absolute, Infinity when none is owed. */
  dueMs(): number {
    if (this.#owedDatagrams === 0) return Infinity;
    if (this.#owedDatagrams >= ACK_AFTER_DATAGRAMS) return Math.max(this.#firstOwedMs, this.#lastAckMs + ACK_SPACING_MS);
    return this.#firstOwedMs + ACK_AFTER_MS;
  }

  handleAckSent(nowMs: number): void {
    this.#owedDatagrams = 0;
    this.#lastAckMs = nowMs;
  }
}

/**
 * How many bytes of compressed header the payload size of a path leaves room for. A byte more costs every datagram one; a byte too few costs each super-segment
 * that needs it one datagram more. Another size than before is dear as well: what was cut for the old one and has to be sent again fits the new one badly, so that
 * each segment becomes two datagrams, just where a link has dropped packets already. So sizes change seldom, and what follows a change does not cause the next.
 */

/** Longer by so much than the shortest it does not get: a long packet number, 34 bytes. */
const LENGTHS = 31;
const WINDOW_MS = 2000;
/** Thought over sooner when so many super-segments did not fit. */
const MANY_EXCEEDED = 16;
/** Until what was cut before a change has been acknowledged, or lost and sent again. */
const SETTLE_ROUND_TRIPS = 4;
/** So many windows in a row must ask for less. */
const LOWER_WINDOWS = 10;
/** What a super-segment costs that has to be cut into one datagram more: outer headers, tag, ours. */
const EXTRA_DATAGRAM_BYTES = 70;

export class HeaderAllowance {
  /** Beyond the shortest header. */
  bytes = 0;
  /** Super-segments in this window by what they needed beyond the shortest header; and datagrams. */
  readonly #counts = new Int32Array(LENGTHS);
  #datagrams = 0;
  #exceededCount = 0;
  #windowEndsMs = 0;
  /** After a change; Infinity: settled. */
  #settlesAtMs = Number.POSITIVE_INFINITY;
  #lowerWindows = 0;

  /** A super-segment was cut into `datagrams`, each with so many bytes beyond the shortest header. */
  note(neededBytes: number, datagrams: number): void {
    this.#counts[Math.max(0, Math.min(LENGTHS - 1, neededBytes))]!++;
    this.#datagrams += datagrams;
    if (neededBytes > this.bytes) this.#exceededCount++;
  }

  /** Now and then: decides anew. */
  update(nowMs: number, rttMs: number): void {
    if (this.#settlesAtMs !== Number.POSITIVE_INFINITY) {
      if (nowMs < this.#settlesAtMs) return;
      this.#settlesAtMs = Number.POSITIVE_INFINITY;
      this.#startWindow(nowMs);
    }
    if (this.#exceededCount < MANY_EXCEEDED && nowMs < this.#windowEndsMs) return;
    const bytes = this.#cheapest();
    this.#lowerWindows = bytes < this.bytes && this.#datagrams > 0 ? this.#lowerWindows + 1 : 0;
    if (bytes > this.bytes || this.#lowerWindows >= LOWER_WINDOWS) {
      this.bytes = bytes;
      this.#lowerWindows = 0;
      this.#settlesAtMs = nowMs + SETTLE_ROUND_TRIPS * Math.max(0, rttMs);
    }
    this.#startWindow(nowMs);
  }

  #startWindow(nowMs: number): void {
    this.#counts.fill(0);
    this.#datagrams = 0;
    this.#exceededCount = 0;
    this.#windowEndsMs = nowMs + WINDOW_MS;
  }

  #cheapest(): number {
    if (this.#datagrams === 0) return this.bytes;
    let exceeding = 0;
    let least = Infinity;
    let cheapest = this.bytes;
    for (let bytes = LENGTHS - 1; bytes >= 0; bytes--) {
      const cost = bytes * this.#datagrams + exceeding * EXTRA_DATAGRAM_BYTES;
      if (cost <= least) {
        least = cost;
        cheapest = bytes;
      }
      exceeding += this.#counts[bytes]!;
    }
    return cheapest;
  }
}

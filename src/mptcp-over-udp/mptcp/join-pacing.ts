/**
 * When a new connection gets its further subflows: at once, so that all paths carry its first windows. But where connections come by the hundred, most
 * are over before a join has paid for itself, and each join costs both hosts nearly as much as its connection: beyond a rate, joins wait until
 * the connection has lived for a moment, or has more to carry than a first window.
 */

/** Connections in a row that join at once, as a page with all its hosts opens them; and how many a second may, again and again. */
const JOINS_AT_ONCE = 100;
const JOINS_PER_SEC = 200;
/** Most requests are answered within it. */
const LIVED_MS = 250;
/** Ten segments in both directions together (RFC 6928, 2): more than that is a transfer. */
const EXCHANGED_BYTES = 14_600;

export class JoinPacing {
  /** A connection that waits joins sooner once it has this many bytes to carry, or has carried them. */
  readonly exchangedBytes = EXCHANGED_BYTES;
  private credit = JOINS_AT_ONCE;
  private creditMs = 0;

  /** The first joins of a connection that may join since now: when they are due. */
  firstJoinMs(nowMs: number): number {
    this.credit = Math.min(JOINS_AT_ONCE, this.credit + ((nowMs - this.creditMs) * JOINS_PER_SEC) / 1_000);
    this.creditMs = nowMs;
    if (this.credit < 1) return nowMs + LIVED_MS;
    this.credit--;
    return nowMs;
  }
}

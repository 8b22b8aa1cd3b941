/** Round-trip time and retransmission timeout (RFC 6298), with the lifetime minimum that RACK and TLP want. */

/** DEVIATION RFC 6298 (2.4): minimum RTO is 200 ms, as Linux does. */
const MIN_RTO_MS = 200;
const MAX_RTO_MS = 60_000;
/** RFC 6298 (2.1) */
const INITIAL_RTO_MS = 1_000;
/** Clock granularity G. */
const GRANULARITY_MS = 1;
const MIN_RTT_WINDOW_MS = 10_000;

export class RttEstimator {
  /** -1 before the first sample. */
  srttMs = -1;
  rttvarMs = 0;
  /** Minimum over the last 10-20 s, -1 before the first sample. */
  minRttMs = -1;
  latestMs = -1;
  /** RTO before the first sample; whoever knows the path's round trip may lower it. */
  initialRtoMs = INITIAL_RTO_MS;
  private backoffCount = 0;
  private windowStartMs = 0;
  private windowMinMs = Number.POSITIVE_INFINITY;

  addSample(rttMs: number, nowMs: number): void {
    this.latestMs = rttMs;
    if (this.srttMs < 0) {
      this.srttMs = rttMs;
      this.rttvarMs = rttMs / 2;
    } else {
      // RFC 6298 (2.3)
      this.rttvarMs = 0.75 * this.rttvarMs + 0.25 * Math.abs(this.srttMs - rttMs);
      this.srttMs = 0.875 * this.srttMs + 0.125 * rttMs;
    }
    if (rttMs < this.windowMinMs) this.windowMinMs = rttMs;
    if (this.minRttMs < 0 || rttMs < this.minRttMs) this.minRttMs = rttMs;
    if (nowMs - this.windowStartMs > MIN_RTT_WINDOW_MS) {
      this.minRttMs = this.windowMinMs;
      this.windowMinMs = rttMs;
      this.windowStartMs = nowMs;
    }
    this.backoffCount = 0;
  }

  get rtoMs(): number {
    const base = this.srttMs < 0 ? this.initialRtoMs : Math.max(MIN_RTO_MS, this.srttMs + Math.max(GRANULARITY_MS, 4 * this.rttvarMs));
    return Math.min(MAX_RTO_MS, base * 2 ** this.backoffCount);
  }

  /** RFC 6298 (5.5) */
  backOff(): void {
    if (this.backoffCount < 12) this.backoffCount++;
  }

  resetBackoff(): void {
    this.backoffCount = 0;
  }
}

/**
 * Path MTU discovery of one connection by its own segments (RFC 8899, RFC 4821), without ICMP. A black hole shows in timeouts of large segments, or in
 * losses of one where smaller ones pass: then the size falls to one that passes nearly everywhere, and is raised by probes, which carry the next data in
 * order. What is sought is the MSS, options included.
 */

import type { SegmentRecord } from './retransmission-queue.js';
import type { TcpConnection } from './tcp-connection.js';

/** RFC 8899 (5.1.2): BASE_PLPMTU of 1200, less the headers; where even that is too much, what IPv4 asks of every host. IPv6 carries 1280 everywhere. */
const BASES_IPV4: readonly number[] = [1_160, 536];
const BASES_IPV6: readonly number[] = [1_220];
/** Timeouts in a row that make a black hole, as Linux with tcp_mtu_probing = 1, but one sooner. */
const BLACK_HOLE_TIMEOUTS = 2;
/** Losses in a row of one large segment, where smaller ones pass. */
const BLACK_HOLE_LOSSES = 3;
/** RFC 8899 (5.1.2): MAX_PROBES, PMTU_RAISE_TIMER. */
const MAX_PROBES = 3;
const RAISE_MS = 600_000;
/** The search ends when what is not known is less. */
const RESOLUTION_BYTES = 16;
/** Segments that must follow a probe at once, so that their acknowledgements tell if it was lost. */
const FOLLOWING_SEGMENTS = 3;

/** off: the size is what the path layer says. */
type SearchPhase = 'off' | 'searching' | 'complete';

export class MtuSearch {
  private phase: SearchPhase = 'off';
  /** Passes; and may pass, inclusive. */
  private low = 0;
  private high = 0;
  /** The size that was in use before is tried once, before all others: it may have been an outage. */
  private topTried = false;
  private probeMss = 0;
  private lostCount = 0;
  private raiseAtMs = 0;
  private timeoutsAtFall = 0;

  /** The path layer knows better. */
  reset(): void {
    this.phase = 'off';
  }

  /** After each retransmission timeout, before anything is sent again. */
  onTimeout(c: TcpConnection): void {
    const { timeoutCount, queue } = c.recovery;
    if (timeoutCount <= 1) this.timeoutsAtFall = 0;
    if (timeoutCount - this.timeoutsAtFall < BLACK_HOLE_TIMEOUTS) return;
    // What is no larger than the base would be lost as well.
    const base = baseBelow(c, Math.min(c.mssBytes, (queue.head?.payloadBytes ?? 0) + c.segmentOptionBytes()));
    if (base === 0) return;
    // That what every path carries is too much needs as much proof as in two steps.
    if (base !== baseBelow(c, c.mssBytes) && timeoutCount - this.timeoutsAtFall < 2 * BLACK_HOLE_TIMEOUTS) return;
    // Nothing has come through since an earlier fall: what was in use before that is still what to hope for.
    this.fall(c, base, this.timeoutsAtFall > 0 ? this.high : c.mssBytes);
  }

  /** Before what was lost is sent again. */
  onLosses(c: TcpConnection): void {
    const { largeLosses, timeoutCount } = c.recovery;
    // After a timeout nothing is known to pass.
    if (largeLosses.count < BLACK_HOLE_LOSSES || timeoutCount > 0) return;
    const base = baseBelow(c, largeLosses.bytes + c.segmentOptionBytes());
    if (base > 0) this.fall(c, base, c.mssBytes);
  }

  /** After each change of the segment size. */
  noteMss(c: TcpConnection): void {
    const optionBytes = c.segmentOptionBytes();
    c.recovery.largeLosses.setSizes(smallestBase(c) - optionBytes, c.mssBytes - optionBytes);
  }

  private fall(c: TcpConnection, base: number, high: number): void {
    this.search(base, high);
    this.timeoutsAtFall = c.recovery.timeoutCount;
    c.setMss(base);
    c.services.count('tcp-mtu-black-holes');
  }

  /** Payload of a probe to be sent now instead of other new data; 0: none. `roomBytes` and `availableBytes`: what may be sent, and what there is. */
  probePayloadBytes(c: TcpConnection, roomBytes: number, availableBytes: number, nowMs: number): number {
    if (this.phase === 'off') return 0;
    this.takeResult(c, nowMs);
    if (this.phase === 'complete' && nowMs >= this.raiseAtMs) this.search(this.low, c.mssLimitBytes);
    const { recovery } = c;
    if (this.phase !== 'searching' || recovery.mtuProbeStart >= 0 || recovery.inRecovery || recovery.queue.lostBytes > 0) return 0;
    const optionBytes = c.segmentOptionBytes();
    this.probeMss = this.topTried ? (this.low + this.high + 1) >> 1 : this.high;
    const payloadBytes = this.probeMss - optionBytes;
    const following = FOLLOWING_SEGMENTS * (c.mssBytes - optionBytes);
    return roomBytes >= payloadBytes && availableBytes >= payloadBytes + following ? payloadBytes : 0;
  }

  /** Between these two the probe is sent as other data is. Returns the size to be restored. */
  beginProbe(c: TcpConnection): number {
    const { mssBytes } = c;
    c.mssBytes = this.probeMss;
    return mssBytes;
  }

  endProbe(c: TcpConnection, record: SegmentRecord, mssBytes: number): void {
    c.mssBytes = mssBytes;
    c.recovery.mtuProbeStart = record.start;
    c.recovery.mtuProbeResult = 'none';
    c.services.count('tcp-mtu-probes');
  }

  private search(low: number, high: number): void {
    this.phase = 'searching';
    this.low = low;
    this.high = high;
    this.topTried = false;
    this.lostCount = 0;
  }

  private takeResult(c: TcpConnection, nowMs: number): void {
    const result = c.recovery.mtuProbeResult;
    if (this.phase === 'searching' && result === 'delivered') {
      this.low = this.probeMss;
      this.lostCount = 0;
      this.topTried = true;
      c.setMss(this.low);
    } else if (this.phase === 'searching' && result === 'lost' && (++this.lostCount >= MAX_PROBES || !this.topTried)) {
      this.high = this.probeMss - 1;
      this.lostCount = 0;
      this.topTried = true;
    }
    c.recovery.mtuProbeResult = 'none';
    if (this.phase !== 'searching' || this.high - this.low >= RESOLUTION_BYTES) return;
    this.phase = this.low >= c.mssLimitBytes ? 'off' : 'complete';
    this.raiseAtMs = nowMs + RAISE_MS;
  }
}

function basesOf(c: TcpConnection): readonly number[] {
  return c.tuple.ipVersion === 4 ? BASES_IPV4 : BASES_IPV6;
}

/** The largest that is less than a size, 0: there is none. */
function baseBelow(c: TcpConnection, mssBytes: number): number {
  return basesOf(c).find((base) => base < mssBytes) ?? 0;
}

function smallestBase(c: TcpConnection): number {
  return basesOf(c).at(-1) ?? 0;
}

/**
 * wVegas, weighted Vegas (Cao, Xu, Fu, "Delay-based congestion control for multipath TCP", IEEE ICNP 2012; draft-xu-mptcp-congestion-control): each subflow keeps a number of its
 * packets in the bottleneck's queue, its part of a total that the subflows of a connection share by their rates. It yields to loss-based flows.
 */

import type { AckSample, CongestionControlFactory } from './congestion-control.js';
import type { CoupledMember } from './coupled-group.js';
import { CoupledReno } from './window-reno.js';

/** Packets that the connection keeps queued in all, and the least for a subflow. */
const TOTAL_ALPHA_PACKETS = 10;
const MIN_ALPHA_PACKETS = 2;
/** Slow start is over when so many packets queue. */
const GAMMA_PACKETS = 1;
const MIN_WINDOW_SEGMENTS = 2;

class WVegas extends CoupledReno {
  readonly name = 'wvegas';
  private baseRttMs = Number.POSITIVE_INFINITY;
  /** Least queueing delay since the window was last scaled by it. */
  private minQueueDelayMs = Number.POSITIVE_INFINITY;
  private alphaPackets = MIN_ALPHA_PACKETS;
  private roundEndBytes = 0;
  private roundRttSumMs = 0;
  private roundRttCount = 0;

  override onAck(sample: AckSample): void {
    if (sample.rttMs > 0) {
      this.baseRttMs = Math.min(this.baseRttMs, sample.rttMs);
      this.roundRttSumMs += sample.rttMs;
      this.roundRttCount++;
    }
    super.onAck(sample);
    if (sample.priorDeliveredBytes < this.roundEndBytes) return;
    if (this.roundRttCount > 0 && this.mayGrow) this.adapt(this.roundRttSumMs / this.roundRttCount);
    this.roundEndBytes = sample.totalDeliveredBytes;
    this.roundRttSumMs = 0;
    this.roundRttCount = 0;
  }

  /** Congestion avoidance is by rounds, not by acknowledgements. */
  protected increaseBytes(_deliveredBytes: number): number {
    return 0;
  }

  /** Once per round trip; `rttMs` is the round's mean. */
  private adapt(rttMs: number): void {
    const windowPackets = this.cwndBytes / this.mssBytes;
    const diffPackets = (windowPackets * (rttMs - this.baseRttMs)) / rttMs;
    if (this.inSlowStart) {
      if (diffPackets > GAMMA_PACKETS) this.leaveSlowStart(rttMs);
      return;
    }
    const equilibrium = diffPackets >= this.alphaPackets;
    if (equilibrium) this.weigh(rttMs);
    if (diffPackets > this.alphaPackets) this.setVegasWindow(this.cwndBytes - this.mssBytes);
    else if (diffPackets < this.alphaPackets) this.setVegasWindow(this.cwndBytes + this.mssBytes);
    if (equilibrium) this.drain(rttMs);
  }

  /** The window that fills the pipe and no more. */
  private leaveSlowStart(rttMs: number): void {
    this.setVegasWindow((this.cwndBytes * this.baseRttMs) / rttMs);
    this.ssthreshBytes = this.cwndBytes;
  }

  /** alpha_r = max(2, 10 * x_r / sum x): what the faster subflow may queue more. */
  private weigh(rttMs: number): void {
    const members = this.members();
    const own = this.cwndBytes / rttMs;
    let sum = own;
    for (let i = 0; i < members.length; i++) {
      const member = members[i] as CoupledMember;
      if (member !== this) sum += member.cwndBytes / member.srttMs;
    }
    this.alphaPackets = Math.max(MIN_ALPHA_PACKETS, (TOTAL_ALPHA_PACKETS * own) / sum);
  }

  /**
   * When the queue has grown to twice its least, the window steps back so that queues drain and the base is seen again.
   * DEVIATION Linux's port: only queues at equilibrium are compared. Below it the delay is that of our own pacing's bursts, parts of a packet, and twice next to
   * nothing comes in every other round.
   */
  private drain(rttMs: number): void {
    const queueDelayMs = rttMs - this.baseRttMs;
    this.minQueueDelayMs = Math.min(this.minQueueDelayMs, queueDelayMs);
    if (queueDelayMs < 2 * this.minQueueDelayMs) return;
    this.setVegasWindow((this.cwndBytes * this.baseRttMs) / (2 * rttMs));
    this.minQueueDelayMs = Number.POSITIVE_INFINITY;
  }

  private setVegasWindow(bytes: number): void {
    this.setWindow(Math.max(MIN_WINDOW_SEGMENTS * this.mssBytes, bytes));
    // Else the frame would take a smaller window for slow start.
    this.ssthreshBytes = Math.min(this.ssthreshBytes, this.cwndBytes);
  }
}

export const createWvegas: CongestionControlFactory = (options) => new WVegas(options);

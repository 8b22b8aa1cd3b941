/**
 * BALIA, the balanced linked adaptation (Peng, Walid, Hwang, Low, "Multipath TCP: Analysis, Design, and Implementation", IEEE/ACM ToN 2016;
 * draft-walid-mptcp-congestion-control): between friendliness and responsiveness. A subflow that is slower than the fastest of its connection
 * decreases by more.
 */

import type { CongestionControlFactory } from './congestion-control.js';
import type { CoupledMember } from './coupled-group.js';
import { CoupledReno } from './window-reno.js';

const MAX_DECREASE_ALPHA = 1.5;

class Balia extends CoupledReno {
  readonly name = 'balia';
  private greatestRate = 0;
  private rateSum = 0;

  /** Per byte acknowledged: MSS * x_r / (rtt_r * (sum x)^2) * (1 + alpha)/2 * (4 + alpha)/5, alpha = max x / x_r. */
  protected increaseBytes(deliveredBytes: number): number {
    this.addRates();
    const rate = this.cwndBytes / this.srttMs;
    const alpha = this.greatestRate / rate;
    const base = rate / (this.srttMs * this.rateSum * this.rateSum);
    return deliveredBytes * this.mssBytes * base * ((1 + alpha) / 2) * ((4 + alpha) / 5);
  }

  /** w - w/2 * min(alpha, 1.5). */
  protected override reducedBytes(windowBytes: number): number {
    if (this.srttMs <= 0) return windowBytes / 2;
    this.addRates();
    const alpha = this.greatestRate / (this.cwndBytes / this.srttMs);
    return windowBytes - (windowBytes / 2) * Math.min(alpha, MAX_DECREASE_ALPHA);
  }

  private addRates(): void {
    const members = this.members();
    this.greatestRate = 0;
    this.rateSum = 0;
    for (let i = 0; i < members.length; i++) {
      const { cwndBytes, srttMs } = members[i] as CoupledMember;
      const rate = cwndBytes / srttMs;
      this.rateSum += rate;
      this.greatestRate = Math.max(this.greatestRate, rate);
    }
  }
}

export const createBalia: CongestionControlFactory = (options) => new Balia(options);

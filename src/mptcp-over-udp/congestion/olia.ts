/**
 * OLIA, the opportunistic linked increases algorithm (Khalili et al., "MPTCP is not Pareto-optimal", IEEE/ACM ToN 2013;
 * draft-khalili-mptcp-congestion-control-05): the first term is Kelly and Voice's optimum, the second moves window from the paths with the largest
 * windows to the presumably best ones that have small windows.
 */

import type { CongestionControlFactory, CongestionControlOptions } from './congestion-control.js';
import type { CoupledMember } from './coupled-group.js';
import { CoupledReno } from './window-reno.js';

/** l_r / rtt_r^2: the square of the rate that a TCP would have there, but for a factor. */
function quality(member: CoupledMember): number {
  return member.lossIntervalBytes / (member.srttMs * member.srttMs);
}

class Olia extends CoupledReno {
  readonly name = 'olia';

  constructor(options: CongestionControlOptions) {
    super(options);
    // The draft (4): with several paths one segment is the least, so that a bad path can be left alone.
    this.minSsthreshSegments = 1;
  }

  /** Per byte acknowledged: MSS * ((w_r / rtt_r^2) / (sum w_p / rtt_p)^2 + eps_r / w_r). */
  protected increaseBytes(deliveredBytes: number): number {
    const members = this.members();
    let rateSum = 0;
    for (let i = 0; i < members.length; i++) {
      const { cwndBytes, srttMs } = members[i] as CoupledMember;
      rateSum += cwndBytes / srttMs;
    }
    const optimum = this.cwndBytes / (this.srttMs * this.srttMs) / (rateSum * rateSum);
    return deliveredBytes * this.mssBytes * (optimum + this.epsilon(members) / this.cwndBytes);
  }

  /** M: paths with the largest window; B: paths with the greatest quality. 1/(N |B\M|) on B\M, -1/(N |M|) on M unless B\M is empty, else 0. */
  private epsilon(members: readonly CoupledMember[]): number {
    let greatestWindow = 0;
    let greatestQuality = 0;
    for (let i = 0; i < members.length; i++) {
      const member = members[i] as CoupledMember;
      greatestWindow = Math.max(greatestWindow, member.cwndBytes);
      greatestQuality = Math.max(greatestQuality, quality(member));
    }
    let largestCount = 0;
    let collectedCount = 0;
    for (let i = 0; i < members.length; i++) {
      const member = members[i] as CoupledMember;
      if (member.cwndBytes === greatestWindow) largestCount++;
      else if (quality(member) === greatestQuality) collectedCount++;
    }
    if (collectedCount === 0) return 0;
    if (this.cwndBytes === greatestWindow) return -1 / (members.length * largestCount);
    return quality(this) === greatestQuality ? 1 / (members.length * collectedCount) : 0;
  }
}

export const createOlia: CongestionControlFactory = (options) => new Olia(options);

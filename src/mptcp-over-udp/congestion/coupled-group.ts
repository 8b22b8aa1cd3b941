/**
 * What a coupled congestion control sees of its connection: the windows and round trips of all subflows that carry data (RFC 6356, 3; "the set of
 * all available paths" in the papers). It reads the connection's own list, so that joining and leaving need no word; a subflow whose path is silent or
 * gone is passed over.
 */

import type { CongestionControl } from './congestion-control.js';

/** What one subflow's congestion control shows to the others. */
export interface CoupledMember {
  readonly cwndBytes: number;
  /** Smoothed, -1 before the first sample. */
  readonly srttMs: number;
  /** max(bytes delivered since the last loss, bytes delivered between the last two losses): OLIA's estimate of 1/p. */
  readonly lossIntervalBytes: number;
  /** Its retransmission timer ran out and nothing was delivered since: its window and round trip are of the past. */
  readonly silent: boolean;
}

/** What the group needs of a subflow. */
export interface CoupledSubflow {
  /** Established, confirmed, and on a path that is not known to be gone. */
  readonly usable: boolean;
  readonly heldBack: boolean;
  readonly recovery: { readonly congestion: CongestionControl };
}

export class CoupledGroup {
  /** As of the last `refresh`. */
  readonly members: CoupledMember[] = [];
  private readonly subflows: readonly CoupledSubflow[];

  /** `subflows` is the connection's live list. */
  constructor(subflows: readonly CoupledSubflow[]) {
    this.subflows = subflows;
  }

  /** Collects the members that count now; `own`, on which an acknowledgement has just come, always does. */
  refresh(own: CoupledMember): readonly CoupledMember[] {
    const { members, subflows } = this;
    members.length = 0;
    members.push(own);
    // RFC 8684 (3.3.8): backups are idle while a regular subflow works; an idle window takes no share of anything.
    let regular = false;
    for (let i = 0; i < subflows.length; i++) {
      const subflow = subflows[i] as CoupledSubflow;
      if (subflow.usable && !subflow.heldBack) regular = true;
    }
    for (let i = 0; i < subflows.length; i++) {
      const subflow = subflows[i] as CoupledSubflow;
      const member = subflow.recovery.congestion.coupled;
      if (member === undefined || member === own || !subflow.usable || (regular && subflow.heldBack)) continue;
      if (!member.silent && member.srttMs > 0) members.push(member);
    }
    return members;
  }
}

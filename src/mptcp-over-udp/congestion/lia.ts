/**
 * LIA, the linked increase algorithm (RFC 6356): the increases of all subflows are coupled so that the connection as a whole takes at most what one TCP
 * would on its best path, and no subflow takes more than a TCP would there. Decrease as TCP.
 */

import type { CongestionControlFactory } from './congestion-control.js';
import type { CoupledMember } from './coupled-group.js';
import { CoupledReno } from './window-reno.js';

class Lia extends CoupledReno {
  readonly name = 'lia';

  /** RFC 6356 (3): min(alpha * bytes_acked * MSS_i / cwnd_total, bytes_acked * MSS_i / cwnd_i). */
  protected increaseBytes(deliveredBytes: number): number {
    const members = this.members();
    let totalBytes = 0;
    let greatest = 0;
    let rateSum = 0;
    for (let i = 0; i < members.length; i++) {
      const { cwndBytes, srttMs } = members[i] as CoupledMember;
      totalBytes += cwndBytes;
      greatest = Math.max(greatest, cwndBytes / (srttMs * srttMs));
      rateSum += cwndBytes / srttMs;
    }
    const acked = deliveredBytes * this.mssBytes;
    // RFC 6356 (3): alpha = cwnd_total * max(cwnd_i / rtt_i^2) / (sum cwnd_i / rtt_i)^2.
    const alpha = (totalBytes * greatest) / (rateSum * rateSum);
    return Math.min((alpha * acked) / totalBytes, acked / this.cwndBytes);
  }
}

export const createLia: CongestionControlFactory = (options) => new Lia(options);

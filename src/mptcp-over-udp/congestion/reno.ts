/** NewReno (RFC 5681, 6582): each subflow for itself. On disjoint paths right; on a shared bottleneck n subflows take the part of n connections. */

import type { CongestionControlFactory } from './congestion-control.js';
import { WindowReno } from './window-reno.js';

class Reno extends WindowReno {
  readonly name = 'reno';

  /** RFC 5681 (3.1), by bytes: one segment per window. */
  protected increaseBytes(deliveredBytes: number): number {
    return (deliveredBytes * this.mssBytes) / this.cwndBytes;
  }
}

export const createReno: CongestionControlFactory = (options) => new Reno(options);

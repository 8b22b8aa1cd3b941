/** The seam of schedulers: which subflow carries the next piece of new data. Pure choice; the connection sends. */

import type { Subflow } from '../mptcp/subflow.js';

export interface Scheduler {
  readonly name: string;
  /** A subflow with room (`roomBytes > 0` as refreshed for this visit), or undefined: wait. */
  select(subflows: readonly Subflow[]): Subflow | undefined;
}

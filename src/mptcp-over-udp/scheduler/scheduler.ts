/**
 * The seam of schedulers: which subflow carries the next piece of new data, or none for now. Pure choice; the connection sends. A choice of none is
 * asked again when an acknowledgement comes or a subflow's pacing lets go.
 */

/** Of a subflow, whether it comes into question, and how soon it delivers. */
export interface Candidate {
  /** Established, confirmed, and its path is not known to be gone. */
  readonly usable: boolean;
  /** Only to be used while no other can be: a backup by the peer's wish (RFC 8684, 3.3.8), or benched. */
  readonly heldBack: boolean;
  readonly rttMs: number;
}

/** What a scheduler sees of a subflow. */
export interface SchedulerSubflow extends Candidate {
  /** What it would send now, as refreshed for this visit: 0 when its window is full or pacing holds it. */
  readonly roomBytes: number;
  readonly mssBytes: number;
  /** What it carries in a round trip: its window, or less where its path has a limit. */
  readonly roundBytes: number;
  /** Its path's, lower first. */
  readonly priority: number;
  readonly recovery: {
    /** Timeouts in a row: while it is not zero, nobody waits for this subflow. */
    readonly timeoutCount: number;
    readonly inflightBytes: number;
    readonly congestion: { readonly cwndBytes: number };
    readonly rtt: { readonly rttvarMs: number };
  };
}

/** What a scheduler sees of the connection. One object per connection, filled in before each `select`. */
export interface SchedulerView {
  nowMs: number;
  /** Written by the application and on no subflow yet. */
  queuedBytes: number;
  /** The writer waits for room: what is queued is not all that is to be sent. */
  moreToCome: boolean;
  /** What may be unacknowledged at the data level: the peer's window, or our send buffer's bound where that is less. */
  sendWindowBytes: number;
  /** How often new data had to wait for the peer's window, since the connection began. */
  blockedCount: number;
  /** A reinjection: late already, it takes any subflow rather than wait for a better one. */
  urgent: boolean;
}

export interface Scheduler {
  readonly name: string;
  /** Every subflow carries all data, each at its own pace: the connection does it, and `select` is for reinjections in fallback only. */
  readonly duplicates: boolean;
  /** An instance for one connection: itself when it keeps nothing between calls. */
  forConnection(): Scheduler;
  /** A subflow with room, or undefined: wait. */
  select<S extends SchedulerSubflow>(subflows: readonly S[], view: SchedulerView): S | undefined;
}

export function createSchedulerView(): SchedulerView {
  return { nowMs: 0, queuedBytes: 0, moreToCome: false, sendWindowBytes: 0, blockedCount: 0, urgent: false };
}

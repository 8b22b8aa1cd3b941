/**
 * The seam between the TCP engine and congestion control. The engine measures (delivery rate, loss, round trips) and asks for two
 * figures: how much may be in flight, and how fast to send. One instance per subflow; pure, no clock.
 */

import type { ReturnHistory } from './bbr-return-history.js';
import type { CoupledGroup, CoupledMember } from './coupled-group.js';

/** What one incoming ACK told, after loss detection has run (draft-ietf-ccwg-bbr, 4.1: delivery rate sample). Reused: copy what you keep. */
export interface AckSample {
  nowMs: number;
  /** Bytes newly delivered by this ACK, cumulatively or by SACK. */
  deliveredBytes: number;
  /** Bytes newly marked lost by this ACK. */
  lostBytes: number;
  /** In flight before this ACK was processed, and after. */
  priorInflightBytes: number;
  inflightBytes: number;
  /** Round-trip time of the newest segment delivered by this ACK, -1 if none (Karn: retransmitted without timestamps). */
  rttMs: number;
  /** Smoothed RTT and lifetime minimum as of now, -1 before the first sample. */
  srttMs: number;
  minRttMs: number;
  /** Delivery rate sample: bytes delivered over the interval, and that interval; intervalMs <= 0 when no valid sample. */
  sampleDeliveredBytes: number;
  sampleIntervalMs: number;
  /** How far the acknowledgements that the interval lies between came apart: never longer than the interval. */
  sampleAckElapsedMs: number;
  /** The sample was taken while the sender had too little to send. */
  sampleAppLimited: boolean;
  /** Total delivered so far, and the total when the newest delivered segment was sent: round counting by comparison. */
  totalDeliveredBytes: number;
  priorDeliveredBytes: number;
  /** When that segment was sent: the same for all that left at once; -1 when the ACK delivered nothing. */
  newestSentMs: number;
  /** Bytes lost between that segment's sending and now (for the sample's loss rate). */
  sampleLostBytes: number;
  /** The peer echoed congestion experienced. */
  ecnEcho: boolean;
  /** In flight was at the cwnd since the last ACK (RFC 7661: only then may cwnd grow). */
  cwndLimited: boolean;
}

export interface CongestionControl {
  readonly name: string;
  /** In-flight limit, bytes, >= 1 MSS. */
  readonly cwndBytes: number;
  /** Bytes per second, Infinity when the algorithm does not pace (the engine then paces at 2 x cwnd / srtt in slow start, 1.2 x otherwise). */
  readonly pacingRateBytesPerSec: number;
  /** So much may leave at once though it is paced; absent: as pacing has it. */
  readonly burstBytes?: number;
  /** Slow-start threshold for information, Infinity when none. */
  readonly ssthreshBytes: number;
  /** What coupled algorithms on the connection's other subflows may know of this one; absent when it is not coupled. */
  readonly coupled?: CoupledMember | undefined;
  /** A segment or super-segment of `bytes` leaves; `inflightBytes` before it. */
  onSent(nowMs: number, bytes: number, inflightBytes: number): void;
  onAck(sample: AckSample): void;
  /** Fast recovery starts (once per window of data); sample.lostBytes tells how much. Called before onAck of the same ACK. */
  onRecoveryStart(nowMs: number, inflightBytes: number): void;
  onRecoveryEnd(nowMs: number): void;
  /** Retransmission timeout; everything in flight was marked lost. */
  onRetransmissionTimeout(nowMs: number, inflightBytes: number): void;
  /** The last reduction was spurious (DSACK, Eifel): undo it. */
  onSpuriousLoss(nowMs: number): void;
  /** Sending resumes after an idle period with nothing in flight. */
  onIdleRestart(nowMs: number, idleMs: number): void;
  /** The handshake has shown the path's round trip, before anything was sent: a first window that suits it, to be paced over it. */
  onHandshake(rttMs: number, initialWindowBytes: number): void;
  /** The segment size changed (PMTU). */
  setMss(mssBytes: number): void;
}

/**
 * What a path already knows, so that a new subflow need not learn it again (RFC 9040). Zero or -1: unknown. One live object per path:
 * congestion controls keep it and write into it what they learn.
 */
export interface PathMemory {
  minRttMs: number;
  /** What one flow lately got here. */
  bandwidthBytesPerSec: number;
  /** Part of the round trip that is queue or jitter of the way back, where the path layer can tell: kept up to date by the memory's owner. */
  readonly returnQueueMs?: number;
  /** Made by the first congestion control that needs it. */
  shared?: SharedPathModel;
}

/** What all flows of a path must believe alike to share it fairly. */
export interface SharedPathModel {
  /** RTT of the path carrying load but no queue, -1 unknown, and when it was measured. */
  baseRttMs: number;
  baseRttStampMs: number;
  /** What the path was believed to give when the base was taken in a pipe that was filled: so far jitter's delay of a full pipe is in it. 0: it was not. */
  baseBandwidthBytesPerSec: number;
  /** It is of single packets, of which the luckiest counted: under jitter none in a full pipe is as quick. */
  baseIsRough: boolean;
  /** Leaps of the RTT that no queue explains, when they were last brought up to date, and the flow that saw them. */
  jitterMs: number;
  jitterStampMs: number;
  jitterFlow: number;
  /** Identity of the flow that last wrote here, and when two in turn did: several flows are active. */
  lastFlow: number;
  severalFlowsStampMs: number;
  nextFlow: number;
  /** What waited on the way back lately; undefined: nothing since the path is known. */
  returns: ReturnHistory | undefined;
}

export interface CongestionControlOptions {
  mssBytes: number;
  initialWindowBytes: number;
  nowMs: number;
  /** What the path layer measured; the first window is paced over it. */
  initialRttMs?: number;
  memory?: PathMemory;
  /** The connection's subflows, for coupled algorithms; absent: there is only this one. */
  group?: CoupledGroup;
}

export type CongestionControlFactory = (options: CongestionControlOptions) => CongestionControl;

/** What a host is made with, and what it tells. */

import type { CongestionControlFactory } from '../congestion/congestion-control.js';
import type { Scheduler } from '../scheduler/scheduler.js';
import type { SegmentSink } from '../segment-sink.js';
import type { BlockPool } from '../tcp/payload-block.js';
import type { CloseReason } from '../tcp/tcp-connection.js';
import type { MptcpConnection } from './connection.js';
import type { HostPath } from './host-paths.js';
import type { MptcpVersion } from './keys.js';
import type { PathPolicy } from './path-policy.js';
import type { AnnouncedAddress } from './path-signals.js';
import type { Subflow } from './subflow.js';

export interface MptcpHostEvents {
  /** A SYN with MP_CAPABLE: set a handler, then accept or reject, now or later. */
  onIncoming?(connection: MptcpConnection, nowMs: number): void;
  onSubflowEstablished?(connection: MptcpConnection, subflow: Subflow, nowMs: number): void;
  onSubflowClosed?(connection: MptcpConnection, subflow: Subflow, reason: CloseReason, nowMs: number): void;
  /** The peer announced an address (its HMAC was right), or withdrew some, or changed a subflow's priority. */
  onAnnounced?(connection: MptcpConnection, address: AnnouncedAddress, nowMs: number): void;
  onRemoved?(connection: MptcpConnection, addressIds: Uint8Array, nowMs: number): void;
  /** A path was found to do streams more harm than good: for a while it carries new data only where no other can. */
  onPathBenched?(path: HostPath, reason: string, nowMs: number): void;
  onPriority?(connection: MptcpConnection, subflow: Subflow, backup: boolean, nowMs: number): void;
  /** Our address id for the address that a join came to (RFC 8684, 3.2); default: the peer's id, for hosts that number paths alike. */
  localAddressId?(connection: MptcpConnection, address: Uint8Array): number | undefined;
  /** Takes over which subflows are added, by `join`: MPTCP is proved, a subflow was lost, or a path changed. Default: one per path. */
  onJoinsDue?(connection: MptcpConnection, nowMs: number): void;
}

export interface MptcpHostOptions {
  sink: SegmentSink;
  randomBytes: (count: number) => Uint8Array;
  scheduler: Scheduler;
  congestionControl: CongestionControlFactory;
  events?: MptcpHostEvents;
  pool?: BlockPool;
  /** Bound on what all receive windows may promise beyond their initial size. */
  receiveMemoryBytes?: number;
  /** Receive window that a connection begins with. */
  receiveWindowBytes?: number;
  /** Ask for DSS checksums (the A flag). */
  checksum?: boolean;
  /** Tell peers not to join to the address and port of the initial subflow (the C flag). */
  denyJoinInitial?: boolean;
  /** SYNs that carry MP_CAPABLE; those after go without, lest a middlebox that drops the option keep the connection from coming about (as Linux, 2). */
  capableSynCount?: number;
  /** Version that we open connections with: 1 (RFC 8684, the default) or 0 (RFC 6824, with SHA-1). */
  version?: MptcpVersion;
  /** Answer SYNs of version 0 in kind; default false: they get plain TCP. */
  acceptVersion0?: boolean;
  /** Offer timestamps on subflows (RFC 7323); default false: inside the tunnel they are 12 bytes a segment for nothing. */
  timestamps?: boolean;
  /** Silence after which a subflow is probed; default never. */
  keepaliveMs?: number;
  /** An ADD_ADDR without echo is repeated after this. */
  announceTimeoutMs?: number;
  /** Give Fast Open cookies, and take the data of SYNs that carry one (RFC 7413); default false. An application must bear that such data may come twice. */
  fastOpen?: boolean;
  /**
   * Answer the data of a SYN before the third ACK, which saves a round trip, on MPTCP connections too: without the client's key such data has no DATA_ACK
   * (RFC 8684, errata 6609). Default false, since Linux 6.18 as a client falls back to plain TCP then. Plain TCP is answered at once in any case.
   */
  fastOpenEarlyAnswers?: boolean;
  /** Connections opened by a cookie that may wait for their third ACK; beyond that SYNs are answered as if Fast Open were off. */
  fastOpenPending?: number;
  /** Search for what a path carries when large segments vanish without a word (RFC 8899); default false: inside the tunnel the paths' MTUs are known. */
  mtuSearch?: boolean;
  /** FASTCLOSE of ours (RFC 8684, 3.5): on RSTs of all subflows, as Linux (default), or on an ACK, repeated until the peer's RST. */
  abortForm?: 'reset' | 'ack';
  /** More pending and open connections than this are refused. */
  maxConnections?: number;
}

export interface EngineConnectOptions {
  /** Which of the host's paths, and how; default: all, as the paths say. */
  pathPolicy?: PathPolicy;
  /** In place of the host's. */
  scheduler?: Scheduler;
  /** Ask for a Fast Open cookie, or with one send what is written before the next poll along with the SYN (RFC 7413). */
  fastOpen?: boolean;
}

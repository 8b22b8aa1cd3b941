/** What `mptunnel connections --json` prints: the stream plane's connections with their subflows. Plain data; rates -1 while they are not known. */

import type { SubflowRole } from '../mptcp-over-udp/mptcp/subflow.js';
import type { TcpState } from '../mptcp-over-udp/tcp/tcp-state.js';

export interface SubflowView {
  pathId: number;
  path: string;
  state: TcpState;
  /** capable-*: the connection began on it. */
  role: SubflowRole;
  /** Smoothed; -1 before the first sample. */
  rttMs: number;
  cwndBytes: number;
  inflightBytes: number;
  retransmittedBytes: number;
  /** Payload received in order, and acknowledged by the peer. */
  rxBytes: number;
  txBytes: number;
  rxBytesPerSec: number;
  txBytesPerSec: number;
  /** The peer asked us to use it as a backup. */
  backup: boolean;
  /** Its path is benched by us. */
  benched: boolean;
}

export interface ConnectionView {
  /** Our MPTCP token: unique within the tunnel's peer. */
  id: number;
  peer: string;
  /** outgoing: an application on our side opened it. */
  direction: 'outgoing' | 'incoming';
  /** The application's own: "10.77.0.2:40000", "[fd77::2]:40000". */
  source: string;
  destination: string;
  state: 'opening' | 'open' | 'closing';
  /** The [[rule]] that it goes by, counted from 1; absent: none. */
  rule?: number;
  /** Data-level payload, from and to the peer. */
  rxBytes: number;
  txBytes: number;
  rxBytesPerSec: number;
  txBytesPerSec: number;
  /** Sent and not acknowledged; waiting to be sent; what the peer's window still takes. */
  unackedBytes: number;
  queuedBytes: number;
  peerWindowBytes: number;
  idleMs: number;
  subflows: SubflowView[];
}

export const CONNECTION_ORDERS = ['rate', 'bytes', 'idle'] as const;
export type ConnectionOrder = (typeof CONNECTION_ORDERS)[number];

/** The most that one answer holds: with eight subflows each it fits into a frame of the control socket. */
export const CONNECTIONS_PAGE_MAX_COUNT = 200;

export interface ConnectionQuery {
  /** rate, bytes: the most first; idle: the longest idle first. */
  order: ConnectionOrder;
  /** So many of the order are skipped. */
  offset: number;
  /** Up to CONNECTIONS_PAGE_MAX_COUNT. */
  limit: number;
}

export interface ConnectionPage {
  /** Of all connections that are open. */
  total: number;
  connections: ConnectionView[];
}

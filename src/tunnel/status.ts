/** What `mptunnel status --json` prints; also what the control socket carries. Units in names; keys are never in it but public ones. */

import type { FlowMode } from './config.js';
import type { PathState, PeerState } from './link.js';

export interface PathStatus {
  id: number;
  name: string;
  local: string;
  remote: string;
  state: PathState;
  rttMs: number;
  minRttMs: number;
  lossRatio: number;
  deliveryRateBytesPerSec: number;
  rxBytes: number;
  txBytes: number;
}

export interface PeerStatus {
  name: string;
  publicKey: string;
  state: PeerState;
  lastError: string;
  paths: PathStatus[];
  /** Stream-plane connections with this peer, open now. */
  connections: number;
}

export interface DatagramStatus {
  /** Flows under way that this side sends, by mode. */
  flows: Record<FlowMode, number>;
  /** Numbered flows that this side receives, and packets of theirs that wait now. What was held, skipped or dropped is in the counters. */
  resequencing: { flows: number; heldPackets: number };
}

export interface TunnelStatus {
  name: string;
  state: 'starting' | 'up' | 'stopping';
  pid: number;
  uptimeMs: number;
  peers: PeerStatus[];
  connections: number;
  /** Once the planes run. */
  datagrams?: DatagramStatus;
  /** Named counters of drops and refusals, for diagnosis. */
  counters: Record<string, number>;
}

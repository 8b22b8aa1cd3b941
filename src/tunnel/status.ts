/** What `mptunnel status --json` prints; also what the control socket carries. Units in names; keys are never in it but public ones. */

import type { AeadName } from '../tun/native.js';
import type { TransportKind } from './carrier/transport.js';
import type { Budget, FlowMode } from './config.js';
import type { RefusedSource } from './gateway/refused-sources.js';
import type { PathState, PeerState } from './link.js';

export interface PathStatus {
  id: number;
  name: string;
  local: string;
  remote: string;
  /** The relay that it may go by: "relay.example:5181". */
  via?: string;
  /** It goes by that relay now; false: directly. */
  relayed?: boolean;
  /** What keeps the relay from carrying. */
  viaProblem?: string;
  /** Which address the peer sees us send from; absent while it has not said (only servers say). */
  seenAs?: string;
  /** Over what it goes; absent: UDP, or nothing. */
  carrier?: TransportKind;
  /** Where that carrier has several: "HTTP/3" or "HTTP/2". */
  carrierProtocol?: string;
  /** Why it cannot go over other carriers than UDP, when it was tried; absent: nothing is known to be wrong. */
  carrierProblem?: string;
  state: PathState;
  /** Why it is in that state, and for how long it has been; "" and -1: nothing was heard of it yet. */
  stateReason: string;
  inStateMs: number;
  rttMs: number;
  minRttMs: number;
  lossRatio: number;
  deliveryRateBytesPerSec: number;
  rxBytes: number;
  txBytes: number;
  /** UDP payload, over the last one to two seconds. */
  rxBytesPerSec: number;
  txBytesPerSec: number;
  /** Largest inner IP packet that fits into one datagram. */
  innerMtuBytes: number;
  /** Largest packet that it carries from here, outer headers included, where that is less than its interface takes; absent: it is not. */
  reducedMtuBytes?: number;
  priority: number;
  backup: boolean;
  /** Absent: 0. */
  cost?: number;
  /** The most that this side sends there, and that it asked the peer for: IP packets, in bytes a second. Absent: no limit. */
  limitUpBytesPerSec?: number;
  limitDownBytesPerSec?: number;
  /** The peer is of a version that obeys no limits. */
  limitDownIgnored?: true;
  budget?: BudgetStatus;
  /** It did our streams more harm than good: for so long yet it carries new data of theirs only while no other path can. */
  benched?: { reason: string; remainingMs: number };
}

/** Of a path that may carry only so much. */
export interface BudgetStatus {
  /** IP packets, both directions together. */
  bytes: number;
  period: Budget['period'];
  usedBytes: number;
  /** What may have been used by now, if it were used evenly. */
  dueBytes: number;
  /** ahead: a backup until the calendar has caught up. spent: a backup, or off, until the period ends. */
  state: 'within' | 'ahead' | 'spent';
  /** ISO 8601: when it begins anew. */
  endsAt: string;
}

export interface PeerStatus {
  name: string;
  publicKey: string;
  state: PeerState;
  lastError: string;
  paths: PathStatus[];
  /** Stream-plane connections with this peer, open now. */
  connections: number;
  /** It sent from an address that is not in its allowed_ips. */
  refusedSource?: RefusedSource;
  /** Absent: the daemon is older than this. */
  traffic?: PeerTrafficStatus;
  /** As configured, "up" being from the side that dials to the other. Absent: no limit. */
  limitUpBytesPerSec?: number;
  limitDownBytesPerSec?: number;
}

/** Since its key is known here, also before the tunnel was started. Over all paths, those that are gone too. */
export interface PeerTrafficStatus {
  /** UDP payload. */
  rxBytes: number;
  txBytes: number;
  /** UDP datagrams. */
  rxPackets: number;
  txPackets: number;
  /** Connections that the peer opened here, and that this side opened to it. */
  rxConnections: number;
  txConnections: number;
}

export interface DatagramStatus {
  /** Flows under way that this side sends, by mode. */
  flows: Record<FlowMode, number>;
  /** Numbered flows that this side receives, and packets of theirs that wait now. What was held, skipped or dropped is in the counters. */
  resequencing: { flows: number; heldPackets: number };
}

/** A relay at which this side waits to be called. */
export interface RelayPlaceStatus {
  /** "relay.example:5181" */
  relay: string;
  /** The relay knows that it does. */
  waits: boolean;
  /** Where the relay sees it; "" when it has not said. */
  seenAs: string;
  /** Why it does not wait there, "" when it does, or when nothing is known yet. */
  problem: string;
  /** Calls that are answered, and whose caller is there. */
  called: number;
}

/** An AEAD that our handshakes offer. */
export interface AeadStatus {
  name: AeadName;
  /** Who computes it and in which version: "ipsec-mb 1.3.0", "openssl 3.0.15". */
  engine: string;
  /** Of a packet of 1400 bytes, as measured at the start. */
  sealNs: number;
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
  /** Absent: it waits nowhere. */
  relays?: readonly RelayPlaceStatus[];
  /** The preferred one first; two peers take what is fastest for both. Once there is a link layer. */
  aeads?: readonly AeadStatus[];
  /** Named counters of drops and refusals, for diagnosis. */
  counters: Record<string, number>;
}

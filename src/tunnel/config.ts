/** The configuration as the rest of the program sees it: validated, defaults filled in, keys decoded. `config-file.ts` reads it from TOML. */

import type { CongestionControlName } from '../mptcp-over-udp/congestion/congestion-controls.js';
import type { SchedulerName } from '../mptcp-over-udp/scheduler/schedulers.js';

export interface InterfaceConfig {
  name: string;
  privateKey: Uint8Array;
  /** "10.77.0.2/24" */
  addresses: readonly string[];
  /** Server: the UDP port; undefined: not listening. */
  listenPort: number | undefined;
  mtuBytes: number;
}

export interface PathConfig {
  name: string;
  interface: string | undefined;
  address: string | undefined;
}

export interface PeerConfig {
  name: string;
  publicKey: Uint8Array;
  presharedKey: Uint8Array | undefined;
  /** "203.0.113.1:5180", "[2001:db8::1]:5180" or "host:port" */
  endpoint: string | undefined;
  allowedIps: readonly string[];
}

export interface EgressConfig {
  mode: 'socket';
  /** Prefixes beyond the public Internet and the tunnel's own addresses. */
  allow: readonly string[];
}

export interface StreamConfig {
  scheduler: SchedulerName;
  congestionControl: CongestionControlName;
  /** `datagram` sends TCP packet by packet instead of terminating it. */
  steer: 'aggregate' | 'datagram';
}

export interface TunnelConfig {
  interface: InterfaceConfig;
  paths: readonly PathConfig[];
  peers: readonly PeerConfig[];
  /** undefined: connections from peers reach only the tunnel's own addresses. */
  egress: EgressConfig | undefined;
  stream: StreamConfig;
}

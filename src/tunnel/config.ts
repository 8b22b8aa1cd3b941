/** The configuration as the rest of the program sees it: validated, defaults filled in, keys decoded. `config-file.ts` reads it from TOML. */

import type { CongestionControlName } from '../mptcp-over-udp/congestion/congestion-controls.js';
import type { SchedulerName } from '../mptcp-over-udp/scheduler/schedulers.js';
import type { CarrierKind } from './carrier/carrier.js';
import type { RelayConfig } from './relay/relay-config.js';

export interface InterfaceConfig {
  name: string;
  /** No TUN: connections are the program's own (`mptunnel proxy`), or a gateway's with sockets. Absent: a TUN. */
  device?: 'none';
  privateKey: Uint8Array;
  /** "10.77.0.2/24" */
  addresses: readonly string[];
  /** Server: the UDP port; undefined: not listening. */
  listenPort: number | undefined;
  /** Where clients reach this server from outside, for invites: "vpn.example.org" or with a port. Absent: the host's own global addresses. */
  publicEndpoint?: string;
  /** Where peers find this host that cannot reach it: it waits there to be called. Absent: nowhere. */
  relays?: readonly RelayConfig[];
  /** Server: carriers beside UDP. Absent: none. */
  carriers?: CarrierListenConfig;
  mtuBytes: number;
  /** `native_mptcp`: addresses of the TUN for MPTCP of the host's own, one for each path beyond the first, without prefix length. Absent: none are given. */
  nativeMptcpAddresses?: readonly string[];
  /** What belongs into the tunnel leaves by it or not at all, but for the prefixes allowed. Absent: no kill switch. */
  killSwitch?: { allow: readonly string[] };
}

/** Where clients come in over other carriers than UDP. */
export interface CarrierListenConfig {
  /** UDP. */
  quicPort?: number;
  /** TCP, and UDP where HTTP/3 is installed. */
  webtransportPort?: number;
  /** PEM files; absent: a self-signed certificate of our own, which is kept. */
  tlsFiles?: { certificate: string; privateKey: string };
  /** What others than our peers get of the WebTransport port; undefined: nothing. */
  webFolder: string | undefined;
}

/** Of the host, while the tunnel is up. */
export interface DnsConfig {
  /** IP addresses, one to three. */
  servers: readonly string[];
  search: readonly string[];
}

/** Hosts behind this one that use the tunnel. */
export interface LanConfig {
  interfaces: readonly string[];
  /** They appear under this host's tunnel address. */
  masquerade: boolean;
}

export interface PathConfig extends PathPolicy {
  name: string;
  interface: string | undefined;
  address: string | undefined;
  /** It leads to the peer by that relay. Absent: to the peer's endpoint. */
  via?: RelayConfig;
  /** Absent: auto, the best that works. */
  carrier?: CarrierKind | 'auto';
}

/** How a path is used (docs/paths.md, path-policy.ts). */
export interface PathPolicy {
  /** Lower is taken first, in the mode `priority`; default 0. */
  priority?: number;
  /** Only used while no other path is up. */
  backup?: boolean;
  /** Used for what cheaper paths cannot carry; default 0. */
  cost?: number;
  /** The most that we, and the peer, put on the path: IP packets, in bytes a second; 0, the default: as much as there is. */
  limitUpBytesPerSec?: number;
  limitDownBytesPerSec?: number;
  /** What the path may carry, both directions together. */
  budget?: Budget;
  budgetSpent?: BudgetSpent;
}

export interface Budget {
  /** Of IP packets; 0: there is no budget. */
  bytes: number;
  period: 'day' | 'week' | 'month';
}

/** What a path is for when its budget is spent: to be used while no other is up (default), or not at all. */
export type BudgetSpent = 'backup' | 'off';

/** Interfaces become paths by themselves. Names may have "*" for any characters. */
export interface AutoPathsConfig {
  /** Only these; also tunnels among them. undefined: all but tunnels. */
  include: readonly string[] | undefined;
  /** Never these. */
  exclude: readonly string[];
  /** What those become that cost by volume: backups, no paths at all, or paths as any (absent). */
  metered?: 'backup' | 'exclude' | 'use';
  /** Which those are: the kernel does not know. */
  meteredInterfaces?: readonly string[];
}

export interface PeerConfig {
  name: string;
  publicKey: Uint8Array;
  presharedKey: Uint8Array | undefined;
  /** "203.0.113.1:5180", "[2001:db8::1]:5180" or "host:port" */
  endpoint: string | undefined;
  /** It has no endpoint, and we dial it by the relays of our paths. */
  dialledByRelay?: true;
  allowedIps: readonly string[];
  /** Where it listens for other carriers than UDP, at the host of `endpoint`. Absent: it does not. */
  quicPort?: number;
  webtransportPort?: number;
  /** Of its certificate; absent: the host of `endpoint`. */
  serverName?: string;
  /** SHA-256 of the only certificate that is right; absent: one that the host's authorities vouch for. */
  certificateSha256?: Uint8Array;
  /** Not a peer yet, but the holder of an invite: it may enrol and do nothing else. */
  enrolling?: boolean;
  /** (Client) connections that this gateway forwards from the Internet come from any address, and their answers go back into the tunnel. */
  acceptForwards?: boolean;
  /** What all of its paths carry together, "up" being from the side that dials to the other: bytes a second. Absent: as much as there is. */
  limitUpBytesPerSec?: number;
  limitDownBytesPerSec?: number;
}

/** We dial it; else it dials us. */
export function isDialled({ endpoint, dialledByRelay }: PeerConfig): boolean {
  return endpoint !== undefined || dialledByRelay === true;
}

export interface EgressConfig {
  /** How connections of peers are dialled: by the kernel's sockets, from this host's address; or by our own TCP over the TUN, from theirs. */
  mode: 'socket' | 'tun';
  /** Prefixes beyond the public Internet and the tunnel's own addresses. */
  allow: readonly string[];
  /** Prefixes that peers may not reach; of those in `allow` and here the longest counts. Absent: none. */
  deny?: readonly string[];
  /** This host forwards what is not TCP: with its own address (true), or routed (false). Absent: the host's forwarding is not touched. */
  nat?: boolean;
}

/** Ports of this host that lead to a peer, or to a host behind one. */
export interface ForwardConfig {
  protocol: 'tcp' | 'udp';
  /** Inclusive. */
  ports: readonly [first: number, last: number];
  /** Of this host; absent: all of them. */
  address?: string;
  /** A peer by name, or an address in the allowed IPs of one. Without `port` each port leads to its like. */
  to: { peer?: string; address?: string; port?: number };
}

/** Where metrics are served: at least one of the two. */
export interface MetricsConfig {
  listen: { host: string; port: number } | undefined;
  /** Absolute. */
  socketPath: string | undefined;
}

export interface StreamConfig {
  scheduler: SchedulerName;
  congestionControl: CongestionControlName;
  /** `datagram` sends TCP packet by packet instead of terminating it. */
  steer: 'aggregate' | 'datagram';
  /** Headers of stream segments go compressed where the peer can read them; default true. */
  headerCompression?: boolean;
}

/** Which way datagrams go; see docs/datagrams.md. */
export const FLOW_MODES = ['min-delay', 'redundant', 'aggregate', 'active-standby', 'priority', 'pin'] as const;
export type FlowMode = (typeof FLOW_MODES)[number];

/** Where TCP goes: terminated and aggregated, or packet by packet. */
export const RULE_PLANES = ['stream', 'datagram'] as const;
export type RulePlane = (typeof RULE_PLANES)[number];

/** Fits a packet whose mark is `value` in the bits of `mask`. */
export interface RuleMark {
  readonly value: number;
  readonly mask: number;
}

/** A flow whose first packet fits all that is said goes as the rule says. */
export interface RuleConfig {
  /** IP protocol numbers. */
  protocols?: readonly number[];
  /** Source or destination, inclusive. */
  ports?: readonly [first: number, last: number];
  destinations?: readonly string[];
  sources?: readonly string[];
  /** What the destination's address was known under: "example.org", or "*.example.org" for all names below it; lower case. */
  domains?: readonly string[];
  dscp?: number;
  fwmark?: RuleMark;
  /** Ids of users, one of whom owns the socket. */
  users?: readonly number[];
  /** Absent: min-delay, with `paths` active-standby; and TCP that is terminated as [stream] says. */
  mode?: FlowMode;
  /** Names, in order of preference; absent: all. */
  paths?: readonly string[];
  /** Of TCP; absent: as [stream] says. */
  plane?: RulePlane;
  /** It does not enter the tunnel. */
  bypass?: boolean;
}

export interface TunnelConfig {
  interface: InterfaceConfig;
  paths: readonly PathConfig[];
  /** Beside `paths`, every interface with a default route. */
  autoPaths?: AutoPathsConfig;
  peers: readonly PeerConfig[];
  /** undefined: connections from peers reach only the tunnel's own addresses. */
  egress: EgressConfig | undefined;
  stream: StreamConfig;
  /** Absent: nowhere. */
  metrics?: MetricsConfig;
  /** Absent: the host's name resolution stays as it is. */
  dns?: DnsConfig;
  /** Absent: nobody. */
  lan?: LanConfig;
  /** The first that fits counts. Absent: none. */
  rules?: readonly RuleConfig[];
  /** (Server) absent: none. */
  forwards?: readonly ForwardConfig[];
}

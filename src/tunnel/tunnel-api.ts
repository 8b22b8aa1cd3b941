/** The running tunnel as the control room sees it. `startTunnel` in tunnel.ts makes one. */

import type { PathConfig, PeerConfig, TunnelConfig } from './config.js';
import type { ConnectionPage, ConnectionQuery } from './connections.js';
import type { DescriptorStore } from './descriptor-store.js';
import type { TunnelEventListener } from './event-hub.js';
import type { TunnelEvent, TunnelOccurrence } from './events.js';
import type { LimitedPeer } from './gateway/peer-limits.js';
import type { PacketTap, PathChange, PeerLink } from './link.js';
import type { PeerMessage } from './session/slow-control.js';
import type { TunnelStatus } from './status.js';
import type { UserNetwork } from './user/user-network.js';

export interface Tunnel {
  status(): TunnelStatus;
  /** Resolves when every peer with an endpoint is up (handshake done, first path proven); a server: at once. Rejects with TunnelError after timeoutMs, saying why. */
  ready(timeoutMs: number): Promise<void>;
  setTap(tap: PacketTap | undefined): void;
  /** Stream-plane connections; rates are known from the second call on. */
  connections(query: ConnectionQuery): ConnectionPage;
  /** Hears every event from now on; returns what ends that. */
  onEvent(listener: TunnelEventListener): () => void;
  /** Something that was done to the tunnel from outside: for its events and the log. */
  report(occurrence: TunnelOccurrence): void;
  /** The last 256 events or fewer, oldest first. */
  readonly recentEvents: readonly TunnelEvent[];
  readonly peers: readonly PeerLink[];
  /** What this program may do with the tunnel itself; only where there is no TUN. */
  readonly user?: UserNetwork | undefined;
  /** As the LinkLayer's. */
  addPath(config: PathConfig): Promise<string>;
  removePath(name: string): void;
  changePath(name: string, change: PathChange): void;
  /** Its limits from now on, under connections that go on; of either 0: none. Throws TunnelError `no-such-peer`. */
  changePeer(name: string, change: LimitedPeer): void;
  /** Goes over to another configuration, as far as that touches no connection. Rejects with TunnelError when it is another tunnel's. */
  reconfigure(config: TunnelConfig): Promise<Reconfigured>;
  /** A peer that comes while the tunnel runs: known, and routed to. Rejects with TunnelError or HostNetworkError, with nothing left of it. */
  addPeer(peer: PeerConfig): Promise<void>;
  /** Ends its sessions and connections, and takes its routes back. False: there is none of that name. */
  removePeer(name: string): Promise<boolean>;
  /** Receives what peers say to each other beside paths; peers may be added and removed within the call. */
  setMessageHandler(handler: (peer: PeerLink, message: PeerMessage) => void): void;
  /** At once, unconfirmed. False: no path is up. */
  sendMessage(peer: PeerLink, message: PeerMessage): boolean;
  /** `reason`: who wanted it, for the event. Takes back routes, rules and addresses, says goodbye to peers, closes devices. Idempotent. */
  close(reason?: string): Promise<void>;
}

/** One line for each difference between two configurations. */
export interface Reconfigured {
  done: string[];
  /** In force after a restart. */
  left: string[];
}

export interface TunnelLog {
  info(message: string): void;
  warn(message: string): void;
}

export interface StartTunnelOptions {
  config: TunnelConfig;
  log: TunnelLog;
  /** Where the device and the listening socket outlive the process. Default: nowhere. */
  descriptors?: DescriptorStore;
}

export type StartTunnel = (options: StartTunnelOptions) => Promise<Tunnel>;

/** An operation on the tunnel failed: `message` tells the user what to do. */
export class TunnelError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'TunnelError';
    this.code = code;
  }
}

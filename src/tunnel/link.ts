/**
 * The line below the planes. Above it there are IP packets and paths; below it there are sessions, sealing, sockets and carriers.
 * `LinkLayer` (link-layer.ts) implements it; the planes and the composition root know only these types.
 */

import type { PathLimit } from '../mptcp-over-udp/path-limit.js';
import type { CarrierKind } from './carrier/carrier.js';
import type { PathConfig, PathPolicy, PeerConfig } from './config.js';
import type { PeerMessage } from './session/slow-control.js';

/** probing: not yet proven; up; suspect: silent for longer than its round trips allow, not to be used while another is up; down: no traffic but probes. */
export type PathState = 'probing' | 'up' | 'suspect' | 'down';

export interface PathLink {
  /** Small integer, unique within the peer, the same on both sides, below MAX_PATHS. Chosen by the client, the lowest that is free. */
  readonly id: number;
  readonly name: string;
  readonly state: PathState;
  /** Why it is in that state, for people; "" before the first change. */
  readonly stateReason: string;
  /** Up, but it has not answered for longer than it should: not to be used while another is up and answers. Nobody is told when this changes. */
  readonly doubtful: boolean;
  /** Smoothed and minimum round trip from path acknowledgements, -1 before the first. */
  readonly rttMs: number;
  readonly minRttMs: number;
  /** Mean deviation of the round trip (RFC 6298), 0 before the first. */
  readonly rttvarMs: number;
  /** By how much the way back lately exceeded its minimum, by the peer's clock: queue and jitter that our sending does not cause. 0 before the first. */
  readonly returnQueueMs: number;
  /** 0 .. 1 over the last seconds. */
  readonly lossRatio: number;
  /** Bytes per second that the other side acknowledged lately (what was carried, not a capacity), 0 before the first. */
  readonly deliveryRateBytesPerSec: number;
  /** UDP payload bytes that the other side acknowledged, in all. */
  readonly deliveredBytes: number;
  /** Of the planes' packets, those sent after the newest that was acknowledged: on their way, or lost at the end. */
  readonly inflightBytes: number;
  /** Lower is taken first, in the mode `priority`. Of the client's configuration. */
  readonly priority: number;
  /** Only to be used while no other path is up. Of the client's configuration. */
  readonly backup: boolean;
  /** Used for what cheaper paths cannot carry. Of the client's configuration. */
  readonly cost: number;
  /** Of what we send there, both planes together; undefined: none. */
  readonly limit?: PathLimit | undefined;
  /** What the peer was asked not to exceed; 0: no limit. Of the client's configuration. */
  readonly peerLimitBytesPerSec?: number;
  /** The peer is of a version that obeys limits and costs. */
  readonly peerObeysPolicy?: boolean;
  /** How long a packet of the datagram plane would wait for it now, behind others; 0 without a limit. */
  readonly heldMs: number;
  /** Largest inner IP packet that fits into one datagram of this path. */
  readonly innerMtuBytes: number;
  /** Largest packet that is carried, outer headers included, where it was found by probing to be less than the interfaces take; 0: it is not less. */
  readonly reducedMtuBytes?: number;
  /** Largest payload of a stream segment, whatever its headers take: they go compressed. 0: innerMtuBytes holds for stream segments too. */
  readonly segmentPayloadBytes: number;
  /** "address:port" or "[v6]:port"; "" when unknown. */
  readonly local: string;
  /** Over what it goes now; "" when over nothing. */
  readonly carrierKind?: CarrierKind | '';
  /** Where that kind has several: "HTTP/3"; "" where not. */
  readonly carrierProtocol?: string;
  /** The relay that it may go by, "" when by none; is it used, or does it go directly; and what keeps it from carrying. */
  readonly via?: string;
  readonly isRelayed?: boolean;
  readonly viaProblem?: string;
  /** Why it cannot go over other carriers than UDP, when it was tried; "" when nothing is known to be wrong. */
  readonly carrierProblem?: string;
  /** Where the peer says that our packets come from; "" when it has not said. */
  readonly seenAs?: string;
  readonly remote: string;
  readonly rxBytes: number;
  readonly txBytes: number;
  /** As IP packets, both directions together. */
  readonly carriedBytes?: number;
  /** Sender's duty of SegmentSink.sendSegments, sealed as TYPE_STREAM. Dropped and counted when the path has no keys or socket. */
  sendSegments(
    header: Uint8Array,
    headerBytes: number,
    payload: Uint8Array,
    payloadOffset: number,
    payloadBytes: number,
    segmentBytes: number,
  ): void;
  /** One IP packet of the datagram plane (vnet fields as in a TUN descriptor, 0 when none). False when it had to be dropped. */
  sendPacket(
    packet: Uint8Array,
    offset: number,
    length: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
  ): boolean;
}

export type PeerState = 'connecting' | 'up' | 'down';

/** What a peer's paths have carried, those that are gone too, since it is known here: UDP payload, in datagrams. */
export interface PeerTraffic {
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly rxPackets: number;
  readonly txPackets: number;
}

export interface PeerLink {
  readonly name: string;
  /** base64 */
  readonly publicKey: string;
  readonly state: PeerState;
  /** We dial it; else it dials us. */
  readonly initiator: boolean;
  /** Why the last attempt failed, for people; "" when it did not. */
  readonly lastError: string;
  /** In order of id; a path stays in the list while its configuration (or, on a server, its session) lives. */
  readonly paths: readonly PathLink[];
  /** Prefixes that the peer may send from and that are routed to it. */
  readonly allowedIps: readonly string[];
  /** The holder of an invite, no peer yet: no packet of its is anything. */
  readonly enrolling: boolean;
  /** Absent: it is not counted. */
  readonly traffic?: PeerTraffic;
}

/** What the link layer tells upwards. Called synchronously from its receive loop; buffers are borrowed until return. */
export interface LinkObserver {
  /** An IP/TCP packet of the stream plane, maybe coalesced: header of the first segment, then the payloads; segmentBytes 0 when single. */
  onStreamPacket(
    peer: PeerLink,
    path: PathLink,
    bytes: Uint8Array,
    offset: number,
    length: number,
    segmentBytes: number,
    nowMs: number,
  ): void;
  /** An IP packet of the datagram plane, maybe joined of TCP segments or UDP datagrams of `segmentBytes` each: header of the first, then the payloads; 0 when single. */
  onDatagramPacket(
    peer: PeerLink,
    path: PathLink,
    bytes: Uint8Array,
    offset: number,
    length: number,
    nowMs: number,
    segmentBytes: number,
  ): void;
  /** The path's state, name or addresses changed. */
  onPathChange(peer: PeerLink, path: PathLink, nowMs: number): void;
  /** The path goes for good, now: what is sent on it during this call still leaves, if it can. */
  onPathRemoved(peer: PeerLink, path: PathLink, nowMs: number): void;
  onPeerChange(peer: PeerLink, nowMs: number): void;
  /** A message of the kinds that are between peers and not about paths. May be lost, may come twice. Peers may not be removed within the call. */
  onMessage?(peer: PeerLink, message: PeerMessage, nowMs: number): void;
  /** After each batch: the planes flush what they hold (acknowledgements, transmissions), then the link layer flushes its sockets. */
  onBatchEnd(nowMs: number): void;
}

/** Sees every inner IP packet at the line, for `mptunnel capture`. Super-packets come as they are; the tap cuts them. Borrowed until return. */
export interface PacketTap {
  onPacket(
    direction: 'in' | 'out',
    path: PathLink,
    plane: 'stream' | 'datagram',
    header: Uint8Array,
    headerOffset: number,
    headerBytes: number,
    payload: Uint8Array,
    payloadOffset: number,
    payloadBytes: number,
    segmentBytes: number,
  ): void;
}

/** What can be changed of a path while it is in use. */
export type PathChange = PathPolicy;

/** Beyond what its configuration says: free to be used, a backup, or not to be used at all. */
export type PathRestriction = 'none' | 'backup' | 'off';

export interface LinkLayer {
  readonly peers: readonly PeerLink[];
  /** Sockets open, handshakes begin. Rejects with LinkError when a socket cannot be had. */
  start(observer: LinkObserver): Promise<void>;
  /** Sends what is staged on every socket; call after sending outside of onBatchEnd. */
  flush(): void;
  /** Stages what waits for the limit of its path and may leave by now; after the streams had their turn. */
  poll(nowMs: number): void;
  /** When `poll` wants to be called; Infinity while nothing waits. */
  nextTimeoutMs(nowMs: number): number;
  setTap(tap: PacketTap | undefined): void;
  /** From now on it may come, or is dialled. Throws RangeError when its name or key is another's, our own, or weak. */
  addPeer(config: PeerConfig): PeerLink;
  /** Says goodbye; its sessions and paths end, and it is a stranger. Not from within an observer's call. */
  removePeer(peer: PeerLink): void;
  /** On the best path of the peer, at once. False: there is none that is up. Nobody sends it again. */
  sendMessage(peer: PeerLink, message: PeerMessage): boolean;
  /** The link watch says that an interface went down, came up, or changed its addresses: paths on it go down or are tried at once. */
  onInterfaceChange(interfaceName: string, up: boolean): void;
  /**
   * (Client) one more path to every peer. Resolves to why it cannot be used yet, "" when it can. Rejects with TunnelError: `path-exists` (the name, or
   * the interface and address, are those of another), `too-many-paths`, `no-client`.
   */
  addPath(config: PathConfig): Promise<string>;
  /** (Client) the paths as they are configured now. */
  readonly pathConfigs: readonly PathConfig[];
  /** (Client) the path goes, its connections go on over the others. Throws TunnelError `no-such-path`, `no-client`. */
  removePath(name: string): void;
  /** (Client) peers obey it too, for what they send. Throws TunnelError `no-such-path`, `no-client`. */
  changePath(name: string, change: PathChange): void;
  /** (Client) how a path may be used for now, whatever its configuration says; `reason`: why not at all. Throws as changePath. */
  restrictPath(name: string, restriction: PathRestriction, reason: string): void;
  /** Says goodbye to peers, closes sockets, wipes keys. */
  close(): Promise<void>;
}

/**
 * The session between two peers, sans I/O: who they are (Noise IKpsk2), which keys are valid when, and silence towards strangers.
 * It sees only handshake and cookie datagrams; data datagrams are opened by the native table under the keys that it hands out. Which path or
 * address a datagram travels on is the caller's: a *route* is the caller's own small integer for (socket, remote address), passed through.
 */

import type { AeadName } from '../../tun/native.js';

/** Keys of one epoch. 32 bytes each. The receiver of this object owns the arrays and wipes them. */
export interface EpochKeys {
  aead: AeadName;
  /** FEATURE_* (messages.ts) that both sides have. */
  features: number;
  /** We put remoteIndex into what we send and recognise localIndex in what we receive. */
  localIndex: number;
  remoteIndex: number;
  sendKey: Uint8Array;
  receiveKey: Uint8Array;
}

export type SessionEvent =
  /** Receive under it at once. `confirmed`: send under it at once too; otherwise send under it from `epoch-confirmed` on. */
  | { type: 'epoch-ready'; peerId: number; keys: EpochKeys; confirmed: boolean; route: number }
  /** (Responder) the first datagram under localIndex was opened, as the caller reported with `handleDataReceived`. */
  | { type: 'epoch-confirmed'; peerId: number; localIndex: number }
  /** Neither send nor receive under it any longer. */
  | { type: 'epoch-retired'; peerId: number; localIndex: number }
  /** No answer for so long, or no valid epoch left: the peer is unreachable (the handshake goes on being tried while wanted). */
  | { type: 'peer-unreachable'; peerId: number; reason: string };

export interface SessionPeerConfig {
  /** The caller's own number for the peer. */
  peerId: number;
  publicKey: Uint8Array;
  presharedKey?: Uint8Array;
  /** We start handshakes towards it (a client). */
  initiator: boolean;
}

export interface SessionEndpointOptions {
  privateKey: Uint8Array;
  peers: readonly SessionPeerConfig[];
  /** In order of preference; the handshake picks what is fastest for both. `ns` from measureAead, sent along. */
  aeads: readonly { name: AeadName; sealNs: number }[];
  /** FEATURE_* to tell; default all that we know. */
  features?: number;
  randomBytes: (count: number) => Uint8Array;
  /** TAI64N needs the wall clock: milliseconds since 1970 at construction, advanced by nowMs. */
  wallClockMs: number;
  nowMs: number;
}

/** Implemented by `createSessionEndpoint` in endpoint.ts. */
export interface SessionEndpoint {
  /** A handshake, response or cookie datagram from `route` (source address bytes for the cookie MAC). Invalid ones are dropped and counted, never answered without a valid MAC. */
  handleDatagram(bytes: Uint8Array, route: number, sourceAddress: Uint8Array, nowMs: number): void;
  /** The caller opened data under this epoch (at least the first time; at most once per batch after that). */
  handleDataReceived(localIndex: number, nowMs: number): void;
  /** The caller sent `datagrams` under this epoch: counts towards rekeying. */
  handleDataSent(localIndex: number, datagrams: number, nowMs: number): void;
  /** (Initiator) these routes are to be raced for this peer; an empty list stops trying. A changed list is tried at once. */
  setRoutes(peerId: number, routes: readonly number[], nowMs: number): void;
  /** Next datagram to send, copied into `out` (>= 256 bytes); undefined when none is due. Call until undefined. */
  pollTransmit(out: Uint8Array, nowMs: number): { route: number; length: number } | undefined;
  pollEvent(): SessionEvent | undefined;
  /** Absolute, Infinity when none. */
  nextTimeoutMs(): number;
  handleTimeout(nowMs: number): void;
  addPeer(peer: SessionPeerConfig): void;
  removePeer(peerId: number): void;
  readonly counters: Readonly<Record<string, number>>;
}

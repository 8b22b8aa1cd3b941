/**
 * What a path sends on and receives from: a UDP socket, or an in-memory port of the addon behind which a transport carries the datagrams. Packets are sealed and staged on its
 * `handle`; who owns the batch calls `flush`.
 */

import type { UdpHandle } from '../../tun/native.js';

/** The best first. */
export const CARRIER_KINDS = ['udp', 'quic', 'webtransport'] as const;
export type CarrierKind = (typeof CARRIER_KINDS)[number];

/** By which relay a socket goes. What its owner receives is first offered to it. */
export interface RelayWay {
  /** "relay.example:5181" */
  readonly endpoint: string;
  /** An address record. */
  readonly address: Uint8Array;
  /** Where the relay sees the socket; "" when it has not said. */
  readonly seenAs: string;
  /** What keeps it from carrying, for people; "" when nothing does. */
  readonly problem: string;
  /** Is it the relay, at record number `index` of `addresses`? */
  isAt(addresses: Uint8Array, index: number): boolean;
  /** False: the datagram is none of a relay's own. */
  handleRaw(bytes: Uint8Array, addresses: Uint8Array, index: number, nowMs: number): boolean;
}

export interface Carrier {
  readonly kind: CarrierKind;
  /** Where the kind has several: "HTTP/3". */
  readonly protocol?: string | undefined;
  /** undefined: it cannot be used now. Ask anew each time: opening again replaces it. */
  readonly handle: UdpHandle | undefined;
  /** Local port, 0 without one. */
  readonly port: number;
  /** Of one datagram; 65,535: whatever the interface takes. */
  readonly maxDatagramBytes: number;
  /** Why it cannot be used, or why it refused the last send: an errno name, "" when all is well. */
  lastErrorCode: string;
  /** Something is staged since the last flush. The owner of the carrier keeps it. */
  dirty: boolean;
  refusedDatagrams: number;
  /** Absent: it goes by none. */
  relay?: RelayWay | undefined;
  /** It is gone for good and must be opened again. */
  readonly needsReopen: boolean;
  /** Sends what is staged; how many datagrams were refused since the last call. */
  flush(): number;
  /** One datagram, now. Bytes sent, or -errno. */
  sendRaw(address: Uint8Array, bytes: Uint8Array, length: number): number;
  /** An errno name, "" when nothing was refused since the last call. */
  takeError(): string;
}

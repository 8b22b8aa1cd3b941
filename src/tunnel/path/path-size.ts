/** What fits on a path: what our interface takes, what the peer says that its takes, what the carrier does, and what was found to be carried between them. */

import { AEAD_TAG_BYTES, DATA_HEADER_BYTES } from '../../tun/native.js';
import type { Carrier } from '../carrier/carrier.js';
import { PathMtu } from './path-mtu.js';

export const DEFAULT_OUTER_MTU_BYTES = 1500;
export const SEAL_OVERHEAD_BYTES = DATA_HEADER_BYTES + AEAD_TAG_BYTES;
export const MAX_UDP_PAYLOAD_BYTES = 65_507;
/** A small integer: sizes are asked for with every packet, and with infinity among them each would be a number on the heap. */
const NOT_TOLD_BYTES = 65_535;
const LEAST_INNER_BYTES = 576;
/** Steps of the fallback when the kernel says that a datagram is too long. */
const MTU_STEPS = [1400, 1280] as const;

export class PathSize {
  readonly mtu: PathMtu;
  #outerBytes: number;
  #peerInnerBytes = NOT_TOLD_BYTES;

  constructor(outerBytes: number) {
    this.#outerBytes = outerBytes;
    this.mtu = new PathMtu(outerBytes);
  }

  /** Probes may leave. The peer's interface is known: on a server's socket, which all paths share, more than that must not be tried. */
  isProbed(carrier: Carrier | undefined): boolean {
    // Other carriers cut and join as they need to.
    return carrier?.kind === 'udp' && this.#peerInnerBytes < NOT_TOLD_BYTES;
  }

  /** Largest inner packet by what our side takes. The peer is told this, and never what was found: the way back may be another. `headerBytes`: of IP and UDP. */
  ownInnerBytes(headerBytes: number, carrier: Carrier | undefined): number {
    const carriedBytes = carrier === undefined ? MAX_UDP_PAYLOAD_BYTES : carrier.maxDatagramBytes;
    return Math.min(this.#outerBytes - headerBytes, carriedBytes) - SEAL_OVERHEAD_BYTES;
  }

  innerBytes(headerBytes: number, carrier: Carrier | undefined): number {
    const bytes = Math.min(this.ownInnerBytes(headerBytes, carrier), this.#peerInnerBytes);
    return this.isProbed(carrier) ? Math.min(bytes, this.mtu.bytes - headerBytes - SEAL_OVERHEAD_BYTES) : bytes;
  }

  /** Whole packets, where fewer bytes fit than the interfaces take; 0: as many do. */
  reducedBytes(carrier: Carrier | undefined): number {
    return this.isProbed(carrier) && this.mtu.isReduced ? this.mtu.bytes : 0;
  }

  /** After any change, also of `headerBytes`. */
  noteChanged(headerBytes: number): void {
    this.mtu.setCeiling(Math.min(this.#outerBytes, this.#peerInnerBytes + SEAL_OVERHEAD_BYTES + headerBytes));
  }

  /** False when that is no news. */
  setOuter(bytes: number): boolean {
    if (bytes === this.#outerBytes || bytes < MTU_STEPS[1]) return false;
    this.#outerBytes = bytes;
    return true;
  }

  /** The peer says what fits on its side; nonsense is ignored. */
  setPeerInner(bytes: number): boolean {
    if (bytes < LEAST_INNER_BYTES || bytes === this.#peerInnerBytes) return false;
    this.#peerInnerBytes = bytes;
    return true;
  }

  /** The next smaller step. False when there is none. */
  reduce(): boolean {
    const next = MTU_STEPS.find((step) => step < this.#outerBytes);
    if (next === undefined) return false;
    this.#outerBytes = next;
    return true;
  }
}

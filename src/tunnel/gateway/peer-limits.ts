/** The limits of peers: which of them have one, in which direction, and when something that waits for one may go on. */

import type { PeerConfig } from '../config.js';
import type { PeerLink } from '../link.js';
import type { PacketOutlet } from '../path/held-packets.js';
import { PeerGate } from './peer-gate.js';

/** From the peer to us, and from us to the peer. */
export type GateDirection = 'in' | 'out';

/** Of one peer; undefined: no limit. The object stays the peer's, its gates come and go. */
export interface PeerGates {
  in: PeerGate | undefined;
  out: PeerGate | undefined;
}

export type LimitedPeer = Pick<PeerConfig, 'limitUpBytesPerSec' | 'limitDownBytesPerSec'>;

export class PeerLimits {
  readonly #outletOf: (peer: PeerLink, direction: GateDirection) => PacketOutlet;
  readonly #clock: () => number;
  readonly #gates = new Map<PeerLink, PeerGates>();
  /** Those at which something waits. */
  #waiting: PeerGate[] = [];
  #droppedPackets = 0;

  /** `outletOf`: where packets of the datagram plane go on that have waited. */
  constructor(outletOf: (peer: PeerLink, direction: GateDirection) => PacketOutlet, clock: () => number = () => performance.now()) {
    this.#outletOf = outletOf;
    this.#clock = clock;
  }

  /** Packets that were too many, in all. */
  get droppedPackets(): number {
    let dropped = this.#droppedPackets;
    for (const gates of this.#gates.values()) dropped += droppedAt(gates.in) + droppedAt(gates.out);
    return dropped;
  }

  gatesOf(peer: PeerLink): PeerGates {
    let gates = this.#gates.get(peer);
    if (gates === undefined) {
      gates = { in: undefined, out: undefined };
      this.#gates.set(peer, gates);
    }
    return gates;
  }

  /** As they were set; absent: none. */
  of(peer: PeerLink): LimitedPeer {
    const gates = this.#gates.get(peer);
    const [up, down] = peer.initiator ? [gates?.out, gates?.in] : [gates?.in, gates?.out];
    return {
      ...(up === undefined ? {} : { limitUpBytesPerSec: up.bytesPerSec }),
      ...(down === undefined ? {} : { limitDownBytesPerSec: down.bytesPerSec }),
    };
  }

  /** "Up" is from the side that dials to the side that is dialled, whichever of them we are. */
  setLimits(peer: PeerLink, { limitUpBytesPerSec = 0, limitDownBytesPerSec = 0 }: LimitedPeer): void {
    this.#setLimit(peer, 'out', peer.initiator ? limitUpBytesPerSec : limitDownBytesPerSec);
    this.#setLimit(peer, 'in', peer.initiator ? limitDownBytesPerSec : limitUpBytesPerSec);
  }

  /** The peer is gone. */
  forget(peer: PeerLink): void {
    const gates = this.#gates.get(peer);
    if (gates === undefined) return;
    this.#gates.delete(peer);
    this.#droppedPackets += droppedAt(gates.in) + droppedAt(gates.out);
    this.#waiting = this.#waiting.filter((gate) => gate !== gates.in && gate !== gates.out);
  }

  /** What may go on by now does. Before the planes are polled: what it makes them send leaves with the rest. */
  poll(nowMs: number): void {
    const waiting = this.#waiting;
    let kept = 0;
    // What begins to wait meanwhile is added behind, and asked in the same round.
    for (let i = 0; i < waiting.length; i++) {
      const gate = waiting[i] as PeerGate;
      if (gate.poll(nowMs)) waiting[kept++] = gate;
    }
    waiting.length = kept;
  }

  /** Infinity while nothing waits. */
  nextTimeoutMs(nowMs: number): number {
    let at = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#waiting.length; i++) at = Math.min(at, (this.#waiting[i] as PeerGate).nextTimeoutMs(nowMs));
    return at;
  }

  #setLimit(peer: PeerLink, direction: GateDirection, bytesPerSec: number): void {
    const gates = this.gatesOf(peer);
    const gate = gates[direction];
    if (gate?.bytesPerSec === bytesPerSec || (gate === undefined && bytesPerSec === 0)) return;
    if (gate !== undefined && bytesPerSec > 0) {
      gate.setRate(bytesPerSec);
      return;
    }
    if (gate === undefined) {
      gates[direction] = new PeerGate(bytesPerSec, this.#outletOf(peer, direction), (one) => this.#waiting.push(one), this.#clock);
      return;
    }
    gates[direction] = undefined;
    this.#droppedPackets += gate.droppedPackets;
    this.#waiting = this.#waiting.filter((one) => one !== gate);
    gate.open();
  }
}

function droppedAt(gate: PeerGate | undefined): number {
  return gate?.droppedPackets ?? 0;
}

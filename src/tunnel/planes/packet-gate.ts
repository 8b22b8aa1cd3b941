/** What may hold packets of the datagram plane back: the limits of a peer (gateway/peer-gate.ts). */

/** Of a peer: undefined while there is no limit. */
export interface PacketGates {
  /** For what comes from it. */
  readonly in: PacketGate | undefined;
  /** For what goes to it. */
  readonly out: PacketGate | undefined;
}

export interface PacketGate {
  /** True: the packet passes now. False: it waits (it was copied), or was dropped; what waited comes by `DatagramPlane.outletOf`. */
  admitPacket(
    packet: Uint8Array,
    offset: number,
    length: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
    nowMs: number,
  ): boolean;
}

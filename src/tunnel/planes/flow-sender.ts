/** Puts a packet of a flow on its path or paths, with the trailer (session/flow-trailer.ts) that its mode needs. */

import { finishSum, sumBytes } from '../../mptcp-over-udp/wire/checksum.js';
import { cutDatagram } from '../../mptcp-over-udp/wire/cut-datagram.js';
import { fragmentIpv4 } from '../../mptcp-over-udp/wire/fragment.js';
import type { IpPacketFacts } from '../../mptcp-over-udp/wire/ip-header.js';
import { GSO_FIXED_ID, GSO_NONE, GSO_UDP_L4 } from '../../tun/native.js';
import type { FlowMode } from '../config.js';
import type { PathLink, PeerLink } from '../link.js';
import { emitFlowTrailer, FLOW_TRAILER_BYTES } from '../session/flow-trailer.js';
import { FlowIds } from '../steering/flow-ids.js';
import type { FlowRules } from '../steering/flow-rules.js';
import { type FlowTable, RULE_MIRRORED } from '../steering/flow-table.js';
import type { PathChooser } from '../steering/path-chooser.js';

const MAX_PACKET_BYTES = 65_535;

export class FlowSender {
  readonly counters = { txPackets: 0, txCopies: 0, fragmentedPackets: 0, droppedByPath: 0 };
  readonly #flows: FlowTable;
  readonly #rules: FlowRules;
  readonly #chooser: PathChooser;
  readonly #seed: number;
  readonly #ids = new Map<PeerLink, FlowIds>();
  /** The packet with its trailer, while it is being sent. */
  readonly #scratch = new Uint8Array(MAX_PACKET_BYTES + FLOW_TRAILER_BYTES);
  /** One datagram of a super-packet. */
  readonly #piece = new Uint8Array(MAX_PACKET_BYTES);

  constructor(flows: FlowTable, rules: FlowRules, chooser: PathChooser, seed: number) {
    this.#flows = flows;
    this.#rules = rules;
    this.#chooser = chooser;
    this.#seed = seed >>> 0;
  }

  /** The largest packet of the flow that goes in one piece. `usable`: not empty. A super-packet of TCP goes on one path without a trailer. */
  mtuBytes(slot: number, usable: readonly PathLink[], gsoType: number, nowMs: number): number {
    const mode = this.#flows.mode(slot);
    const isSuper = gsoType !== GSO_NONE && !isUdp(gsoType);
    const isNumbered = !isSuper && isPerPacket(mode);
    if (!isNumbered) {
      const trailerBytes = !isSuper && this.#isAnnounced(mode, slot) ? FLOW_TRAILER_BYTES : 0;
      return this.#chooser.single(slot, usable, nowMs).innerMtuBytes - trailerBytes;
    }
    let least = usable[0]!.innerMtuBytes;
    for (let i = 1; i < usable.length; i++) least = Math.min(least, usable[i]!.innerMtuBytes);
    return least - FLOW_TRAILER_BYTES;
  }

  /** One packet that fits. */
  send(
    peer: PeerLink,
    slot: number,
    usable: readonly PathLink[],
    bytes: Uint8Array,
    offset: number,
    length: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
    nowMs: number,
  ): void {
    const mode = this.#flows.mode(slot);
    if (isUdp(gsoType) && (isPerPacket(mode) || this.#isAnnounced(mode, slot))) {
      this.#sendDatagrams(peer, slot, usable, bytes, offset, length, gsoType, gsoSize, csumStart, csumOffset, nowMs);
      return;
    }
    const isNumbered = gsoType === 0 && isPerPacket(mode);
    if (!isNumbered && (gsoType !== 0 || !this.#isAnnounced(mode, slot))) {
      const path = this.#chooser.single(slot, usable, nowMs);
      this.#count(path.sendPacket(bytes, offset, length, gsoType, gsoSize, csumStart, csumOffset));
      return;
    }
    const scratch = this.#scratch;
    scratch.set(bytes.subarray(offset, offset + length));
    if (csumStart > 0) completeChecksum(scratch, 0, length, csumStart, csumOffset);
    if (isNumbered) this.#sendNumbered(peer, slot, mode, usable, length, nowMs);
    else this.#sendAnnounced(slot, mode as 'active-standby' | 'pin', usable, length, nowMs);
  }

  /** A super-packet of UDP, datagram by datagram: each has its number. */
  #sendDatagrams(
    peer: PeerLink,
    slot: number,
    usable: readonly PathLink[],
    bytes: Uint8Array,
    offset: number,
    length: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
    nowMs: number,
  ): void {
    const piece = this.#piece;
    const idStep = (gsoType & GSO_FIXED_ID) === 0 ? 1 : 0;
    for (let i = 0; ; i++) {
      const pieceBytes = cutDatagram(piece, bytes, offset, length, csumStart, gsoSize, i, idStep);
      if (pieceBytes === 0) return;
      this.send(peer, slot, usable, piece, 0, pieceBytes, GSO_NONE, 0, csumStart, csumOffset, nowMs);
    }
  }

  /** An IPv4 packet larger than `mtuBytes`; 0 when it cannot be cut. */
  sendFragments(
    peer: PeerLink,
    slot: number,
    usable: readonly PathLink[],
    bytes: Uint8Array,
    offset: number,
    facts: IpPacketFacts,
    csumStart: number,
    csumOffset: number,
    mtuBytes: number,
    nowMs: number,
  ): number {
    // The checksum covers the whole datagram: it must be there before the cut.
    if (csumStart > 0) completeChecksum(bytes, offset, facts.totalBytes, csumStart, csumOffset);
    this.counters.fragmentedPackets++;
    return fragmentIpv4(bytes, offset, facts.totalBytes, mtuBytes, (packet, length) => {
      this.send(peer, slot, usable, packet, 0, length, 0, 0, 0, 0, nowMs);
    });
  }

  #sendNumbered(peer: PeerLink, slot: number, mode: FlowMode, usable: readonly PathLink[], length: number, nowMs: number): void {
    const ids = this.#idsOf(peer);
    const flowId = ids.idOf(slot);
    const code = mode as 'aggregate' | 'redundant' | 'priority';
    const isMirrored = this.#flows.rule(slot) === RULE_MIRRORED;
    const isRestricted = this.#isRestricted(slot);
    const sequence = ids.nextSequence(flowId);
    if (mode === 'redundant') {
      emitFlowTrailer(this.#scratch, length, code, isMirrored, isRestricted, false, flowId, sequence);
      let copies = 0;
      for (let i = 0; i < usable.length; i++) if (this.#put(usable[i]!, length)) copies++;
      this.#count(copies > 0);
      this.counters.txCopies += Math.max(0, copies - 1);
      return;
    }
    const path = this.#chooser.spread(peer, mode, usable, nowMs);
    const isSpread = this.#flows.noteSpread(slot, path.id, nowMs);
    emitFlowTrailer(this.#scratch, length, code, isMirrored, isRestricted, isSpread, flowId, sequence);
    this.#count(this.#put(path, length));
  }

  #sendAnnounced(slot: number, mode: 'active-standby' | 'pin', usable: readonly PathLink[], length: number, nowMs: number): void {
    emitFlowTrailer(this.#scratch, length, mode, false, this.#isRestricted(slot), false, 0, 0);
    this.#count(this.#put(this.#chooser.single(slot, usable, nowMs), length));
  }

  #put(path: PathLink, length: number): boolean {
    return path.sendPacket(this.#scratch, 0, length + FLOW_TRAILER_BYTES, 0, 0, 0, 0);
  }

  /** Must the other side be told how the flow goes, for its answers? */
  #isAnnounced(mode: FlowMode, slot: number): boolean {
    return (mode === 'active-standby' || mode === 'pin') && this.#flows.rule(slot) >= 0;
  }

  #isRestricted(slot: number): boolean {
    const rule = this.#flows.rule(slot);
    return rule >= 0 && this.#rules.rule(rule).paths !== undefined;
  }

  #idsOf(peer: PeerLink): FlowIds {
    let ids = this.#ids.get(peer);
    if (ids === undefined) {
      ids = new FlowIds(this.#flows, this.#seed);
      this.#ids.set(peer, ids);
    }
    return ids;
  }

  #count(sent: boolean): void {
    if (sent) this.counters.txPackets++;
    else this.counters.droppedByPath++;
  }
}

/** Decided packet by packet, so numbered. */
function isPerPacket(mode: FlowMode): boolean {
  return mode === 'aggregate' || mode === 'redundant' || mode === 'priority';
}

/** Datagrams of UDP that the TUN gave as one. */
function isUdp(gsoType: number): boolean {
  return (gsoType & ~GSO_FIXED_ID) === GSO_UDP_L4;
}

/** The field holds the folded, uncomplemented pseudo-header sum (VNET_NEEDS_CSUM). 0 means "none" to UDP and is sent as ones. */
function completeChecksum(bytes: Uint8Array, offset: number, totalBytes: number, csumStart: number, csumOffset: number): void {
  const field = offset + csumStart + csumOffset;
  if (csumStart >= totalBytes || csumStart + csumOffset + 2 > totalBytes) return;
  const checksum = finishSum(sumBytes(bytes, offset + csumStart, totalBytes - csumStart, 0)) || 0xffff;
  bytes[field] = checksum >>> 8;
  bytes[field + 1] = checksum;
}

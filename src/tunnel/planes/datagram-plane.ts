/**
 * The datagram plane: whatever is not terminated goes packet by packet, each flow on one path. To the packets the tunnel is one router hop:
 * hop limits go down by one where a packet enters, what is too big is told so or fragmented, what cannot be sent is answered by ICMP.
 */

import { finishSum, sumBytes, updateChecksum } from '../../mptcp-over-udp/wire/checksum.js';
import { fragmentIpv4 } from '../../mptcp-over-udp/wire/fragment.js';
import {
  createIcmpError,
  emitIcmpError,
  type IcmpErrorKind,
  MAX_ICMP_ERROR_BYTES,
  parseIcmpError,
} from '../../mptcp-over-udp/wire/icmp.js';
import { createIpPacketFacts, type IpPacketFacts, PROTOCOL_TCP, parseIpPacket } from '../../mptcp-over-udp/wire/ip-header.js';
import { parsePrefix } from '../../tun/ip-prefix.js';
import type { AllowedIps } from '../gateway/allowed-ips.js';
import { classifyAddress } from '../gateway/egress-policy.js';
import type { PathLink, PeerLink } from '../link.js';
import { bestPath, bestPathIn, isAsGood } from '../steering/best-path.js';
import { FlowTable } from '../steering/flow-table.js';

/** Writes one whole IP packet, checksums complete, to the TUN. Borrowed until return. */
export type WriteTun = (packet: Uint8Array, offset: number, length: number) => void;

export interface DatagramPlaneOptions {
  routes: AllowedIps<PeerLink>;
  /** Our addresses on the TUN, "10.77.0.2/24". */
  ownAddresses: readonly string[];
  writeTun: WriteTun;
  hashSeed: number;
  /** May packets of peers that dial us reach that destination, where they answer nothing of ours? Default: they may. Borrowed until return. */
  permitsDestination?: (destination: Uint8Array) => boolean;
  maxFlows?: number;
  flowIdleMs?: number;
}

/** RFC 4443, 2.4 (f) and RFC 1812, 4.3.2.8: errors are limited; as many as Linux sends. */
const ICMP_PER_SECOND = 1000;
const ICMP_BURST = 50;
/** RFC 7600, 3: what a router without an IPv4 address calls itself. */
const DUMMY_IPV4 = Uint8Array.of(192, 0, 0, 8);

export class DatagramPlane {
  readonly counters = {
    txPackets: 0,
    rxPackets: 0,
    flowsMoved: 0,
    fragmentedPackets: 0,
    droppedMalformed: 0,
    droppedNoRoute: 0,
    droppedNotForwardable: 0,
    droppedHopLimit: 0,
    droppedTooBig: 0,
    droppedNoPath: 0,
    droppedByPath: 0,
    droppedSource: 0,
    droppedDestination: 0,
    icmpSent: 0,
    icmpLimited: 0,
  };
  readonly flows: FlowTable;
  readonly #routes: AllowedIps<PeerLink>;
  readonly #writeTun: WriteTun;
  readonly #permitsDestination: (destination: Uint8Array) => boolean;
  readonly #own: readonly Uint8Array[];
  readonly #facts: IpPacketFacts = createIpPacketFacts();
  readonly #icmpError = createIcmpError();
  readonly #icmp = new Uint8Array(MAX_ICMP_ERROR_BYTES);
  #icmpTokens = ICMP_BURST;
  #icmpRefilledMs = Number.NEGATIVE_INFINITY;

  /** Throws RangeError on a malformed own address. */
  constructor(options: DatagramPlaneOptions) {
    this.#routes = options.routes;
    this.#writeTun = options.writeTun;
    this.#permitsDestination = options.permitsDestination ?? (() => true);
    this.#own = options.ownAddresses.map((text) => {
      const prefix = parsePrefix(text);
      if (prefix === undefined) throw new RangeError(`own address "${text}" is neither an IPv4 nor an IPv6 address`);
      return prefix.bytes;
    });
    this.flows = new FlowTable({
      hashSeed: options.hashSeed,
      ...(options.maxFlows === undefined ? {} : { maxFlows: options.maxFlows }),
      ...(options.flowIdleMs === undefined ? {} : { idleMs: options.flowIdleMs }),
    });
  }

  /** One packet as read from the TUN (vnet fields as in a TUN descriptor). Its header is changed in place. */
  handleTunPacket(
    bytes: Uint8Array,
    offset: number,
    length: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
    nowMs: number,
  ): void {
    const facts = this.#facts;
    if (parseIpPacket(bytes, offset, length, facts) !== '') {
      this.counters.droppedMalformed++;
      return;
    }
    if (!isForwardable(bytes, facts)) {
      this.counters.droppedNotForwardable++;
      return;
    }
    const peer = this.#routes.lookup(bytes, facts.destinationAddressOffset, facts.addressBytes);
    if (peer === undefined) {
      this.counters.droppedNoRoute++;
      this.#sendIcmp('net-unreachable', 0, bytes, offset, nowMs);
      return;
    }
    if (facts.hopLimit <= 1) {
      this.counters.droppedHopLimit++;
      this.#sendIcmp('time-exceeded', 0, bytes, offset, nowMs);
      return;
    }
    const path = this.#pathOfFlow(peer, bytes, nowMs);
    if (path === undefined) {
      this.counters.droppedNoPath++;
      this.#sendIcmp('host-unreachable', 0, bytes, offset, nowMs);
      return;
    }
    const isTooBig = this.#largestBytes(bytes, gsoType, gsoSize) > path.innerMtuBytes;
    if (isTooBig && (facts.dontFragment || gsoType !== 0)) {
      this.counters.droppedTooBig++;
      this.#sendIcmp('packet-too-big', path.innerMtuBytes, bytes, offset, nowMs);
      return;
    }
    decrementHopLimit(bytes, offset);
    if (isTooBig) this.#sendFragments(path, bytes, offset, csumStart, csumOffset);
    else this.#countSent(path.sendPacket(bytes, offset, facts.totalBytes, gsoType, gsoSize, csumStart, csumOffset));
  }

  /** One packet that came from the peer over the path. */
  handlePathPacket(peer: PeerLink, path: PathLink, bytes: Uint8Array, offset: number, length: number, nowMs: number): void {
    const facts = this.#facts;
    if (parseIpPacket(bytes, offset, length, facts) !== '') {
      this.counters.droppedMalformed++;
      return;
    }
    if (!this.#routes.isAllowedSource(peer, bytes, facts.sourceAddressOffset, facts.addressBytes)) {
      this.counters.droppedSource++;
      return;
    }
    const isKnown = this.flows.find(bytes, facts, true, nowMs) >= 0;
    if (!isKnown && !peer.initiator && !this.#mayReach(bytes, offset)) {
      this.counters.droppedDestination++;
      this.#refuse(path, bytes, offset, nowMs);
      return;
    }
    this.counters.rxPackets++;
    if (!isKnown) this.#learnReplyPath(peer, path, bytes, nowMs);
    this.#writeTun(bytes, offset, facts.totalBytes);
  }

  /** Forgets idle flows; call every now and then. */
  handleTimeout(nowMs: number): void {
    this.flows.expire(nowMs);
  }

  /** A flow stays on its path while that is up; it leaves a suspect one for one that is up, and a down one for whatever there is. */
  #pathOfFlow(peer: PeerLink, bytes: Uint8Array, nowMs: number): PathLink | undefined {
    const slot = this.flows.find(bytes, this.#facts, false, nowMs);
    const current = slot < 0 ? undefined : pathWithId(peer, this.flows.pathId(slot));
    if (current !== undefined && current.state === 'up') return current;
    const isSuspect = current !== undefined && current.state === 'suspect';
    const path = isSuspect ? (bestPathIn('up', peer.paths) ?? current) : bestPath(peer.paths);
    if (path === undefined || path === current) return path;
    if (slot < 0) {
      this.flows.insert(bytes, this.#facts, false, path.id, nowMs);
    } else {
      this.flows.setPathId(slot, path.id);
      this.counters.flowsMoved++;
    }
    return path;
  }

  /** Answers go where the flow came from, unless another path is better. A flow that is under way is not turned round. */
  #learnReplyPath(peer: PeerLink, path: PathLink, bytes: Uint8Array, nowMs: number): void {
    const best = bestPathIn('up', peer.paths);
    if (path.state !== 'up' || best === undefined || !isAsGood(path, best)) return;
    this.flows.insert(bytes, this.#facts, true, path.id, nowMs);
  }

  /** An ICMP error is about a packet of another flow, which its receiver checks. */
  #mayReach(bytes: Uint8Array, offset: number): boolean {
    const { destinationAddressOffset: at, addressBytes, totalBytes } = this.#facts;
    return (
      this.#permitsDestination(bytes.subarray(at, at + addressBytes)) || parseIcmpError(bytes, offset, totalBytes, this.#icmpError) === ''
    );
  }

  /** From the address that may not be reached: that is routed to us. */
  #refuse(path: PathLink, bytes: Uint8Array, offset: number, nowMs: number): void {
    const { destinationAddressOffset: at, addressBytes, totalBytes } = this.#facts;
    const source = bytes.slice(at, at + addressBytes);
    const length = emitIcmpError(this.#icmp, 'admin-prohibited', 0, source, bytes, offset, totalBytes);
    if (length === 0) return;
    if (this.#takeIcmpToken(nowMs)) path.sendPacket(this.#icmp, 0, length, 0, 0, 0, 0);
    else this.counters.icmpLimited++;
  }

  /** Of the packet, or of the largest segment that a super-packet stands for. */
  #largestBytes(bytes: Uint8Array, gsoType: number, gsoSize: number): number {
    const facts = this.#facts;
    if (gsoType === 0) return facts.totalBytes;
    const start = facts.sourceAddressOffset - (facts.version === 4 ? 12 : 8);
    const upperHeaderBytes = facts.protocol === PROTOCOL_TCP ? ((bytes[facts.upperOffset + 12] ?? 0) >>> 4) << 2 : 8;
    return Math.min(facts.totalBytes, facts.upperOffset - start + upperHeaderBytes + gsoSize);
  }

  #sendFragments(path: PathLink, bytes: Uint8Array, offset: number, csumStart: number, csumOffset: number): void {
    // The checksum covers the whole datagram: it must be there before the cut.
    if (csumStart > 0) completeChecksum(bytes, offset, this.#facts.totalBytes, csumStart, csumOffset);
    this.counters.fragmentedPackets++;
    const count = fragmentIpv4(bytes, offset, this.#facts.totalBytes, path.innerMtuBytes, (packet, length) => {
      this.#countSent(path.sendPacket(packet, 0, length, 0, 0, 0, 0));
    });
    if (count === 0) this.counters.droppedTooBig++;
  }

  #countSent(sent: boolean): void {
    if (sent) this.counters.txPackets++;
    else this.counters.droppedByPath++;
  }

  #sendIcmp(kind: IcmpErrorKind, mtuBytes: number, bytes: Uint8Array, offset: number, nowMs: number): void {
    const source = this.#icmpSource(kind, bytes);
    const length = source === undefined ? 0 : emitIcmpError(this.#icmp, kind, mtuBytes, source, bytes, offset, this.#facts.totalBytes);
    if (length === 0) return;
    if (!this.#takeIcmpToken(nowMs)) {
      this.counters.icmpLimited++;
      return;
    }
    this.counters.icmpSent++;
    this.#writeTun(this.#icmp, 0, length);
  }

  /**
   * Towards hosts behind us it is our address, as a router's. Our own kernel takes no packet from outside that bears its own address, so for what
   * we sent ourselves it is the address that could not be reached, which also passes reverse-path filters; a hop has RFC 7600's dummy.
   */
  #icmpSource(kind: IcmpErrorKind, bytes: Uint8Array): Uint8Array | undefined {
    const { addressBytes, sourceAddressOffset, destinationAddressOffset } = this.#facts;
    let own: Uint8Array | undefined;
    for (const address of this.#own) {
      if (address.length !== addressBytes) continue;
      own ??= address;
      if (!sameBytes(address, bytes, sourceAddressOffset)) continue;
      if (kind === 'time-exceeded') return addressBytes === 4 ? DUMMY_IPV4 : address;
      return bytes.slice(destinationAddressOffset, destinationAddressOffset + addressBytes);
    }
    return own ?? (addressBytes === 4 ? DUMMY_IPV4 : undefined);
  }

  #takeIcmpToken(nowMs: number): boolean {
    const refill = ((nowMs - this.#icmpRefilledMs) * ICMP_PER_SECOND) / 1000;
    this.#icmpTokens = Math.min(ICMP_BURST, this.#icmpTokens + Math.max(0, refill));
    this.#icmpRefilledMs = nowMs;
    if (this.#icmpTokens < 1) return false;
    this.#icmpTokens--;
    return true;
  }
}

/** What never leaves a link, a router does not forward (RFC 1812, 5.3.7; RFC 4291, 2.5.6 and 2.7). */
function isForwardable(bytes: Uint8Array, facts: IpPacketFacts): boolean {
  const to = facts.destinationAddressOffset;
  const destination = classifyAddress(bytes, to, facts.addressBytes);
  if (destination === 'unspecified' || destination === 'loopback' || destination === 'link-local') return false;
  if (facts.version === 6) {
    // Scopes up to link-local stay on the link.
    if (destination === 'multicast' && (bytes[to + 1]! & 0x0f) <= 2) return false;
  } else {
    if (destination === 'multicast' && bytes[to] === 224 && bytes[to + 1] === 0 && bytes[to + 2] === 0) return false;
    if (bytes[to] === 255) return false;
  }
  const source = classifyAddress(bytes, facts.sourceAddressOffset, facts.addressBytes);
  return source !== 'unspecified' && source !== 'loopback' && source !== 'link-local' && source !== 'multicast';
}

function pathWithId(peer: PeerLink, id: number): PathLink | undefined {
  const paths = peer.paths;
  for (let i = 0; i < paths.length; i++) if (paths[i]!.id === id) return paths[i];
  return undefined;
}

/** RFC 1624: the IPv4 header checksum follows by what changed. */
function decrementHopLimit(bytes: Uint8Array, offset: number): void {
  if (bytes[offset]! >>> 4 === 6) {
    bytes[offset + 7] = bytes[offset + 7]! - 1;
    return;
  }
  const before = (bytes[offset + 8]! << 8) | bytes[offset + 9]!;
  const checksum = updateChecksum((bytes[offset + 10]! << 8) | bytes[offset + 11]!, before, before - 0x100);
  bytes[offset + 8] = bytes[offset + 8]! - 1;
  bytes[offset + 10] = checksum >>> 8;
  bytes[offset + 11] = checksum;
}

/** The field holds the folded, uncomplemented pseudo-header sum (VNET_NEEDS_CSUM). 0 means "none" to UDP and is sent as ones. */
function completeChecksum(bytes: Uint8Array, offset: number, totalBytes: number, csumStart: number, csumOffset: number): void {
  const field = offset + csumStart + csumOffset;
  if (csumStart >= totalBytes || csumStart + csumOffset + 2 > totalBytes) return;
  const checksum = finishSum(sumBytes(bytes, offset + csumStart, totalBytes - csumStart, 0)) || 0xffff;
  bytes[field] = checksum >>> 8;
  bytes[field + 1] = checksum;
}

function sameBytes(address: Uint8Array, bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < address.length; i++) if (address[i] !== bytes[at + i]) return false;
  return true;
}

/**
 * The datagram plane: whatever is not terminated goes packet by packet, each flow in its mode (docs/datagrams.md). To the packets the tunnel is one
 * router hop: hop limits go down by one where a packet enters, what is too big is told so or fragmented, what cannot be sent is answered by ICMP.
 */

import { createIcmpError, type IcmpErrorKind, parseIcmpError } from '../../mptcp-over-udp/wire/icmp.js';
import { createIpPacketFacts, type IpPacketFacts, PROTOCOL_TCP, parseIpPacket } from '../../mptcp-over-udp/wire/ip-header.js';
import { parsePrefix } from '../../tun/ip-prefix.js';
import { FLOW_MODES, type FlowMode, type RuleConfig } from '../config.js';
import type { AllowedIps } from '../gateway/allowed-ips.js';
import type { PathLink, PeerLink } from '../link.js';
import type { PacketOutlet } from '../path/held-packets.js';
import { createFlowTrailer, isNumbered, parseFlowTrailer } from '../session/flow-trailer.js';
import { bestPathIn, isAsGood } from '../steering/best-path.js';
import { DnsWatch } from '../steering/dns-watch.js';
import { FlowRules, type RuleKnowledge } from '../steering/flow-rules.js';
import { FlowTable, RULE_MIRRORED, RULE_NONE, RULE_SUBFLOW, RULE_UNKNOWN } from '../steering/flow-table.js';
import { PathChooser } from '../steering/path-chooser.js';
import { Resequencer } from '../steering/resequencer.js';
import { waitMsOf } from '../steering/resequencing-wait.js';
import { SubflowTracker } from '../steering/subflow-tracker.js';
import { FlowSender } from './flow-sender.js';
import type { PacketGates } from './packet-gate.js';
import { decrementHopLimit, isForwardable } from './router-hop.js';
import { RouterIcmp } from './router-icmp.js';

/** Writes one whole IP packet, checksums complete, to the TUN; or with segmentBytes > 0 one that was joined, which is changed in place. Borrowed until return. */
export type WriteTun = (packet: Uint8Array, offset: number, length: number, segmentBytes?: number) => void;

export interface DatagramPlaneOptions {
  routes: AllowedIps<PeerLink>;
  /** Our addresses on the TUN, "10.77.0.2/24". */
  ownAddresses: readonly string[];
  writeTun: WriteTun;
  hashSeed: number;
  rules?: readonly RuleConfig[];
  /** What packets do not tell, for the rules; default: nothing. */
  knowledge?: RuleKnowledge;
  /** May packets of peers reach that destination, where they answer nothing of ours? Default: they may. Borrowed until return. */
  permitsDestination?: (destination: Uint8Array) => boolean;
  /** Peers that we dial are asked too. Default false: they are our way out, and may reach everything here. */
  restrictsDialled?: boolean;
  /** A peer sent from an address that is not routed to it. Borrowed until return. */
  onSourceRefused?: (peer: PeerLink, source: Uint8Array) => void;
  /** Where a peer's packets may have to wait for a limit of its. Default: nowhere. */
  gatesOf?: (peer: PeerLink) => PacketGates;
  maxFlows?: number;
  flowIdleMs?: number;
}

export class DatagramPlane {
  readonly flows: FlowTable;
  readonly #counters = {
    rxPackets: 0,
    droppedMalformed: 0,
    droppedNoRoute: 0,
    droppedNotForwardable: 0,
    droppedHopLimit: 0,
    droppedTooBig: 0,
    droppedNoPath: 0,
    droppedSource: 0,
    droppedDestination: 0,
  };
  readonly #routes: AllowedIps<PeerLink>;
  readonly #writeTun: WriteTun;
  readonly #permitsDestination: (destination: Uint8Array) => boolean;
  readonly #restrictsDialled: boolean;
  readonly #onSourceRefused: (peer: PeerLink, source: Uint8Array) => void;
  readonly #gatesOf: ((peer: PeerLink) => PacketGates) | undefined;
  /** Those in force; changed by `setRules`. */
  readonly rules: FlowRules;
  readonly dns = new DnsWatch();
  readonly #chooser: PathChooser;
  readonly #subflows: SubflowTracker;
  readonly #sender: FlowSender;
  readonly #resequencer: Resequencer;
  readonly #icmp: RouterIcmp;
  readonly #facts: IpPacketFacts = createIpPacketFacts();
  readonly #trailer = createFlowTrailer();
  readonly #icmpError = createIcmpError();

  /** Throws RangeError on a malformed own address or prefix of a rule. */
  constructor(options: DatagramPlaneOptions) {
    this.#routes = options.routes;
    this.#writeTun = options.writeTun;
    this.#permitsDestination = options.permitsDestination ?? (() => true);
    this.#restrictsDialled = options.restrictsDialled ?? false;
    this.#onSourceRefused = options.onSourceRefused ?? (() => {});
    this.#gatesOf = options.gatesOf;
    this.#icmp = new RouterIcmp(options.ownAddresses.map(ownAddressBytes));
    this.flows = new FlowTable({
      hashSeed: options.hashSeed,
      ...(options.maxFlows === undefined ? {} : { maxFlows: options.maxFlows }),
      ...(options.flowIdleMs === undefined ? {} : { idleMs: options.flowIdleMs }),
    });
    this.rules = new FlowRules(options.rules ?? [], options.knowledge);
    this.#chooser = new PathChooser(this.flows, this.rules);
    this.#subflows = new SubflowTracker(this.flows);
    this.#sender = new FlowSender(this.flows, this.rules, this.#chooser, options.hashSeed);
    this.#resequencer = new Resequencer({ deliver: (bytes, offset, length) => this.#deliver(bytes, offset, length, 0), waitMs: waitMsOf });
  }

  /** Totals since the start. */
  get counters() {
    return {
      ...this.#counters,
      ...this.#sender.counters,
      ...this.#chooser.counters,
      ...this.#subflows.counters,
      ...this.#icmp.counters,
      ...this.#resequencer.counters,
    };
  }

  /** Flows under way that we send, by mode. */
  flowsByMode(): Record<FlowMode, number> {
    return Object.fromEntries(FLOW_MODES.map((mode) => [mode, this.flows.countOf(mode)])) as Record<FlowMode, number>;
  }

  /** Numbered flows that we receive, and packets of theirs that wait now. */
  get resequencing(): { flows: number; heldPackets: number } {
    return { flows: this.#resequencer.flowCount, heldPackets: this.#resequencer.heldPackets };
  }

  /** Flows under way go by the new rules from their next packet on. Throws RangeError on a malformed prefix. */
  setRules(rules: readonly RuleConfig[]): void {
    this.rules.replace(rules);
    this.flows.forgetRules();
  }

  /** Addresses of the TUN (`formatIp`) whose subflows of a host's own MPTCP belong on the path of that name. */
  setSubflowAddresses(pathNames: ReadonlyMap<string, string>): void {
    this.#subflows.setAddresses(pathNames);
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
      this.#counters.droppedMalformed++;
      return;
    }
    if (!isForwardable(bytes, facts)) {
      this.#counters.droppedNotForwardable++;
      return;
    }
    const peer = this.#routes.lookup(bytes, facts.destinationAddressOffset, facts.addressBytes);
    if (peer === undefined) {
      this.#counters.droppedNoRoute++;
      this.#sendIcmp('net-unreachable', 0, bytes, offset, nowMs);
      return;
    }
    const gate = this.#gatesOf?.(peer).out;
    if (gate !== undefined && !gate.admitPacket(bytes, offset, length, gsoType, gsoSize, csumStart, csumOffset, nowMs)) return;
    this.#sendToPeer(peer, bytes, offset, gsoType, gsoSize, csumStart, csumOffset, nowMs);
  }

  /** `outletOf(peer, 'out')` is where packets from the TUN go on that waited for the peer's limit, 'in' where those from the peer do. */
  outletOf(peer: PeerLink, direction: keyof PacketGates): PacketOutlet {
    const emitPacket: PacketOutlet['emitPacket'] = (bytes, offset, length, gsoType, gsoSize, csumStart, csumOffset) => {
      if (parseIpPacket(bytes, offset, length, this.#facts) !== '') return false;
      const nowMs = performance.now();
      if (direction === 'out') {
        this.#sendToPeer(peer, bytes, offset, gsoType, gsoSize, csumStart, csumOffset, nowMs);
        return true;
      }
      // As handlePathPacket has put them.
      const path = peer.paths.find(({ id }) => id === gsoType);
      if (path !== undefined) this.#receive(peer, path, bytes, offset, length, nowMs, gsoSize);
      return path !== undefined;
    };
    return { emitPacket };
  }

  /** What #facts say of it is known. */
  #sendToPeer(
    peer: PeerLink,
    bytes: Uint8Array,
    offset: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
    nowMs: number,
  ): void {
    const facts = this.#facts;
    if (facts.hopLimit <= 1) {
      this.#counters.droppedHopLimit++;
      this.#sendIcmp('time-exceeded', 0, bytes, offset, nowMs);
      return;
    }
    if (this.dns.listener !== undefined) this.dns.handleOutgoing(bytes, offset, facts, gsoSize);
    const slot = this.#slotOf(peer, bytes, offset, nowMs);
    const usable = this.#chooser.usable(peer, slot);
    if (usable.length === 0) {
      this.#counters.droppedNoPath++;
      this.#sendIcmp('host-unreachable', 0, bytes, offset, nowMs);
      return;
    }
    const mtuBytes = this.#sender.mtuBytes(slot, usable, gsoType, nowMs);
    const isTooBig = this.#largestBytes(bytes, gsoType, gsoSize) > mtuBytes;
    if (isTooBig && (facts.dontFragment || gsoType !== 0)) {
      this.#counters.droppedTooBig++;
      this.#sendIcmp('packet-too-big', mtuBytes, bytes, offset, nowMs);
      return;
    }
    decrementHopLimit(bytes, offset);
    if (!isTooBig) {
      this.#sender.send(peer, slot, usable, bytes, offset, facts.totalBytes, gsoType, gsoSize, csumStart, csumOffset, nowMs);
    } else if (this.#sender.sendFragments(peer, slot, usable, bytes, offset, facts, csumStart, csumOffset, mtuBytes, nowMs) === 0) {
      this.#counters.droppedTooBig++;
    }
  }

  /** One packet that came from the peer over the path, or one that was joined of several with `segmentBytes` of payload each. */
  handlePathPacket(
    peer: PeerLink,
    path: PathLink,
    bytes: Uint8Array,
    offset: number,
    length: number,
    nowMs: number,
    segmentBytes = 0,
  ): void {
    const facts = this.#facts;
    if (parseIpPacket(bytes, offset, length, facts) !== '') {
      this.#counters.droppedMalformed++;
      return;
    }
    if (!this.#routes.isAllowedSource(peer, bytes, facts.sourceAddressOffset, facts.addressBytes)) {
      this.#counters.droppedSource++;
      this.#onSourceRefused(peer, bytes.subarray(facts.sourceAddressOffset, facts.sourceAddressOffset + facts.addressBytes));
      return;
    }
    const gate = this.#gatesOf?.(peer).in;
    if (gate !== undefined && !gate.admitPacket(bytes, offset, length, path.id, segmentBytes, 0, 0, nowMs)) return;
    this.#receive(peer, path, bytes, offset, length, nowMs, segmentBytes);
  }

  /** What #facts say of it is known, and that the peer may send from there. */
  #receive(peer: PeerLink, path: PathLink, bytes: Uint8Array, offset: number, length: number, nowMs: number, segmentBytes: number): void {
    const facts = this.#facts;
    const hasTrailer = parseFlowTrailer(bytes, offset, length, facts.totalBytes, this.#trailer);
    const slot = this.flows.find(bytes, facts, true, nowMs);
    if (slot < 0 && (!peer.initiator || this.#restrictsDialled) && !this.#mayReach(bytes, offset)) {
      this.#counters.droppedDestination++;
      this.#refuse(path, bytes, offset, nowMs);
      return;
    }
    if (slot < 0) this.#learnFlow(peer, path, bytes, offset, hasTrailer, nowMs);
    else if (this.flows.rule(slot) === RULE_SUBFLOW && !hasTrailer) this.#subflows.note(peer, slot, bytes, offset, facts, path);
    else if (this.flows.rule(slot) < 0 && this.flows.rule(slot) !== RULE_UNKNOWN) this.#mirror(slot, path, hasTrailer);
    const { mode, spread, flowId, sequence } = this.#trailer;
    // What was joined has no trailer.
    if (!hasTrailer || !isNumbered(mode)) this.#deliver(bytes, offset, facts.totalBytes, segmentBytes);
    else this.#resequencer.accept(peer, flowId, sequence, mode === 'redundant', spread, path.id, bytes, offset, facts.totalBytes, nowMs);
  }

  /** Gives up packets that were waited for long enough. */
  poll(nowMs: number): void {
    this.#resequencer.handleTimeout(nowMs);
  }

  /** Absolute, Infinity when nothing waits. */
  nextTimeoutMs(): number {
    return this.#resequencer.nextTimeoutMs();
  }

  /** The session with the peer ended: its numbers mean nothing any more. */
  handlePeerDown(peer: PeerLink): void {
    this.#resequencer.forgetPeer(peer);
  }

  /** The path is gone for good; another may have its id one day. */
  handlePathRemoved(peer: PeerLink, path: PathLink): void {
    this.#chooser.forgetPath(peer, path.id);
  }

  /** Forgets idle flows; call every now and then. */
  handleTimeout(nowMs: number): void {
    this.flows.expire(nowMs);
    this.#resequencer.expire(nowMs);
  }

  #deliver(bytes: Uint8Array, offset: number, length: number, segmentBytes: number): void {
    this.#counters.rxPackets++;
    if (this.dns.listener !== undefined && this.dns.handleIncoming(bytes, offset, length, segmentBytes)) return;
    this.#writeTun(bytes, offset, length, segmentBytes);
  }

  /** The flow's mode is decided by its first packet. */
  #slotOf(peer: PeerLink, bytes: Uint8Array, offset: number, nowMs: number): number {
    const facts = this.#facts;
    const known = this.flows.find(bytes, facts, false, nowMs);
    if (known >= 0 && this.flows.rule(known) !== RULE_UNKNOWN) {
      if (facts.protocol === PROTOCOL_TCP) this.#subflows.note(peer, known, bytes, offset, facts, undefined);
      return known;
    }
    const slot = known >= 0 ? known : this.flows.insert(bytes, facts, false, -1, nowMs);
    const rule = this.rules.match(bytes, facts, false);
    if (rule >= 0) {
      this.flows.setMode(slot, this.rules.rule(rule).mode, rule);
      return slot;
    }
    if (known >= 0) this.flows.setMode(slot, 'min-delay', RULE_NONE);
    if (facts.protocol === PROTOCOL_TCP) this.#subflows.adopt(peer, slot, bytes, offset, facts, undefined);
    return slot;
  }

  /** A flow that the peer began: our rule counts, else answers go as the peer sends. */
  #learnFlow(peer: PeerLink, path: PathLink, bytes: Uint8Array, offset: number, hasTrailer: boolean, nowMs: number): void {
    const rule = this.rules.match(bytes, this.#facts, true);
    if (rule >= 0) {
      this.flows.setMode(this.flows.insert(bytes, this.#facts, true, -1, nowMs), this.rules.rule(rule).mode, rule);
    } else if (hasTrailer && !this.#trailer.mirrored) {
      this.#mirror(this.flows.insert(bytes, this.#facts, true, path.id, nowMs), path, true);
    } else if (this.#facts.protocol === PROTOCOL_TCP) {
      // Known in any case: what answers without an option of MPTCP would be taken for a stranger's connection, and reset.
      const slot = this.flows.insert(bytes, this.#facts, true, this.#isReplyPath(peer, path) ? path.id : -1, nowMs);
      this.#subflows.adopt(peer, slot, bytes, offset, this.#facts, path);
    } else if (this.#isReplyPath(peer, path)) {
      this.flows.insert(bytes, this.#facts, true, path.id, nowMs);
    }
  }

  /** A flow without a rule of ours goes as the peer's rule has it, as long as its packets say so. */
  #mirror(slot: number, path: PathLink, hasTrailer: boolean): void {
    const { flows } = this;
    const { mode, mirrored, restricted } = this.#trailer;
    if (!hasTrailer || mirrored) {
      // Super-packets of TCP have no trailer.
      if (flows.rule(slot) !== RULE_MIRRORED || this.#facts.protocol === PROTOCOL_TCP) return;
      flows.setMode(slot, 'min-delay', RULE_NONE);
      flows.setPathMask(slot, 0);
      return;
    }
    const isNews = flows.rule(slot) !== RULE_MIRRORED || flows.mode(slot) !== mode;
    if (isNews) flows.setMode(slot, mode, RULE_MIRRORED);
    const bit = (1 << path.id) >>> 0;
    if (mode === 'pin') flows.setPathMask(slot, bit);
    else flows.setPathMask(slot, restricted ? (isNews ? bit : flows.pathMask(slot) | bit) : 0);
    if (mode === 'active-standby') flows.setPathId(slot, path.id);
  }

  /** Answers go where the flow came from, unless another path is better. A flow that is under way is not turned round. */
  #isReplyPath(peer: PeerLink, path: PathLink): boolean {
    const best = bestPathIn('up', peer.paths);
    return path.state === 'up' && best !== undefined && isAsGood(path, best);
  }

  /** An ICMP error is about a packet of another flow, which its receiver checks. */
  #mayReach(bytes: Uint8Array, offset: number): boolean {
    const { destinationAddressOffset: at, addressBytes, totalBytes } = this.#facts;
    return (
      this.#permitsDestination(bytes.subarray(at, at + addressBytes)) || parseIcmpError(bytes, offset, totalBytes, this.#icmpError) === ''
    );
  }

  #refuse(path: PathLink, bytes: Uint8Array, offset: number, nowMs: number): void {
    const length = this.#icmp.refusal(bytes, offset, this.#facts, nowMs);
    if (length > 0) path.sendPacket(this.#icmp.packet, 0, length, 0, 0, 0, 0);
  }

  /** Of the packet, or of the largest segment that a super-packet stands for. */
  #largestBytes(bytes: Uint8Array, gsoType: number, gsoSize: number): number {
    const facts = this.#facts;
    if (gsoType === 0) return facts.totalBytes;
    const start = facts.sourceAddressOffset - (facts.version === 4 ? 12 : 8);
    const upperHeaderBytes = facts.protocol === PROTOCOL_TCP ? ((bytes[facts.upperOffset + 12] ?? 0) >>> 4) << 2 : 8;
    return Math.min(facts.totalBytes, facts.upperOffset - start + upperHeaderBytes + gsoSize);
  }

  #sendIcmp(kind: IcmpErrorKind, mtuBytes: number, bytes: Uint8Array, offset: number, nowMs: number): void {
    const length = this.#icmp.toHost(kind, mtuBytes, bytes, offset, this.#facts, nowMs);
    if (length > 0) this.#writeTun(this.#icmp.packet, 0, length);
  }
}

function ownAddressBytes(text: string): Uint8Array {
  const prefix = parsePrefix(text);
  if (prefix === undefined) throw new RangeError(`own address "${text}" is neither an IPv4 nor an IPv6 address`);
  return prefix.bytes;
}

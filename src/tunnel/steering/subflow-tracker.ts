/**
 * Subflows of hosts' own MPTCP, which pass as they are: the tunnel reads, from their handshakes, which of them belong to one connection, and gives each a path of its own.
 *
 *     MP_CAPABLE, SYN/ACK   the listener's key -> its token          (RFC 8684, 3.1; version 0: RFC 6824)
 *     MP_CAPABLE, third ACK the opener's key -> its token
 *     MP_JOIN, SYN          the receiver's token -> the connection   (RFC 8684, 3.2)
 *
 * The side whose host opens a subflow decides; the other answers where the packets come from. Nothing is read of packets without SYN, FIN or RST but the third
 * ACK. Path changes do not concern the host: its subflow moves while its path is down, and returns.
 */

import { deriveKeyMaterial } from '../../mptcp-over-udp/mptcp/keys.js';
import { type IpPacketFacts, PROTOCOL_TCP } from '../../mptcp-over-udp/wire/ip-header.js';
import { MP_CAPABLE_ACK_LENGTH, MP_CAPABLE_SYN_ACK_LENGTH } from '../../mptcp-over-udp/wire/mp-capable.js';
import { parseSegment } from '../../mptcp-over-udp/wire/parse-segment.js';
import { ACK, createTcpSegment, FIN, RST, SEEN_MP_CAPABLE, SEEN_MP_JOIN, SYN } from '../../mptcp-over-udp/wire/segment.js';
import { formatIp } from '../../tun/ip-prefix.js';
import type { PathLink, PeerLink } from '../link.js';
import { pathCostMs } from './best-path.js';
import { type FlowTable, RULE_SUBFLOW } from './flow-table.js';

/** For each peer; beyond it the connection whose token was learned first is forgotten: its later joins count as strangers'. */
const MAX_TOKENS = 2048;
/** Where in a TCP header the flags are. */
const FLAGS_AT = 13;
const NONE = -1;

interface Connection {
  readonly number: number;
  /** Of the flow table; those that were given to other flows since are recognised by the number that they hold. */
  readonly slots: number[];
}

export class SubflowTracker {
  /** Since the start. */
  readonly counters = { mptcpConnections: 0, mptcpSubflows: 0 };
  readonly #flows: FlowTable;
  readonly #tokens = new WeakMap<PeerLink, Map<number, Connection>>();
  /** Whose third ACK is to come. */
  readonly #handshakes = new Map<number, Connection>();
  readonly #segment = createTcpSegment();
  #pathNames: ReadonlyMap<string, string> = new Map();
  #nextNumber = 0;

  constructor(flows: FlowTable) {
    this.#flows = flows;
  }

  /** Addresses of the TUN, as `formatIp` writes them, whose subflows belong on the path of that name. */
  setAddresses(pathNames: ReadonlyMap<string, string>): void {
    this.#pathNames = pathNames;
  }

  /** A packet of a flow that no rule wants, the first or the first since the rules changed: made a subflow when it is MPTCP's. `path`: it came from the peer. */
  adopt(peer: PeerLink, slot: number, bytes: Uint8Array, offset: number, facts: IpPacketFacts, path: PathLink | undefined): void {
    const flows = this.#flows;
    const wasSubflow = flows.homePathId(slot) >= 0 || flows.connection(slot) >= 0;
    if (wasSubflow) flows.setMode(slot, 'active-standby', RULE_SUBFLOW);
    if (wasSubflow || facts.protocol !== PROTOCOL_TCP || facts.isFragment || !this.#read(bytes, offset, facts)) return;
    // The slot may have had another flow, whose handshake came to nothing.
    this.#handshakes.delete(slot);
    flows.setMode(slot, 'active-standby', RULE_SUBFLOW);
    if (path !== undefined) flows.setPathId(slot, path.id);
    this.#learn(peer, slot);
    const named = path === undefined ? this.#namedHome(peer, bytes, facts) : NONE;
    if (named >= 0) flows.setHomePathId(slot, named);
    else if (path === undefined && isOpening(this.#segment.flags)) this.#settle(peer, slot);
  }

  /** A packet of a flow that is known. `path`: it came from the peer. */
  note(peer: PeerLink, slot: number, bytes: Uint8Array, offset: number, facts: IpPacketFacts, path: PathLink | undefined): void {
    const flows = this.#flows;
    if (flows.rule(slot) !== RULE_SUBFLOW) return;
    if (path !== undefined && path.state === 'up' && flows.homePathId(slot) < 0) flows.setPathId(slot, path.id);
    const flags = bytes[facts.upperOffset + FLAGS_AT]!;
    if ((flags & (FIN | RST)) !== 0) {
      // Its path is free for the next of its connection.
      flows.setConnection(slot, NONE);
      this.#handshakes.delete(slot);
    } else if ((flags & SYN) !== 0 || (this.#handshakes.size > 0 && this.#handshakes.has(slot))) {
      if (this.#read(bytes, offset, facts)) this.#learn(peer, slot);
      if ((flags & SYN) === 0) this.#handshakes.delete(slot);
      // The SYN before it found no path that was up.
      else if (path === undefined && isOpening(flags) && flows.homePathId(slot) < 0) this.#settle(peer, slot);
    }
  }

  #read(bytes: Uint8Array, offset: number, facts: IpPacketFacts): boolean {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return parseSegment(bytes, view, offset, facts.totalBytes, false, this.#segment) === '' && this.#segment.mptcp.seen !== 0;
  }

  /** From the segment that was read. */
  #learn(peer: PeerLink, slot: number): void {
    const { flags, mptcp } = this.#segment;
    if ((mptcp.seen & SEEN_MP_JOIN) !== 0 && isOpening(flags)) {
      const joined = this.#tokensOf(peer).get(mptcp.mpJoin.token);
      if (joined !== undefined && this.#flows.connection(slot) !== joined.number) this.#enter(joined, slot);
    }
    const { version, length, senderKey, receiverKey } = mptcp.mpCapable;
    if ((mptcp.seen & SEEN_MP_CAPABLE) === 0 || length < MP_CAPABLE_SYN_ACK_LENGTH) return;
    const token = tokenOf(senderKey, version);
    const known = this.#handshakes.get(slot) ?? this.#tokensOf(peer).get(token);
    const connection = known ?? { number: this.#nextNumber++ & 0x7fff_ffff, slots: [] };
    if (known === undefined) this.counters.mptcpConnections++;
    if (this.#flows.connection(slot) !== connection.number) this.#enter(connection, slot);
    this.#remember(peer, connection, token);
    if (length >= MP_CAPABLE_ACK_LENGTH) this.#remember(peer, connection, tokenOf(receiverKey, version));
    if ((flags & SYN) !== 0) this.#handshakes.set(slot, connection);
    if (this.#handshakes.size > MAX_TOKENS) this.#handshakes.delete(first(this.#handshakes));
  }

  #enter(connection: Connection, slot: number): void {
    this.counters.mptcpSubflows++;
    this.#flows.setConnection(slot, connection.number);
    if (!connection.slots.includes(slot)) connection.slots.push(slot);
  }

  #remember(peer: PeerLink, connection: Connection, token: number): void {
    const tokens = this.#tokensOf(peer);
    tokens.set(token, connection);
    if (tokens.size > MAX_TOKENS) tokens.delete(first(tokens));
  }

  #tokensOf(peer: PeerLink): Map<number, Connection> {
    let tokens = this.#tokens.get(peer);
    if (tokens === undefined) {
      tokens = new Map();
      this.#tokens.set(peer, tokens);
    }
    return tokens;
  }

  /** The path that the subflow's own address stands for. */
  #namedHome(peer: PeerLink, bytes: Uint8Array, { sourceAddressOffset: at, addressBytes }: IpPacketFacts): number {
    if (this.#pathNames.size === 0) return NONE;
    const name = this.#pathNames.get(formatIp(bytes.subarray(at, at + addressBytes)));
    return name === undefined ? NONE : (peer.paths.find((path) => path.name === name)?.id ?? NONE);
  }

  /** A backup on a backup; where the fewest of its connection are; where the round trip is shortest. Without a path that is up it waits. */
  #settle(peer: PeerLink, slot: number): void {
    const { seen, mpJoin } = this.#segment.mptcp;
    const wantsBackup = (seen & SEEN_MP_JOIN) !== 0 && mpJoin.backup;
    const uses = this.#usesBesides(peer, slot);
    let best: PathLink | undefined;
    for (const path of peer.paths) {
      if (path.state === 'up' && (best === undefined || isBetterHome(path, best, uses, wantsBackup))) best = path;
    }
    if (best === undefined) return;
    this.#flows.setHomePathId(slot, best.id);
    this.#flows.setPathId(slot, best.id);
  }

  /** Path id -> how many other subflows of its connection are there. */
  #usesBesides(peer: PeerLink, slot: number): ReadonlyMap<number, number> {
    const uses = new Map<number, number>();
    const number = this.#flows.connection(slot);
    if (number < 0) return uses;
    const connection = this.#tokensOf(peer).get(this.#segment.mptcp.mpJoin.token);
    for (const other of connection?.number === number ? connection.slots : []) {
      if (other === slot || this.#flows.connection(other) !== number) continue;
      const home = this.#flows.homePathId(other);
      const pathId = home >= 0 ? home : this.#flows.pathId(other);
      uses.set(pathId, (uses.get(pathId) ?? 0) + 1);
    }
    return uses;
  }
}

function tokenOf(key: Uint8Array, version: number): number {
  return deriveKeyMaterial(key, version === 0 ? 0 : 1).token;
}

function isOpening(flags: number): boolean {
  return (flags & (SYN | ACK)) === SYN;
}

function isBetterHome(path: PathLink, other: PathLink, uses: ReadonlyMap<number, number>, wantsBackup: boolean): boolean {
  if (path.backup !== other.backup) return path.backup === wantsBackup;
  const more = (uses.get(path.id) ?? 0) - (uses.get(other.id) ?? 0);
  if (more !== 0) return more < 0;
  if (path.doubtful !== other.doubtful) return other.doubtful;
  return pathCostMs(path) < pathCostMs(other);
}

function first<K>(map: ReadonlyMap<K, unknown>): K {
  return map.keys().next().value as K;
}

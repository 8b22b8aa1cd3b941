/**
 * Answers of DNS that pass through the tunnel (port 53), as far as somebody here asked for them: what came unasked, or under another id, teaches nothing. An answer
 * whose addresses must be known elsewhere first is held back by who learns from it.
 */

import { createIpPacketFacts, type IpPacketFacts, PROTOCOL_TCP, PROTOCOL_UDP, parseIpPacket } from '../../mptcp-over-udp/wire/ip-header.js';
import { DNS_HEADER_BYTES } from '../dns-records.js';
import { DnsSegments } from './dns-segments.js';
import { type DnsStream, DnsStreams } from './dns-streams.js';

const DNS_PORT = 53;
const UDP_HEADER_BYTES = 8;
const MAX_QUERIES = 1024;

export interface DnsListener {
  /** One DNS message, borrowed until return. True: its packet is to be held back. */
  learn(bytes: Uint8Array, offset: number, length: number): boolean;
  /** The whole packet, a copy, or with segmentBytes > 0 one that was joined: to be written to the TUN later. */
  hold(packet: Uint8Array, segmentBytes: number): void;
  /** `goOn` is called as soon as what was learned need not be held back any more. */
  whenKnown(goOn: () => void): void;
}

export class DnsWatch {
  /** undefined: nobody is interested, and nothing is looked at. */
  listener: DnsListener | undefined;
  readonly #facts: IpPacketFacts = createIpPacketFacts();
  /** Queries that wait for their answer, oldest first. */
  readonly #asked = new Set<string>();
  readonly #streams = new DnsStreams();
  readonly #segments = new DnsSegments((bytes, offset, length) => this.listener?.learn(bytes, offset, length) ?? false);

  /** A TCP connection that ends here and is opened to that port; undefined: it is of no interest. */
  watchStream(port: number): DnsStream | undefined {
    return this.listener === undefined || port !== DNS_PORT ? undefined : this.#streams.watch(this.listener);
  }

  /** A packet that goes into the tunnel; `gsoSize` > 0: several datagrams of that size, the last may be shorter. */
  handleOutgoing(bytes: Uint8Array, offset: number, facts: IpPacketFacts, gsoSize: number): void {
    if (this.listener === undefined || facts.destinationPort !== DNS_PORT || !facts.hasPorts || facts.isFragment) return;
    if (facts.protocol === PROTOCOL_TCP) this.#segments.handleOutgoing(bytes, offset, facts);
    if (facts.protocol !== PROTOCOL_UDP) return;
    const end = offset + facts.totalBytes;
    const step = gsoSize > 0 ? gsoSize : end;
    for (let at = facts.upperOffset + UDP_HEADER_BYTES; at + DNS_HEADER_BYTES <= end; at += step) {
      const { sourceAddressOffset: us, destinationAddressOffset: them, addressBytes, sourcePort } = facts;
      const oldest = this.#asked.size >= MAX_QUERIES ? this.#asked.values().next().value : undefined;
      if (oldest !== undefined) this.#asked.delete(oldest);
      this.#asked.add(queryKey(bytes, us, them, addressBytes, sourcePort, at));
    }
  }

  /** A packet that is about to be written to the TUN. True: it is not to be written now. */
  handleIncoming(bytes: Uint8Array, offset: number, length: number, segmentBytes: number): boolean {
    const { listener } = this;
    if (listener === undefined || !isFromDns(bytes, offset, !this.#segments.isEmpty)) return false;
    const facts = this.#facts;
    if (parseIpPacket(bytes, offset, length, facts) !== '' || facts.sourcePort !== DNS_PORT || facts.isFragment) return false;
    const end = offset + facts.totalBytes;
    if (facts.protocol === PROTOCOL_TCP) {
      const mustWait = this.#segments.handleIncoming(bytes, offset, facts);
      if (mustWait) listener.hold(bytes.slice(offset, end), segmentBytes);
      return mustWait;
    }
    const step = segmentBytes > 0 ? segmentBytes : end;
    let held = false;
    for (let at = facts.upperOffset + UDP_HEADER_BYTES; at + DNS_HEADER_BYTES <= end; at += step) {
      const { sourceAddressOffset: them, destinationAddressOffset: us, addressBytes, destinationPort } = facts;
      if (!this.#asked.delete(queryKey(bytes, us, them, addressBytes, destinationPort, at))) continue;
      if (listener.learn(bytes, at, Math.min(step, end - at))) held = true;
    }
    if (held) listener.hold(bytes.slice(offset, end), segmentBytes);
    return held;
  }
}

/** Cheap: every packet is asked. Extension headers of IPv6 hide an answer. */
function isFromDns(bytes: Uint8Array, offset: number, orByTcp: boolean): boolean {
  const isIpv4 = bytes[offset]! >>> 4 === 4;
  const protocol = bytes[offset + (isIpv4 ? 9 : 6)];
  if (protocol !== PROTOCOL_UDP && !(orByTcp && protocol === PROTOCOL_TCP)) return false;
  const at = offset + (isIpv4 ? (bytes[offset]! & 0x0f) << 2 : 40);
  return ((bytes[at]! << 8) | bytes[at + 1]!) === DNS_PORT;
}

/** Addresses of both sides, our port, and the message's id. */
function queryKey(bytes: Uint8Array, us: number, them: number, addressBytes: number, port: number, message: number): string {
  let key = `${port} ${(bytes[message]! << 8) | bytes[message + 1]!}`;
  for (let i = 0; i < addressBytes; i++) key += ` ${bytes[us + i]}.${bytes[them + i]}`;
  return key;
}

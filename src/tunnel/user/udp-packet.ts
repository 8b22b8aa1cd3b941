/**
 * UDP in IPv4 and IPv6 (RFC 768), for datagrams that this program makes and takes itself.
 *
 *      0      7 8     15 16    23 24    31
 *   +--------+--------+--------+--------+
 *   |   source port   |  destination    |
 *   +--------+--------+--------+--------+
 *   |     length      |    checksum     |
 *   +--------+--------+--------+--------+
 */

import { writeU16 } from '../../mptcp-over-udp/wire/big-endian.js';
import { finishSum, pseudoHeaderSum, sumBytes } from '../../mptcp-over-udp/wire/checksum.js';
import { createIpPacketFacts, emitIpHeader, PROTOCOL_UDP, parseIpPacket, patchIpLength } from '../../mptcp-over-udp/wire/ip-header.js';

export const UDP_HEADER_BYTES = 8;
/** IPv6 and UDP. */
export const UDP_PACKET_OVERHEAD_BYTES = 48;
const HOP_LIMIT = 64;

export interface UdpAddress {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly port: number;
}

/** Writes the packet to `out` and returns its length. Both addresses are of one IP version. */
export function emitUdpPacket(out: Uint8Array, source: UdpAddress, destination: UdpAddress, payload: Uint8Array): number {
  const version = source.address.length === 4 ? 4 : 6;
  const at = emitIpHeader(out, 0, version, source.address, destination.address, HOP_LIMIT, 0, PROTOCOL_UDP);
  const length = at + UDP_HEADER_BYTES + payload.length;
  writeU16(out, at, source.port);
  writeU16(out, at + 2, destination.port);
  writeU16(out, at + 4, UDP_HEADER_BYTES + payload.length);
  writeU16(out, at + 6, 0);
  out.set(payload, at + UDP_HEADER_BYTES);
  patchIpLength(out, 0, length);
  const upperBytes = length - at;
  const sum = pseudoHeaderSum(out, version === 4 ? 12 : 8, version, PROTOCOL_UDP, upperBytes);
  // RFC 768: zero would mean that there is none.
  writeU16(out, at + 6, finishSum(sumBytes(out, at, upperBytes, sum)) || 0xffff);
  return length;
}

const facts = createIpPacketFacts();

export interface UdpPacket {
  readonly source: UdpAddress;
  readonly destination: UdpAddress;
  /** Borrowed, of all datagrams that were joined. */
  readonly payload: Uint8Array;
}

/** undefined: no whole UDP packet. */
export function parseUdpPacket(bytes: Uint8Array, offset: number, length: number): UdpPacket | undefined {
  if (parseIpPacket(bytes, offset, length, facts) !== '' || facts.protocol !== PROTOCOL_UDP || facts.isFragment || !facts.hasPorts)
    return undefined;
  const payloadAt = facts.upperOffset + UDP_HEADER_BYTES;
  if (payloadAt > offset + length) return undefined;
  const address = (at: number): Uint8Array => bytes.slice(at, at + facts.addressBytes);
  return {
    source: { address: address(facts.sourceAddressOffset), port: facts.sourcePort },
    destination: { address: address(facts.destinationAddressOffset), port: facts.destinationPort },
    payload: bytes.subarray(payloadAt, offset + length),
  };
}

/** What a tap must know of a packet: IP and transport header bytes of a super-packet, and where the packet ends. Pure. */

import { patchTcpChecksum } from '../../mptcp-over-udp/wire/tcp-header.js';

const TCP = 6;
const UDP = 17;
const UDP_HEADER_BYTES = 8;
const IPV6_HEADER_BYTES = 40;

/** At most `length`; all of it when the packet is not what it should be. */
export function tapPacketHeaderBytes(packet: Uint8Array, offset: number, length: number): number {
  if (length < IPV6_HEADER_BYTES) return length;
  const isV4 = isIpv4(packet, offset);
  const ipBytes = ipHeaderBytes(packet, offset);
  const protocol = isV4 ? packet[offset + 9]! : packet[offset + 6]!;
  if (protocol === UDP) return Math.min(length, ipBytes + UDP_HEADER_BYTES);
  if (protocol !== TCP || length < ipBytes + 20) return length;
  return Math.min(length, ipBytes + (packet[offset + ipBytes + 12]! >>> 4) * 4);
}

/** Writes the checksum of a TCP packet of ours: no IP options that move nothing, no extension headers. */
export function finishTcpChecksum(packet: Uint8Array, offset: number, length: number): void {
  const ipBytes = ipHeaderBytes(packet, offset);
  patchTcpChecksum(packet, offset, offset + ipBytes, length - ipBytes);
}

/** The IP packet alone, without the trailer that a datagram may carry (session/flow-trailer.ts). At most `length`. */
export function ipPacketBytes(packet: Uint8Array, offset: number, length: number): number {
  if (length < 20) return length;
  const isV4 = isIpv4(packet, offset);
  const at = offset + (isV4 ? 2 : 4);
  const bytes = ((packet[at]! << 8) | packet[at + 1]!) + (isV4 ? 0 : IPV6_HEADER_BYTES);
  return Math.min(length, bytes);
}

function isIpv4(packet: Uint8Array, offset: number): boolean {
  return packet[offset]! >>> 4 === 4;
}

/** IPv4 with its options; IPv6 without extension headers. */
function ipHeaderBytes(packet: Uint8Array, offset: number): number {
  return isIpv4(packet, offset) ? (packet[offset]! & 0x0f) * 4 : IPV6_HEADER_BYTES;
}

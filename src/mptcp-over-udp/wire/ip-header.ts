/**
 * IPv4 (RFC 791) and IPv6 (RFC 8200) headers: emitting for the stream plane, the facts of any IP packet for the datagram plane.
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +-------+-------+-----------+---+-------------------------------+
 *   |Version|  IHL  |   DSCP    |ECN|         Total Length          |   IPv4
 *   +-------+-------+-----------+---+-----+-------------------------+
 *   |        Identification         |Flags|     Fragment Offset     |   Flags: 0, DF, MF
 *   +---------------+---------------+-----+-------------------------+
 *   | Time to Live  |   Protocol    |        Header Checksum        |
 *   +---------------+---------------+-------------------------------+
 *   |          Source Address, Destination Address, Options         |
 *   +---------------------------------------------------------------+
 *
 *   +-------+---------------+---------------------------------------+
 *   |Version| Traffic Class |              Flow Label               |   IPv6
 *   +-------+---------------+-------+---------------+---------------+
 *   |        Payload Length         |  Next Header  |   Hop Limit   |
 *   +-------------------------------+---------------+---------------+
 *   |             Source Address, Destination Address               |
 *   +---------------------------------------------------------------+
 */

import { copyBytes, readU16, writeU16 } from './big-endian.js';
import { internetChecksum } from './checksum.js';

export const IPV4_HEADER_LENGTH = 20;
export const IPV6_HEADER_LENGTH = 40;

export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_ICMPV6 = 58;
const PROTOCOL_DCCP = 33;
const PROTOCOL_SCTP = 132;
const PROTOCOL_UDP_LITE = 136;

const IPV4_DONT_FRAGMENT = 0x40;

/**
 * Writes a header without options and returns its length, 20 or 40. IPv4: DF set, identification 0 (RFC 6864: atomic), length and
 * checksum 0 until `patchIpLength`. `source` and `destination`: 4 or 16 bytes. `dscpEcn`: the whole former TOS octet.
 */
export function emitIpHeader(
  out: Uint8Array,
  at: number,
  ipVersion: 4 | 6,
  source: Uint8Array,
  destination: Uint8Array,
  hopLimit: number,
  dscpEcn: number,
  protocol: number = PROTOCOL_TCP,
): number {
  if (ipVersion === 4) {
    out[at] = 0x45;
    out[at + 1] = dscpEcn;
    out.fill(0, at + 2, at + 12);
    out[at + 6] = IPV4_DONT_FRAGMENT;
    out[at + 8] = hopLimit;
    out[at + 9] = protocol;
    copyBytes(source, 0, out, at + 12, 4);
    copyBytes(destination, 0, out, at + 16, 4);
    return IPV4_HEADER_LENGTH;
  }
  out[at] = 0x60 | (dscpEcn >>> 4);
  out[at + 1] = (dscpEcn & 0x0f) << 4;
  out.fill(0, at + 2, at + 6);
  out[at + 6] = protocol;
  out[at + 7] = hopLimit;
  copyBytes(source, 0, out, at + 8, 16);
  copyBytes(destination, 0, out, at + 24, 16);
  return IPV6_HEADER_LENGTH;
}

/** Writes the IP length fields for a packet of `totalBytes` (header included) that starts at `at`, and the IPv4 header checksum. */
export function patchIpLength(out: Uint8Array, at: number, totalBytes: number): void {
  if (out[at]! >>> 4 === 4) {
    writeU16(out, at + 2, totalBytes);
    patchIpv4Checksum(out, at);
  } else {
    writeU16(out, at + 4, totalBytes - IPV6_HEADER_LENGTH);
  }
}

export function patchIpv4Checksum(out: Uint8Array, at: number): void {
  writeU16(out, at + 10, 0);
  writeU16(out, at + 10, internetChecksum(out, at, (out[at]! & 0x0f) << 2));
}

/** What a router needs to know of an IP packet. Reused; offsets are into the buffer that was parsed. */
export interface IpPacketFacts {
  version: 4 | 6;
  /** IPv4 header with options; IPv6: the fixed header. */
  headerBytes: number;
  totalBytes: number;
  /** Upper-layer protocol, after IPv6 extension headers. */
  protocol: number;
  /** Where the upper layer starts, after options and extension headers. */
  upperOffset: number;
  addressBytes: 4 | 16;
  sourceAddressOffset: number;
  destinationAddressOffset: number;
  hopLimit: number;
  dscpEcn: number;
  /** TCP, UDP, UDP-Lite, DCCP, SCTP in an unfragmented packet or first fragment. */
  hasPorts: boolean;
  sourcePort: number;
  destinationPort: number;
  dontFragment: boolean;
  isFragment: boolean;
  moreFragments: boolean;
  /** In bytes. */
  fragmentOffset: number;
  identification: number;
}

export function createIpPacketFacts(): IpPacketFacts {
  return {
    version: 4,
    headerBytes: 0,
    totalBytes: 0,
    protocol: 0,
    upperOffset: 0,
    addressBytes: 4,
    sourceAddressOffset: 0,
    destinationAddressOffset: 0,
    hopLimit: 0,
    dscpEcn: 0,
    hasPorts: false,
    sourcePort: 0,
    destinationPort: 0,
    dontFragment: false,
    isFragment: false,
    moreFragments: false,
    fragmentOffset: 0,
    identification: 0,
  };
}

export const FAULT_IP_SHORT = 'IP packet shorter than its header';
export const FAULT_IP_VERSION = 'IP version neither 4 nor 6';
export const FAULT_IP_HEADER_LENGTH = 'IP header length out of bounds';
export const FAULT_IP_TOTAL_LENGTH = 'IP total length out of bounds';
export const FAULT_IP_EXTENSION = 'IPv6 extension header out of bounds';

/** Parses any IP packet in bytes[offset .. offset + length). Returns '' or a constant fault string; never throws. Checksums are not verified. */
export function parseIpPacket(bytes: Uint8Array, offset: number, length: number, out: IpPacketFacts): string {
  if (offset < 0 || length < IPV4_HEADER_LENGTH || offset + length > bytes.length) return FAULT_IP_SHORT;
  const version = bytes[offset]! >>> 4;
  out.isFragment = false;
  out.moreFragments = false;
  out.fragmentOffset = 0;
  out.identification = 0;
  out.hasPorts = false;
  out.sourcePort = 0;
  out.destinationPort = 0;
  const fault =
    version === 4
      ? parseIpv4Facts(bytes, offset, length, out)
      : version === 6
        ? parseIpv6Facts(bytes, offset, length, out)
        : FAULT_IP_VERSION;
  if (fault === '') parsePorts(bytes, offset, out);
  return fault;
}

function parseIpv4Facts(bytes: Uint8Array, offset: number, length: number, out: IpPacketFacts): string {
  const headerBytes = (bytes[offset]! & 0x0f) << 2;
  if (headerBytes < IPV4_HEADER_LENGTH || headerBytes > length) return FAULT_IP_HEADER_LENGTH;
  const totalBytes = readU16(bytes, offset + 2);
  if (totalBytes < headerBytes || totalBytes > length) return FAULT_IP_TOTAL_LENGTH;
  const fragment = readU16(bytes, offset + 6);
  out.version = 4;
  out.headerBytes = headerBytes;
  out.totalBytes = totalBytes;
  out.protocol = bytes[offset + 9]!;
  out.upperOffset = offset + headerBytes;
  out.addressBytes = 4;
  out.sourceAddressOffset = offset + 12;
  out.destinationAddressOffset = offset + 16;
  out.hopLimit = bytes[offset + 8]!;
  out.dscpEcn = bytes[offset + 1]!;
  out.dontFragment = (fragment & 0x4000) !== 0;
  out.moreFragments = (fragment & 0x2000) !== 0;
  out.fragmentOffset = (fragment & 0x1fff) << 3;
  out.isFragment = (fragment & 0x3fff) !== 0;
  out.identification = readU16(bytes, offset + 4);
  return '';
}

function parseIpv6Facts(bytes: Uint8Array, offset: number, length: number, out: IpPacketFacts): string {
  if (length < IPV6_HEADER_LENGTH) return FAULT_IP_SHORT;
  const totalBytes = IPV6_HEADER_LENGTH + readU16(bytes, offset + 4);
  if (totalBytes > length) return FAULT_IP_TOTAL_LENGTH;
  out.version = 6;
  out.headerBytes = IPV6_HEADER_LENGTH;
  out.totalBytes = totalBytes;
  out.addressBytes = 16;
  out.sourceAddressOffset = offset + 8;
  out.destinationAddressOffset = offset + 24;
  out.hopLimit = bytes[offset + 7]!;
  out.dscpEcn = ((bytes[offset]! & 0x0f) << 4) | (bytes[offset + 1]! >>> 4);
  // RFC 8200, 5: only the source fragments.
  out.dontFragment = true;
  return walkExtensionHeaders(bytes, offset + IPV6_HEADER_LENGTH, offset + totalBytes, bytes[offset + 6]!, out);
}

const NEXT_HOP_BY_HOP = 0;
const NEXT_ROUTING = 43;
const NEXT_FRAGMENT = 44;
const NEXT_AUTHENTICATION = 51;
const NEXT_DESTINATION_OPTIONS = 60;

function walkExtensionHeaders(bytes: Uint8Array, start: number, end: number, firstHeader: number, out: IpPacketFacts): string {
  let at = start;
  let nextHeader = firstHeader;
  for (;;) {
    const isFragment = nextHeader === NEXT_FRAGMENT;
    const isOther =
      nextHeader === NEXT_HOP_BY_HOP ||
      nextHeader === NEXT_ROUTING ||
      nextHeader === NEXT_DESTINATION_OPTIONS ||
      nextHeader === NEXT_AUTHENTICATION;
    // In a later fragment the bytes that follow are no header.
    if ((!isFragment && !isOther) || out.fragmentOffset > 0) break;
    if (at + 8 > end) return FAULT_IP_EXTENSION;
    let headerBytes = 8;
    if (isFragment) {
      const field = readU16(bytes, at + 2);
      // RFC 6946: an atomic fragment (offset 0, no more) is a whole packet.
      out.fragmentOffset = field & 0xfff8;
      out.moreFragments = (field & 1) !== 0;
      out.isFragment = out.fragmentOffset > 0 || out.moreFragments;
      out.identification = ((bytes[at + 4]! << 24) | (bytes[at + 5]! << 16) | (bytes[at + 6]! << 8) | bytes[at + 7]!) >>> 0;
    } else {
      headerBytes = nextHeader === NEXT_AUTHENTICATION ? (bytes[at + 1]! + 2) << 2 : (bytes[at + 1]! + 1) << 3;
    }
    if (at + headerBytes > end) return FAULT_IP_EXTENSION;
    nextHeader = bytes[at]!;
    at += headerBytes;
  }
  out.protocol = nextHeader;
  out.upperOffset = at;
  return '';
}

function parsePorts(bytes: Uint8Array, offset: number, out: IpPacketFacts): void {
  const protocol = out.protocol;
  const carriesPorts =
    protocol === PROTOCOL_TCP ||
    protocol === PROTOCOL_UDP ||
    protocol === PROTOCOL_SCTP ||
    protocol === PROTOCOL_UDP_LITE ||
    protocol === PROTOCOL_DCCP;
  if (!carriesPorts || out.fragmentOffset > 0 || out.upperOffset + 4 > offset + out.totalBytes) return;
  out.hasPorts = true;
  out.sourcePort = readU16(bytes, out.upperOffset);
  out.destinationPort = readU16(bytes, out.upperOffset + 2);
}

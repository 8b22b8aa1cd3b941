/**
 * ICMP errors as a router sends and a host reads them: ICMPv4 (RFC 792, 1122, 1191, 1812) and ICMPv6 (RFC 4443).
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +---------------+---------------+-------------------------------+
 *   |     Type      |     Code      |           Checksum            |
 *   +---------------+---------------+-------------------------------+
 *   |  unused; v4 frag. needed: 16 bits 0 and 16 MTU; v6 too big: MTU |
 *   +---------------------------------------------------------------+
 *   |    IP header and as much of the packet in error as allowed    |
 *   +---------------------------------------------------------------+
 */

import { copyBytes, readU16, readU32, writeU16, writeU32 } from './big-endian.js';
import { finishSum, pseudoHeaderSum, sumBytes } from './checksum.js';
import {
  createIpPacketFacts,
  emitIpHeader,
  type IpPacketFacts,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  parseIpPacket,
  patchIpLength,
} from './ip-header.js';

export type IcmpErrorKind =
  | 'time-exceeded'
  | 'net-unreachable'
  | 'host-unreachable'
  | 'port-unreachable'
  | 'admin-prohibited'
  | 'packet-too-big';

const ICMP_HEADER_LENGTH = 8;
const HOP_LIMIT = 64;
/** RFC 1812, 4.3.2.3: the whole error is at most 576 bytes; RFC 4443, 2.4 (c): at most the minimum MTU of IPv6. */
const MAX_ERROR_BYTES_V4 = 576;
const MAX_ERROR_BYTES_V6 = 1280;
/** Room that `emitIcmpError` needs. */
export const MAX_ICMP_ERROR_BYTES = MAX_ERROR_BYTES_V6;

/** type << 8 | code. Next to "net": RFC 4443's "no route to destination"; next to "host": "address unreachable". */
const CODES_V4: Record<IcmpErrorKind, number> = {
  'time-exceeded': 0x0b00,
  'net-unreachable': 0x0300,
  'host-unreachable': 0x0301,
  'port-unreachable': 0x0303,
  'admin-prohibited': 0x030d,
  'packet-too-big': 0x0304,
};
const CODES_V6: Record<IcmpErrorKind, number> = {
  'time-exceeded': 0x0300,
  'net-unreachable': 0x0100,
  'host-unreachable': 0x0103,
  'port-unreachable': 0x0104,
  'admin-prohibited': 0x0101,
  'packet-too-big': 0x0200,
};

/**
 * Writes the ICMP error that answers packet[offset .. offset + length) to out[0 ..] (at least MAX_ICMP_ERROR_BYTES) and returns its length, or 0
 * when no error may be sent: in answer to ICMP errors, fragments other than the first, and packets to or from anything but a single host.
 * `source`: our address, 4 or 16 bytes as the packet's. `mtuBytes`: for packet-too-big.
 */
export function emitIcmpError(
  out: Uint8Array,
  kind: IcmpErrorKind,
  mtuBytes: number,
  source: Uint8Array,
  packet: Uint8Array,
  offset: number,
  length: number,
): number {
  const facts = createIpPacketFacts();
  if (parseIpPacket(packet, offset, length, facts) !== '' || !mayAnswer(packet, facts, kind)) return 0;
  const ipVersion = facts.version;
  const protocol = ipVersion === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
  const destination = packet.subarray(facts.sourceAddressOffset, facts.sourceAddressOffset + facts.addressBytes);
  const at = emitIpHeader(out, 0, ipVersion, source, destination, HOP_LIMIT, 0, protocol);
  const room = (ipVersion === 4 ? MAX_ERROR_BYTES_V4 : MAX_ERROR_BYTES_V6) - at - ICMP_HEADER_LENGTH;
  const quotedBytes = Math.min(facts.totalBytes, room);
  writeU16(out, at, (ipVersion === 4 ? CODES_V4 : CODES_V6)[kind]);
  writeU16(out, at + 2, 0);
  writeU32(out, at + 4, kind !== 'packet-too-big' ? 0 : ipVersion === 4 ? Math.min(mtuBytes, 0xffff) : mtuBytes);
  copyBytes(packet, offset, out, at + ICMP_HEADER_LENGTH, quotedBytes);
  const icmpBytes = ICMP_HEADER_LENGTH + quotedBytes;
  const pseudo = ipVersion === 4 ? 0 : pseudoHeaderSum(out, 8, 6, PROTOCOL_ICMPV6, icmpBytes);
  writeU16(out, at + 2, finishSum(sumBytes(out, at, icmpBytes, pseudo)));
  patchIpLength(out, 0, at + icmpBytes);
  return at + icmpBytes;
}

/** RFC 1122, 3.2.2; RFC 1812, 4.3.2.7; RFC 4443, 2.4 (e). */
function mayAnswer(packet: Uint8Array, facts: IpPacketFacts, kind: IcmpErrorKind): boolean {
  if (facts.fragmentOffset > 0) return false;
  if (isIcmpError(packet, facts)) return false;
  if (facts.version === 4) {
    return isSingleHostV4(packet, facts.sourceAddressOffset) && isSingleHostV4(packet, facts.destinationAddressOffset);
  }
  if (isUnspecifiedV6(packet, facts.sourceAddressOffset) || packet[facts.sourceAddressOffset] === 0xff) return false;
  // RFC 4443, 2.4 (e.3): packet too big is the exception, so that path MTU discovery works for multicast.
  return packet[facts.destinationAddressOffset] !== 0xff || kind === 'packet-too-big';
}

/** Also true for a message too short to say what it is, and for redirects: neither may be answered. */
function isIcmpError(packet: Uint8Array, facts: IpPacketFacts): boolean {
  const isV4 = facts.version === 4 && facts.protocol === PROTOCOL_ICMP;
  const isV6 = facts.version === 6 && facts.protocol === PROTOCOL_ICMPV6;
  if (!isV4 && !isV6) return false;
  if (facts.upperOffset >= facts.sourceAddressOffset - (isV4 ? 12 : 8) + facts.totalBytes) return true;
  const type = packet[facts.upperOffset]!;
  if (isV6) return type < 128 || type === 137;
  return type === 3 || type === 4 || type === 5 || type === 11 || type === 12;
}

/** Not 0/8, 127/8, nor 224.0.0.0 and above (multicast, reserved, limited broadcast). */
function isSingleHostV4(bytes: Uint8Array, at: number): boolean {
  const first = bytes[at]!;
  return first !== 0 && first !== 127 && first < 224;
}

function isUnspecifiedV6(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 16; i++) if (bytes[at + i] !== 0) return false;
  return true;
}

/** An ICMP error that came in. `quotedOffset`: where the packet in error, cut off somewhere, starts in the buffer. */
export interface IcmpError {
  kind: IcmpErrorKind | 'other';
  type: number;
  code: number;
  /** packet-too-big: what the router said (0: an old IPv4 router that says nothing). */
  mtuBytes: number;
  quotedOffset: number;
  quotedBytes: number;
}

export function createIcmpError(): IcmpError {
  return { kind: 'other', type: 0, code: 0, mtuBytes: 0, quotedOffset: 0, quotedBytes: 0 };
}

export const FAULT_NOT_ICMP_ERROR = 'not an ICMP error';
export const FAULT_ICMP_SHORT = 'ICMP error shorter than its header';
export const FAULT_ICMP_CHECKSUM = 'ICMP checksum wrong';

/** Parses an IP packet that holds an ICMP error, checksum verified. Returns '' or a constant fault string; never throws. */
export function parseIcmpError(bytes: Uint8Array, offset: number, length: number, out: IcmpError): string {
  const facts = createIpPacketFacts();
  const fault = parseIpPacket(bytes, offset, length, facts);
  if (fault !== '') return fault;
  if (facts.isFragment || facts.protocol !== (facts.version === 4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6)) return FAULT_NOT_ICMP_ERROR;
  const at = facts.upperOffset;
  const icmpBytes = offset + facts.totalBytes - at;
  if (icmpBytes < ICMP_HEADER_LENGTH) return FAULT_ICMP_SHORT;
  if (!isIcmpError(bytes, facts)) return FAULT_NOT_ICMP_ERROR;
  const pseudo = facts.version === 4 ? 0 : pseudoHeaderSum(bytes, facts.sourceAddressOffset, 6, PROTOCOL_ICMPV6, icmpBytes);
  if (finishSum(sumBytes(bytes, at, icmpBytes, pseudo)) !== 0) return FAULT_ICMP_CHECKSUM;
  out.type = bytes[at]!;
  out.code = bytes[at + 1]!;
  out.kind = kindOf(facts.version, out.type, out.code);
  out.mtuBytes = out.kind !== 'packet-too-big' ? 0 : facts.version === 4 ? readU16(bytes, at + 6) : readU32(bytes, at + 4);
  out.quotedOffset = at + ICMP_HEADER_LENGTH;
  out.quotedBytes = icmpBytes - ICMP_HEADER_LENGTH;
  return '';
}

function kindOf(ipVersion: 4 | 6, type: number, code: number): IcmpErrorKind | 'other' {
  if (ipVersion === 4) {
    if (type === 11) return 'time-exceeded';
    if (type !== 3) return 'other';
    // RFC 1122, 3.2.2.1 and RFC 1812, 5.2.7.1: 5 source route failed, 6-8 and 11 net, 9, 10 and 13 prohibited, 12 host.
    const kinds: readonly (IcmpErrorKind | 'other')[] = [
      'net-unreachable',
      'host-unreachable',
      'other',
      'port-unreachable',
      'packet-too-big',
      'host-unreachable',
      'net-unreachable',
      'host-unreachable',
      'host-unreachable',
      'admin-prohibited',
      'admin-prohibited',
      'net-unreachable',
      'host-unreachable',
      'admin-prohibited',
    ];
    return kinds[code] ?? 'other';
  }
  if (type === 2) return 'packet-too-big';
  if (type === 3) return 'time-exceeded';
  if (type !== 1) return 'other';
  const kinds: readonly (IcmpErrorKind | 'other')[] = [
    'net-unreachable',
    'admin-prohibited',
    'host-unreachable',
    'host-unreachable',
    'port-unreachable',
    'admin-prohibited',
    'net-unreachable',
  ];
  return kinds[code] ?? 'other';
}

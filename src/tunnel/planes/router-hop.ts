/** What a router does to every packet that it forwards: looks whether it may, and counts the hop. */

import { updateChecksum } from '../../mptcp-over-udp/wire/checksum.js';
import type { IpPacketFacts } from '../../mptcp-over-udp/wire/ip-header.js';
import { classifyAddress } from '../gateway/egress-policy.js';

/** What never leaves a link, a router does not forward (RFC 1812, 5.3.7; RFC 4291, 2.5.6 and 2.7). */
export function isForwardable(bytes: Uint8Array, facts: IpPacketFacts): boolean {
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

/** RFC 1624: the IPv4 header checksum follows by what changed. */
export function decrementHopLimit(bytes: Uint8Array, offset: number): void {
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

/**
 * ICMP for a connection attempt that egress could not make: an error in answer to a SYN, rebuilt from its four-tuple. The far side sends one; the side
 * of the application, which alone knows the sequence number of its SYN, makes another from it: hosts ignore errors about what they have not sent.
 */

import { type FourTuple, HeaderTemplate } from '../../mptcp-over-udp/tcp/header-template.js';
import { readU16 } from '../../mptcp-over-udp/wire/big-endian.js';
import { createIcmpError, emitIcmpError, MAX_ICMP_ERROR_BYTES, parseIcmpError } from '../../mptcp-over-udp/wire/icmp.js';
import {
  createIpPacketFacts,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  parseIpPacket,
  patchIpLength,
} from '../../mptcp-over-udp/wire/ip-header.js';
import { SYN } from '../../mptcp-over-udp/wire/segment.js';

export const MAX_NOTICE_BYTES = MAX_ICMP_ERROR_BYTES;

/**
 * Writes "host unreachable" for a SYN from `tuple.remote*` to `tuple.local*` with that sequence number to `out` and returns its length. It comes from the address that could not
 * be reached, since that alone is sure to be routed through the tunnel.
 */
export function emitSynUnreachable(out: Uint8Array, tuple: FourTuple, sequenceNumber: number): number {
  const template = new HeaderTemplate({
    ipVersion: tuple.ipVersion,
    localAddress: tuple.remoteAddress,
    localPort: tuple.remotePort,
    remoteAddress: tuple.localAddress,
    remotePort: tuple.localPort,
  });
  const headerBytes = template.finish(sequenceNumber, 0, SYN, 0, template.optionsAt);
  patchIpLength(template.bytes, 0, headerBytes);
  return emitIcmpError(out, 'host-unreachable', 0, tuple.localAddress, template.bytes, 0, headerBytes);
}

/** The four-tuple that such an error is about, as `emitSynUnreachable` took it; undefined when the packet is anything else. Borrowed addresses. */
export function parseSynUnreachable(bytes: Uint8Array, offset: number, length: number): FourTuple | undefined {
  if (!isIcmp(bytes, offset) || parseIcmpError(bytes, offset, length, error) !== '') return undefined;
  if (error.kind !== 'host-unreachable') return undefined;
  if (parseIpPacket(bytes, error.quotedOffset, error.quotedBytes, facts) !== '' || facts.protocol !== PROTOCOL_TCP) return undefined;
  const { version, addressBytes, sourceAddressOffset, destinationAddressOffset, upperOffset } = facts;
  if (facts.isFragment || error.quotedOffset + error.quotedBytes < upperOffset + 4) return undefined;
  return {
    ipVersion: version,
    localAddress: bytes.subarray(destinationAddressOffset, destinationAddressOffset + addressBytes),
    remoteAddress: bytes.subarray(sourceAddressOffset, sourceAddressOffset + addressBytes),
    localPort: readU16(bytes, upperOffset + 2),
    remotePort: readU16(bytes, upperOffset),
  };
}

const error = createIcmpError();
const facts = createIpPacketFacts();

function isIcmp(bytes: Uint8Array, offset: number): boolean {
  return (bytes[offset] as number) >> 4 === 4 ? bytes[offset + 9] === PROTOCOL_ICMP : bytes[offset + 6] === PROTOCOL_ICMPV6;
}

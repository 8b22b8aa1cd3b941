/**
 * ICMP for a connection attempt that egress could not make: an error in answer to a SYN, rebuilt from its four-tuple. The far side sends one; the side
 * of the application, which alone knows the sequence number of its SYN, makes another from it: hosts ignore errors about what they have not sent.
 */

import { type FourTuple, HeaderTemplate } from '../../mptcp-over-udp/tcp/header-template.js';
import { readU16 } from '../../mptcp-over-udp/wire/big-endian.js';
import {
  createIcmpError,
  emitIcmpError,
  type IcmpErrorKind,
  MAX_ICMP_ERROR_BYTES,
  parseIcmpError,
} from '../../mptcp-over-udp/wire/icmp.js';
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

/** What an application is told apart: ENETUNREACH, EHOSTUNREACH, and EACCES with IPv6. */
export type UnreachableKind = Extract<IcmpErrorKind, 'net-unreachable' | 'host-unreachable' | 'admin-prohibited'>;

export interface SynUnreachable {
  /** As `emitSynUnreachable` took it; borrowed addresses. */
  readonly tuple: FourTuple;
  readonly kind: UnreachableKind;
}

/** Whatever else a router says of a SYN, a host takes for "host unreachable". */
export function unreachableKindOf(kind: IcmpErrorKind | undefined): UnreachableKind {
  return kind === 'net-unreachable' || kind === 'admin-prohibited' ? kind : 'host-unreachable';
}

/**
 * Writes the error of that kind for a SYN from `tuple.remote*` to `tuple.local*` with that sequence number to `out` and returns its length. It comes from the address that could not
 * be reached, since that alone is sure to be routed through the tunnel.
 */
export function emitSynUnreachable(out: Uint8Array, tuple: FourTuple, sequenceNumber: number, kind: UnreachableKind): number {
  const template = new HeaderTemplate({
    ipVersion: tuple.ipVersion,
    localAddress: tuple.remoteAddress,
    localPort: tuple.remotePort,
    remoteAddress: tuple.localAddress,
    remotePort: tuple.localPort,
  });
  const headerBytes = template.finish(sequenceNumber, 0, SYN, 0, template.optionsAt);
  patchIpLength(template.bytes, 0, headerBytes);
  return emitIcmpError(out, kind, 0, tuple.localAddress, template.bytes, 0, headerBytes);
}

/** What such an error says; undefined when the packet is anything else. */
export function parseSynUnreachable(bytes: Uint8Array, offset: number, length: number): SynUnreachable | undefined {
  if (!isIcmp(bytes, offset) || parseIcmpError(bytes, offset, length, error) !== '') return undefined;
  const { kind } = error;
  if (kind !== 'net-unreachable' && kind !== 'host-unreachable' && kind !== 'admin-prohibited') return undefined;
  if (parseIpPacket(bytes, error.quotedOffset, error.quotedBytes, facts) !== '' || facts.protocol !== PROTOCOL_TCP) return undefined;
  const { version, addressBytes, sourceAddressOffset, destinationAddressOffset, upperOffset } = facts;
  if (facts.isFragment || error.quotedOffset + error.quotedBytes < upperOffset + 4) return undefined;
  const tuple: FourTuple = {
    ipVersion: version,
    localAddress: bytes.subarray(destinationAddressOffset, destinationAddressOffset + addressBytes),
    remoteAddress: bytes.subarray(sourceAddressOffset, sourceAddressOffset + addressBytes),
    localPort: readU16(bytes, upperOffset + 2),
    remotePort: readU16(bytes, upperOffset),
  };
  return { tuple, kind };
}

const error = createIcmpError();
const facts = createIpPacketFacts();

function isIcmp(bytes: Uint8Array, offset: number): boolean {
  return (bytes[offset] as number) >> 4 === 4 ? bytes[offset + 9] === PROTOCOL_ICMP : bytes[offset + 6] === PROTOCOL_ICMPV6;
}

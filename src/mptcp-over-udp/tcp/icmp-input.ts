/** ICMP errors about segments of TCP connections (RFC 1122, 4.2.3.9; RFC 5927): which connection is meant, and what it makes of it. */

import { readU16, readU32 } from '../wire/big-endian.js';
import { createIcmpError, parseIcmpError } from '../wire/icmp.js';
import { IPV4_HEADER_LENGTH, IPV6_HEADER_LENGTH, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP } from '../wire/ip-header.js';
import { unwrapOffset } from '../wire/sequence.js';
import type { TcpEndpoint } from './endpoint.js';
import type { FourTuple } from './header-template.js';
import { closeConnection } from './tcp-input.js';

/** Ports and sequence number: what every router quotes (RFC 792). */
const QUOTED_TCP_BYTES = 8;
/** RFC 791: every host takes it. What an old router that names no MTU is taken to mean (RFC 1191, 5). */
const MIN_MTU_BYTES_V4 = 576;
const MIN_MTU_BYTES_V6 = 1280;

export class IcmpInput {
  private readonly error = createIcmpError();
  private sequenceNumber = 0;

  /**
   * The four-tuple of the connection that an ICMP error is about, as its sender sees it; undefined when the packet is anything else. Borrowed addresses. The
   * quoted packet is cut off somewhere; our own have no extension headers.
   */
  parse(bytes: Uint8Array, offset: number, length: number): FourTuple | undefined {
    const { error } = this;
    if (!isIcmp(bytes, offset) || parseIcmpError(bytes, offset, length, error) !== '') return undefined;
    const at = error.quotedOffset;
    const end = at + error.quotedBytes;
    if (end < at + IPV4_HEADER_LENGTH) return undefined;
    const ipVersion = (bytes[at] as number) >> 4;
    const headerBytes = ipVersion === 4 ? ((bytes[at] as number) & 0x0f) << 2 : IPV6_HEADER_LENGTH;
    const tcp = at + headerBytes;
    if ((ipVersion !== 4 && ipVersion !== 6) || end < tcp + QUOTED_TCP_BYTES) return undefined;
    const protocol = bytes[at + (ipVersion === 4 ? 9 : 6)];
    const isLaterFragment = ipVersion === 4 && (readU16(bytes, at + 6) & 0x1fff) !== 0;
    if (protocol !== PROTOCOL_TCP || isLaterFragment) return undefined;
    const [from, addressBytes] = ipVersion === 4 ? [at + 12, 4] : [at + 8, 16];
    const to = from + addressBytes;
    this.sequenceNumber = readU32(bytes, tcp + 4);
    return {
      ipVersion,
      localAddress: bytes.subarray(from, to),
      remoteAddress: bytes.subarray(to, to + addressBytes),
      localPort: readU16(bytes, tcp),
      remotePort: readU16(bytes, tcp + 2),
    };
  }

  /** What `parse` found last, done to its connection. */
  apply(c: TcpEndpoint, nowMs: number): void {
    if (c.state === 'closed') return;
    // RFC 5927 (4.1): an error about what is not in flight was made up.
    const offset = unwrapOffset(this.sequenceNumber, c.iss, c.recovery.sndUna);
    if (offset < c.recovery.sndUna || offset >= c.recovery.sndNxt) {
      c.services.count('tcp-icmp-not-in-flight');
      return;
    }
    if (this.error.kind === 'packet-too-big') this.noteMtu(c);
    // RFC 5461: for a connection that stands, all others are soft errors.
    else if (c.state === 'syn-sent') this.refuse(c, nowMs);
  }

  /** RFC 5461 (4.1): as Linux does, the first error ends the attempt. */
  private refuse(c: TcpEndpoint, nowMs: number): void {
    const { kind } = this.error;
    if (kind === 'other') return;
    c.unreachable = kind === 'port-unreachable' ? undefined : kind;
    closeConnection(c, kind === 'port-unreachable' ? 'refused' : 'unreachable', nowMs);
  }

  /** RFC 1191, RFC 8201. What was too big goes again, cut anew, when it is found lost. */
  private noteMtu(c: TcpEndpoint): void {
    const [minimum, headerBytes] = c.tuple.ipVersion === 4 ? [MIN_MTU_BYTES_V4, 40] : [MIN_MTU_BYTES_V6, 60];
    const mssBytes = Math.max(minimum, this.error.mtuBytes) - headerBytes;
    if (mssBytes < c.pathMssBytes) c.setPathMss(mssBytes);
  }
}

function isIcmp(bytes: Uint8Array, offset: number): boolean {
  return (bytes[offset] as number) >> 4 === 4 ? bytes[offset + 9] === PROTOCOL_ICMP : bytes[offset + 6] === PROTOCOL_ICMPV6;
}

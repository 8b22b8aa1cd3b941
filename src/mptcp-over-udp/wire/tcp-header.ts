/**
 * The fixed part of a TCP header (RFC 9293, 3.1).
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +-------------------------------+-------------------------------+
 *   |          Source Port          |       Destination Port        |
 *   +-------------------------------+-------------------------------+
 *   |                        Sequence Number                        |
 *   +---------------------------------------------------------------+
 *   |                     Acknowledgment Number                     |
 *   +-------+-------+---------------+-------------------------------+
 *   | Offset|  Rsrvd|C E U A P R S F|            Window             |
 *   +-------+-------+---------------+-------------------------------+
 *   |           Checksum            |         Urgent Pointer        |
 *   +-------------------------------+-------------------------------+
 */

import { writeU16, writeU32 } from './big-endian.js';
import { finishSum, pseudoHeaderSum, sumBytes } from './checksum.js';
import { PROTOCOL_TCP } from './ip-header.js';

export const TCP_HEADER_LENGTH = 20;

/** Writes 20 bytes: data offset 5 until `patchTcpHeaderLength`, checksum and urgent pointer 0. */
export function emitTcpHeader(
  out: Uint8Array,
  at: number,
  sourcePort: number,
  destinationPort: number,
  sequenceNumber: number,
  acknowledgmentNumber: number,
  flags: number,
  window: number,
): number {
  writeU16(out, at, sourcePort);
  writeU16(out, at + 2, destinationPort);
  writeU32(out, at + 4, sequenceNumber);
  writeU32(out, at + 8, acknowledgmentNumber);
  out[at + 12] = 0x50;
  out[at + 13] = flags;
  writeU16(out, at + 14, window);
  writeU32(out, at + 16, 0);
  return TCP_HEADER_LENGTH;
}

/** Sets the data offset for a header of `headerBytes`, options and their padding included: a multiple of 4, at most 60. */
export function patchTcpHeaderLength(out: Uint8Array, at: number, headerBytes: number): void {
  out[at + 12] = (headerBytes >>> 2) << 4;
}

/** Writes the checksum of the TCP segment (header and payload, `tcpBytes`) at `tcpAt`, within the IP packet at `ipAt`. */
export function patchTcpChecksum(out: Uint8Array, ipAt: number, tcpAt: number, tcpBytes: number): void {
  const ipVersion = out[ipAt]! >>> 4 === 4 ? 4 : 6;
  writeU16(out, tcpAt + 16, 0);
  const pseudo = pseudoHeaderSum(out, ipAt + (ipVersion === 4 ? 12 : 8), ipVersion, PROTOCOL_TCP, tcpBytes);
  writeU16(out, tcpAt + 16, finishSum(sumBytes(out, tcpAt, tcpBytes, pseudo)));
}

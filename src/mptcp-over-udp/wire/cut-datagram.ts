/** One UDP datagram out of a super-packet that stands for many: one header, then the payloads, all of the same size but the last. */

import { writeU16 } from './big-endian.js';
import { foldSum, pseudoHeaderSum } from './checksum.js';
import { PROTOCOL_UDP, patchIpLength } from './ip-header.js';

const UDP_HEADER_BYTES = 8;

/**
 * Writes datagram `index` of the super-packet at bytes[offset .. offset + length), whose UDP header lies `udpAt` bytes from its beginning, into `out`; its checksum field holds the
 * folded pseudo-header sum. `idStep`: what each IPv4 identification adds to the one before. Returns its length; 0 when there is no such datagram.
 */
export function cutDatagram(
  out: Uint8Array,
  bytes: Uint8Array,
  offset: number,
  length: number,
  udpAt: number,
  segmentBytes: number,
  index: number,
  idStep: number,
): number {
  const headerBytes = udpAt + UDP_HEADER_BYTES;
  const start = headerBytes + index * segmentBytes;
  const payloadBytes = Math.min(segmentBytes, length - start);
  if (payloadBytes <= 0) return 0;
  out.set(bytes.subarray(offset, offset + headerBytes));
  out.set(bytes.subarray(offset + start, offset + start + payloadBytes), headerBytes);
  const isV4 = out[0]! >>> 4 === 4;
  if (isV4) writeU16(out, 4, (((out[4]! << 8) | out[5]!) + index * idStep) & 0xffff);
  patchIpLength(out, 0, headerBytes + payloadBytes);
  writeU16(out, udpAt + 4, UDP_HEADER_BYTES + payloadBytes);
  writeU16(out, udpAt + 6, foldSum(pseudoHeaderSum(out, isV4 ? 12 : 8, isV4 ? 4 : 6, PROTOCOL_UDP, UDP_HEADER_BYTES + payloadBytes)));
  return headerBytes + payloadBytes;
}

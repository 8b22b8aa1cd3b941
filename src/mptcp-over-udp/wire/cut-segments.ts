/**
 * Cuts a super-segment into the segments that it stands for, byte for byte as the native cutter does (the contract is
 * `SegmentSink.sendSegments`): for the simulation and for captures, where no native code runs.
 */

import { readU32, writeU16, writeU32 } from './big-endian.js';
import { IPV4_HEADER_LENGTH, IPV6_HEADER_LENGTH, patchIpLength } from './ip-header.js';
import { CWR, FIN, PSH } from './segment.js';
import { patchTcpChecksum, TCP_HEADER_LENGTH } from './tcp-header.js';

/** Called once per segment, in order. `packet` is reused for the next one: copy what you keep. */
export type EmitPacket = (packet: Uint8Array, length: number) => void;

/**
 * `header[0 .. headerBytes)`: IP and TCP header of the first segment, options included. `segmentBytes` <= 0 or payloadBytes 0: one segment.
 * Throws RangeError on a template that is no IP + TCP header of headerBytes, or a payload outside its buffer.
 */
export function cutSegments(
  header: Uint8Array,
  headerBytes: number,
  payload: Uint8Array,
  payloadOffset: number,
  payloadBytes: number,
  segmentBytes: number,
  emit: EmitPacket,
): void {
  const tcpAt = checkTemplate(header, headerBytes);
  if (payloadOffset < 0 || payloadBytes < 0 || payloadOffset + payloadBytes > payload.length) {
    throw new RangeError('payloadOffset and payloadBytes must lie within payload');
  }
  const step = segmentBytes > 0 ? segmentBytes : Math.max(payloadBytes, 1);
  const packet = new Uint8Array(headerBytes + Math.min(step, payloadBytes));
  packet.set(header.subarray(0, headerBytes));
  const firstSequenceNumber = readU32(header, tcpAt + 4);
  const flags = header[tcpAt + 13]!;
  if (packet[0]! >>> 4 === 4) {
    // RFC 6864: an atomic packet, DF set, whose identification means nothing.
    writeU16(packet, 4, 0);
    writeU16(packet, 6, 0x4000);
  }
  for (let done = 0; done === 0 || done < payloadBytes; done += step) {
    const bytes = Math.min(step, payloadBytes - done);
    const isLast = done + bytes >= payloadBytes;
    packet.set(payload.subarray(payloadOffset + done, payloadOffset + done + bytes), headerBytes);
    writeU32(packet, tcpAt + 4, firstSequenceNumber + done);
    packet[tcpAt + 13] = flags & ~(isLast ? 0 : FIN | PSH) & ~(done === 0 ? 0 : CWR);
    patchIpLength(packet, 0, headerBytes + bytes);
    patchTcpChecksum(packet, 0, tcpAt, headerBytes - tcpAt + bytes);
    emit(packet, headerBytes + bytes);
  }
}

/** Where the TCP header starts. */
function checkTemplate(header: Uint8Array, headerBytes: number): number {
  if (headerBytes > header.length || headerBytes < IPV4_HEADER_LENGTH + TCP_HEADER_LENGTH) {
    throw new RangeError('headerBytes must cover an IP and a TCP header within header');
  }
  const version = header[0]! >>> 4;
  const tcpAt = version === 4 ? (header[0]! & 0x0f) << 2 : IPV6_HEADER_LENGTH;
  if ((version !== 4 && version !== 6) || tcpAt < IPV4_HEADER_LENGTH || tcpAt + TCP_HEADER_LENGTH > headerBytes) {
    throw new RangeError('header must start with an IPv4 or IPv6 header');
  }
  if (tcpAt + ((header[tcpAt + 12]! >>> 4) << 2) !== headerBytes)
    throw new RangeError('headerBytes must end where the TCP data offset says');
  return tcpAt;
}

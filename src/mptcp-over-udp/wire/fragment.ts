/** Fragmentation of IPv4 packets as a router does it (RFC 791, 3.2). IPv6 routers never fragment. */

import { readU16, writeU16 } from './big-endian.js';
import { IPV4_HEADER_LENGTH, patchIpLength } from './ip-header.js';

const MORE_FRAGMENTS = 0x2000;
const OFFSET_MASK = 0x1fff;

/** Called once per fragment, in order. `packet` is reused for the next one. */
export type EmitFragment = (packet: Uint8Array, length: number) => void;

/**
 * Cuts the IPv4 packet of `totalBytes` at bytes[offset ..], DF clear and well-formed, into fragments of at most `mtuBytes`. Options with the copy
 * flag go into every fragment, the others into the first. Returns how many were emitted: 0 when the MTU has no room for 8 bytes of payload.
 */
export function fragmentIpv4(bytes: Uint8Array, offset: number, totalBytes: number, mtuBytes: number, emit: EmitFragment): number {
  const headerBytes = (bytes[offset]! & 0x0f) << 2;
  const first = bytes.subarray(offset, offset + headerBytes);
  const later = headerForLater(first);
  if (mtuBytes < headerBytes + 8) return 0;
  const flagsAndOffset = readU16(bytes, offset + 6);
  const baseUnits = flagsAndOffset & OFFSET_MASK;
  const packet = new Uint8Array(mtuBytes);
  let count = 0;
  for (let done = 0; headerBytes + done < totalBytes; count++) {
    const header = count === 0 ? first : later;
    const remaining = totalBytes - headerBytes - done;
    const isLast = remaining <= mtuBytes - header.length;
    const payloadBytes = isLast ? remaining : (mtuBytes - header.length) & ~7;
    const start = offset + headerBytes + done;
    packet.set(header);
    packet.set(bytes.subarray(start, start + payloadBytes), header.length);
    // A fragment cut again: the last piece keeps the MF that the whole had.
    const more = isLast ? flagsAndOffset & MORE_FRAGMENTS : MORE_FRAGMENTS;
    writeU16(packet, 6, more | (baseUnits + (done >>> 3)));
    patchIpLength(packet, 0, header.length + payloadBytes);
    emit(packet, header.length + payloadBytes);
    done += payloadBytes;
  }
  return count;
}

/** The header with only those options that are copied on fragmentation, padded with end-of-list. */
function headerForLater(header: Uint8Array): Uint8Array {
  const copied: number[] = [];
  for (let at = IPV4_HEADER_LENGTH; at < header.length; ) {
    const kind = header[at]!;
    const length = kind === 1 ? 1 : (header[at + 1] ?? 0);
    if (kind === 0 || length < 1 || (kind !== 1 && length < 2) || at + length > header.length) break;
    if ((kind & 0x80) !== 0) copied.push(...header.subarray(at, at + length));
    at += length;
  }
  const out = new Uint8Array(IPV4_HEADER_LENGTH + ((copied.length + 3) & ~3));
  out.set(header.subarray(0, IPV4_HEADER_LENGTH));
  out.set(copied, IPV4_HEADER_LENGTH);
  out[0] = 0x40 | (out.length >>> 2);
  return out;
}

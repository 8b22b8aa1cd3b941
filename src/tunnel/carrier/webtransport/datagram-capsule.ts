/**
 * Datagrams in a stream: capsules of type DATAGRAM (RFC 9297, 3.2 and 3.5).
 *
 *   Capsule Type (variable-length integer of RFC 9000, 16): 0x00
 *   Capsule Length (variable-length integer): here always of two bytes, 01 and 14 bits
 *   Capsule Value: the datagram
 */

export const DATAGRAM_CAPSULE = 0x00;
/** Four bytes of code, then a reason in UTF-8, at most 1024 bytes (draft-ietf-webtrans-http2, WT_CLOSE_SESSION). */
export const CLOSE_SESSION_CAPSULE = 0x2843;
export const CLOSE_CODE_BYTES = 4;
export const CLOSE_REASON_MAX_BYTES = 1024;

/** Of a datagram capsule as we write it. */
export const CAPSULE_HEADER_BYTES = 3;

/** A packet of 1500 bytes with the tunnel's header has room, so that none must be cut; the reader keeps no more than that. */
export const MAX_DATAGRAM_BYTES = 2048;

const TWO_BYTE_FORM = 0x40;

/** Bytes of the datagrams from `first` to before `end`, as capsules. */
export function capsulesLength(lengths: Int32Array, first: number, end: number): number {
  let total = 0;
  for (let i = first; i < end; i++) total += CAPSULE_HEADER_BYTES + lengths[i]!;
  return total;
}

/** Writes one; the result is where the next one goes. `length` <= MAX_DATAGRAM_BYTES. */
export function emitDatagramCapsule(out: Uint8Array, at: number, bytes: Uint8Array, offset: number, length: number): number {
  out[at] = DATAGRAM_CAPSULE;
  out[at + 1] = TWO_BYTE_FORM | (length >> 8);
  out[at + 2] = length & 0xff;
  out.set(bytes.subarray(offset, offset + length), at + CAPSULE_HEADER_BYTES);
  return at + CAPSULE_HEADER_BYTES + length;
}

/** Of one that emitDatagramCapsule wrote at `at`, header included. */
export function capsuleLengthAt(bytes: Uint8Array, at: number): number {
  return CAPSULE_HEADER_BYTES + (((bytes[at + 1]! & (TWO_BYTE_FORM - 1)) << 8) | bytes[at + 2]!);
}

/** A goodbye without a reason. */
export function closeSessionCapsule(): Uint8Array {
  return Uint8Array.of(TWO_BYTE_FORM | (CLOSE_SESSION_CAPSULE >> 8), CLOSE_SESSION_CAPSULE & 0xff, CLOSE_CODE_BYTES, 0, 0, 0, 0);
}

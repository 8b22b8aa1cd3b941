/**
 * The Internet checksum (RFC 1071), its pseudo-headers for TCP, UDP and ICMPv6 (RFC 9293, 3.1; RFC 8200, 8.1), and the DSS checksum of MPTCP
 * (RFC 8684, 3.3.1). Sums are plain numbers of 16-bit big-endian words, folded at the end; a complemented sum is a checksum.
 */

/** Adds `length` bytes to `sum` as big-endian words; an odd last byte is the high half of a word. The result stays below 2^32. */
export function sumBytes(bytes: Uint8Array, offset: number, length: number, sum: number): number {
  let total = foldSum(sum);
  const end = offset + length;
  const unrolledEnd = end - 7;
  let i = offset;
  // A packet has at most 2^15 words of 2^16: the total stays within 32 bits; longer pieces are folded every 32 KB.
  while (i < unrolledEnd) {
    const blockEnd = Math.min(unrolledEnd, i + 32768);
    for (; i < blockEnd; i += 8) {
      total +=
        ((bytes[i]! << 8) | bytes[i + 1]!) +
        ((bytes[i + 2]! << 8) | bytes[i + 3]!) +
        ((bytes[i + 4]! << 8) | bytes[i + 5]!) +
        ((bytes[i + 6]! << 8) | bytes[i + 7]!);
    }
    total = foldSum(total);
  }
  for (; i + 1 < end; i += 2) total += (bytes[i]! << 8) | bytes[i + 1]!;
  if (i < end) total += bytes[i]! << 8;
  return total;
}

/** Folds to 16 bits, with end-around carry. */
export function foldSum(sum: number): number {
  let folded = (sum & 0xffff) + Math.floor(sum / 0x10000);
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return folded;
}

/** The checksum that belongs to a sum. */
export function finishSum(sum: number): number {
  return ~foldSum(sum) & 0xffff;
}

/** Joins the sum of a piece that starts `precedingBytes` into the data to the sum of what precedes it: at an odd start its bytes change halves (RFC 1071, 2B). */
export function joinSums(precedingSum: number, precedingBytes: number, pieceSum: number): number {
  const piece = foldSum(pieceSum);
  return foldSum(precedingSum) + (precedingBytes % 2 === 0 ? piece : ((piece & 0xff) << 8) | (piece >>> 8));
}

export function internetChecksum(bytes: Uint8Array, offset: number, length: number): number {
  return finishSum(sumBytes(bytes, offset, length, 0));
}

/** Sum of the pseudo-header: both addresses (which lie one after the other at `addressesOffset`, as in both IP headers), protocol, upper-layer length. */
export function pseudoHeaderSum(
  bytes: Uint8Array,
  addressesOffset: number,
  ipVersion: 4 | 6,
  protocol: number,
  upperLayerBytes: number,
): number {
  return sumBytes(bytes, addressesOffset, ipVersion === 4 ? 8 : 32, protocol + (upperLayerBytes >>> 16) + (upperLayerBytes & 0xffff));
}

/**
 * RFC 1624: the checksum after one 16-bit word that it covers changed from `before` to `after`: HC' = ~(~HC + ~m + m').
 */
export function updateChecksum(checksum: number, before: number, after: number): number {
  return finishSum((~checksum & 0xffff) + (~before & 0xffff) + after);
}

/**
 * RFC 8684, 3.3.1: over the 64-bit DSN (whatever width was sent), the subflow sequence number, the data-level length, a zero word, and the
 * mapping's payload. A DATA_FIN counts in `dataLength` but is no byte of the payload. `payloadSum` is a sum of `sumBytes`.
 */
export function dssChecksumOfSum(
  dsnHigh: number,
  dsnLow: number,
  subflowSequenceNumber: number,
  dataLength: number,
  payloadSum: number,
): number {
  return finishSum(
    foldSum(payloadSum) +
      (dsnHigh >>> 16) +
      (dsnHigh & 0xffff) +
      (dsnLow >>> 16) +
      (dsnLow & 0xffff) +
      (subflowSequenceNumber >>> 16) +
      (subflowSequenceNumber & 0xffff) +
      dataLength,
  );
}

/** The DSS checksum of a mapping whose payload lies in one piece. */
export function dssChecksum(
  dsnHigh: number,
  dsnLow: number,
  subflowSequenceNumber: number,
  dataLength: number,
  payload: Uint8Array,
  payloadOffset: number,
  payloadBytes: number,
): number {
  return dssChecksumOfSum(dsnHigh, dsnLow, subflowSequenceNumber, dataLength, sumBytes(payload, payloadOffset, payloadBytes, 0));
}

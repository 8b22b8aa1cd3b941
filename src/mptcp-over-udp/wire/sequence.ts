/**
 * Sequence arithmetic: u32 TCP sequence numbers modulo 2^32 (RFC 9293, 3.4) and 64-bit data sequence
 * numbers (RFC 8684, 3.3.1). The engine keeps a DSN as an offset from the IDSN in a plain number (exact to
 * 2^53 bytes); only this file knows the 64-bit form, as two u32 halves.
 */

const TWO_32 = 0x1_0000_0000;

/** a + n modulo 2^32; n may be negative. */
export function seqAdd(a: number, n: number): number {
  return (a + n) >>> 0;
}

/** Signed distance a - b in [-2^31, 2^31). */
export function seqDiff(a: number, b: number): number {
  return (a - b) | 0;
}

export function seqLt(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

export function seqLte(a: number, b: number): boolean {
  return ((a - b) | 0) <= 0;
}

export function seqGt(a: number, b: number): boolean {
  return ((a - b) | 0) > 0;
}

export function seqGte(a: number, b: number): boolean {
  return ((a - b) | 0) >= 0;
}

/** The later of two sequence numbers. */
export function seqMax(a: number, b: number): number {
  return ((a - b) | 0) >= 0 ? a : b;
}

/** The earlier of two sequence numbers. */
export function seqMin(a: number, b: number): number {
  return ((a - b) | 0) <= 0 ? a : b;
}

/** Offset (bytes, may exceed 2^32, exact to 2^53) nearest to `nearOffset` whose low 32 bits, added to `base`, give `value`. */
export function unwrapOffset(value: number, base: number, nearOffset: number): number {
  const near = (base + (nearOffset % TWO_32)) >>> 0;
  return nearOffset + ((value - near) | 0);
}

/** High 32 bits of IDSN + offset, modulo 2^64. `offset` is a non-negative integer below 2^53. */
export function dsnHigh(idsnHigh: number, idsnLow: number, offset: number): number {
  const low = idsnLow + (offset % TWO_32);
  return (idsnHigh + Math.floor(offset / TWO_32) + (low >= TWO_32 ? 1 : 0)) >>> 0;
}

/** Low 32 bits of IDSN + offset, modulo 2^64. */
export function dsnLow(idsnLow: number, offset: number): number {
  return (idsnLow + (offset % TWO_32)) >>> 0;
}

/**
 * The offset of a 64-bit DSN from the IDSN, or -1 when it lies outside [0, 2^53): a peer's nonsense, to be dropped.
 */
export function dsnOffset(high: number, low: number, idsnHigh: number, idsnLow: number): number {
  const lowDiff = low - idsnLow;
  const offset = ((high - idsnHigh - (lowDiff < 0 ? 1 : 0)) >>> 0) * TWO_32 + (lowDiff < 0 ? lowDiff + TWO_32 : lowDiff);
  return offset <= Number.MAX_SAFE_INTEGER ? offset : -1;
}

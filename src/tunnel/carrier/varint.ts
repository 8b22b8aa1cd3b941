/**
 * Variable-length integers (RFC 9000, 16): the first two bits say how many bytes there are.
 *
 *   |00| 6 bits |   |01| 14 bits |   |10| 30 bits |   |11| 62 bits |
 */

const MAX_EXACT = Number.MAX_SAFE_INTEGER;

/** Bytes that `value` takes. */
export function varintLength(value: number): number {
  if (value < 0x40) return 1;
  if (value < 0x4000) return 2;
  return value < 0x4000_0000 ? 4 : 8;
}

/** Writes the shortest form; where the next thing goes. Throws RangeError for what is no integer from 0 to 2^53 - 1. */
export function emitVarint(out: Uint8Array, at: number, value: number): number {
  if (!(value >= 0 && value <= MAX_EXACT && Number.isInteger(value))) throw new RangeError(`value ${value}`);
  const length = varintLength(value);
  let rest = value;
  for (let i = at + length - 1; i >= at; i--) {
    out[i] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  out[at]! |= Math.log2(length) << 6;
  return at + length;
}

export function varintBytes(...values: readonly number[]): Uint8Array {
  const out = new Uint8Array(values.reduce((sum, value) => sum + varintLength(value), 0));
  let at = 0;
  for (const value of values) at = emitVarint(out, at, value);
  return out;
}

/** Reads one that comes in pieces, or several one after the other. */
export class VarintReader {
  /** Of the last one that was complete. Beyond 2^53 it is inexact, but far beyond every limit as well. */
  value = 0;
  /** Bytes to come; -1: none has begun. */
  #left = -1;

  /** Something of one has come, and not all. */
  get isWithin(): boolean {
    return this.#left >= 0;
  }

  /** True: it is complete. */
  take(byte: number): boolean {
    if (this.#left < 0) {
      this.value = byte & 0x3f;
      this.#left = (1 << (byte >> 6)) - 1;
    } else {
      this.value = this.value * 256 + byte;
      this.#left--;
    }
    if (this.#left > 0) return false;
    this.#left = -1;
    return true;
  }
}

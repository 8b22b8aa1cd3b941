/**
 * Keyed BLAKE2s (RFC 7693) in plain JavaScript: node:crypto has the hash but not its keyed mode. It makes the MACs that decide whether
 * a stranger's datagram is looked at, so it must not allocate: one working state serves all calls.
 */

// RFC 7693 (2.6)
const IV = Uint32Array.of(0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19);

// RFC 7693 (2.7), ten rounds of sixteen message word indices.
const SIGMA = Uint8Array.of(
  ...[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
  ...[14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
  ...[11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
  ...[7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
  ...[9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
  ...[2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
  ...[12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
  ...[13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
  ...[6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
  ...[10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
);

const BLOCK_BYTES = 64;
const ROUNDS = 10;
export const BLAKE2S_MAX_BYTES = 32;

const h = new Uint32Array(8);
const v = new Uint32Array(16);
const m = new Uint32Array(16);
const block = new Uint8Array(BLOCK_BYTES);
const NO_BYTES = new Uint8Array(0);

function rotateRight(x: number, bits: number): number {
  return (x >>> bits) | (x << (32 - bits));
}

/** RFC 7693 (3.1), the mixing function G. */
function mix(a: number, b: number, c: number, d: number, x: number, y: number): void {
  v[a] = v[a]! + v[b]! + x;
  v[d] = rotateRight(v[d]! ^ v[a]!, 16);
  v[c] = v[c]! + v[d]!;
  v[b] = rotateRight(v[b]! ^ v[c]!, 12);
  v[a] = v[a]! + v[b]! + y;
  v[d] = rotateRight(v[d]! ^ v[a]!, 8);
  v[c] = v[c]! + v[d]!;
  v[b] = rotateRight(v[b]! ^ v[c]!, 7);
}

/** RFC 7693 (3.2), the compression function F over `block`. Messages here are far below 2^32 bytes, so the counter is one word. */
function compress(countBytes: number, last: boolean): void {
  for (let i = 0; i < 16; i++) {
    const at = i * 4;
    m[i] = block[at]! | (block[at + 1]! << 8) | (block[at + 2]! << 16) | (block[at + 3]! << 24);
  }
  for (let i = 0; i < 8; i++) {
    v[i] = h[i]!;
    v[i + 8] = IV[i]!;
  }
  v[12] = v[12]! ^ countBytes;
  if (last) v[14] = ~v[14]!;
  for (let round = 0; round < ROUNDS; round++) {
    const s = round * 16;
    mix(0, 4, 8, 12, m[SIGMA[s]!]!, m[SIGMA[s + 1]!]!);
    mix(1, 5, 9, 13, m[SIGMA[s + 2]!]!, m[SIGMA[s + 3]!]!);
    mix(2, 6, 10, 14, m[SIGMA[s + 4]!]!, m[SIGMA[s + 5]!]!);
    mix(3, 7, 11, 15, m[SIGMA[s + 6]!]!, m[SIGMA[s + 7]!]!);
    mix(0, 5, 10, 15, m[SIGMA[s + 8]!]!, m[SIGMA[s + 9]!]!);
    mix(1, 6, 11, 12, m[SIGMA[s + 10]!]!, m[SIGMA[s + 11]!]!);
    mix(2, 7, 8, 13, m[SIGMA[s + 12]!]!, m[SIGMA[s + 13]!]!);
    mix(3, 4, 9, 14, m[SIGMA[s + 14]!]!, m[SIGMA[s + 15]!]!);
  }
  for (let i = 0; i < 8; i++) h[i] = h[i]! ^ v[i]! ^ v[i + 8]!;
}

function loadBlock(bytes: Uint8Array, from: number, count: number): void {
  for (let i = 0; i < count; i++) block[i] = bytes[from + i]!;
  block.fill(0, count);
}

/**
 * BLAKE2s of `length` bytes of `message` from 0, keyed, written to `out` from `outOffset`: `macBytes` of it.
 * `key`: 0 to 32 bytes (empty: the plain hash). `macBytes`: 1 to 32. Arguments are borrowed until return.
 */
export function blake2sInto(
  out: Uint8Array,
  outOffset: number,
  macBytes: number,
  key: Uint8Array,
  message: Uint8Array,
  length: number,
): void {
  if (key.length > BLAKE2S_MAX_BYTES) throw new RangeError('key is longer than 32 bytes');
  if (macBytes < 1 || macBytes > BLAKE2S_MAX_BYTES) throw new RangeError('macBytes is not 1 to 32');
  if (length > message.length) throw new RangeError('length exceeds the message');
  if (outOffset + macBytes > out.length) throw new RangeError('out is too short');
  h.set(IV);
  h[0] = h[0]! ^ 0x01010000 ^ (key.length << 8) ^ macBytes;
  let countBytes = 0;
  if (key.length > 0) {
    loadBlock(key, 0, key.length);
    countBytes = BLOCK_BYTES;
    compress(countBytes, length === 0);
  }
  let at = 0;
  while (length - at > BLOCK_BYTES) {
    loadBlock(message, at, BLOCK_BYTES);
    at += BLOCK_BYTES;
    countBytes += BLOCK_BYTES;
    compress(countBytes, false);
  }
  if (length > 0 || key.length === 0) {
    loadBlock(message, at, length - at);
    compress(countBytes + length - at, true);
  }
  for (let i = 0; i < macBytes; i++) out[outOffset + i] = h[i >> 2]! >>> ((i & 3) * 8);
  block.fill(0);
}

/** The same as a new array. */
export function blake2s(macBytes: number, key: Uint8Array, message: Uint8Array): Uint8Array {
  const out = new Uint8Array(macBytes);
  blake2sInto(out, 0, macBytes, key, message, message.length);
  return out;
}

/** The plain 32-byte hash. */
export function blake2sHash(message: Uint8Array): Uint8Array {
  return blake2s(BLAKE2S_MAX_BYTES, NO_BYTES, message);
}

/** Keys, tokens, initial data sequence numbers and handshake HMACs (RFC 8684, 3.1, 3.2; SHA-256). Cold path. */

import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { readU32, writeU32 } from '../wire/big-endian.js';

export interface KeyMaterial {
  readonly key: Uint8Array;
  /** Most significant 32 bits of SHA-256(key). */
  readonly token: number;
  /** Least significant 64 bits of SHA-256(key). */
  readonly idsnHigh: number;
  readonly idsnLow: number;
}

export function deriveKeyMaterial(key: Uint8Array): KeyMaterial {
  const digest = createHash('sha256').update(key).digest();
  return { key, token: readU32(digest, 0), idsnHigh: readU32(digest, 24), idsnLow: readU32(digest, 28) };
}

/** HMAC-SHA256(firstKey || secondKey, firstNonce || secondNonce): each side puts its own first. */
export function joinHmac(firstKey: Uint8Array, secondKey: Uint8Array, firstNonce: number, secondNonce: number): Uint8Array {
  const key = new Uint8Array(16);
  key.set(firstKey, 0);
  key.set(secondKey, 8);
  const message = new Uint8Array(8);
  writeU32(message, 0, firstNonce);
  writeU32(message, 4, secondNonce);
  return createHmac('sha256', key).update(message).digest();
}

/** Compares the first `length` bytes in constant time. */
export function equalPrefix(a: Uint8Array, b: Uint8Array, length: number): boolean {
  return timingSafeEqual(a.subarray(0, length), b.subarray(0, length));
}

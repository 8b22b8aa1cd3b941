/**
 * Keys, tokens, initial data sequence numbers and handshake HMACs: with SHA-256 in version 1 (RFC 8684, 3.1, 3.2), with SHA-1 in version 0 (RFC 6824).
 * Cold path.
 */

import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { readU32, writeU32 } from '../wire/big-endian.js';

export type MptcpVersion = 0 | 1;

export interface KeyMaterial {
  readonly key: Uint8Array;
  /** Most significant 32 bits of the key's hash. */
  readonly token: number;
  /** Least significant 64 bits of it. */
  readonly idsnHigh: number;
  readonly idsnLow: number;
}

function hashName(version: MptcpVersion): string {
  return version === 1 ? 'sha256' : 'sha1';
}

export function deriveKeyMaterial(key: Uint8Array, version: MptcpVersion): KeyMaterial {
  const digest = createHash(hashName(version)).update(key).digest();
  const end = digest.length;
  return { key, token: readU32(digest, 0), idsnHigh: readU32(digest, end - 8), idsnLow: readU32(digest, end - 4) };
}

/** HMAC(firstKey || secondKey, firstNonce || secondNonce), at least 20 bytes: each side puts its own first. */
export function joinHmac(
  firstKey: Uint8Array,
  secondKey: Uint8Array,
  firstNonce: number,
  secondNonce: number,
  version: MptcpVersion,
): Uint8Array {
  const key = new Uint8Array(16);
  key.set(firstKey, 0);
  key.set(secondKey, 8);
  const message = new Uint8Array(8);
  writeU32(message, 0, firstNonce);
  writeU32(message, 4, secondNonce);
  return createHmac(hashName(version), key).update(message).digest();
}

/** Compares the first `length` bytes in constant time. */
export function equalPrefix(a: Uint8Array, b: Uint8Array, length: number): boolean {
  return timingSafeEqual(a.subarray(0, length), b.subarray(0, length));
}

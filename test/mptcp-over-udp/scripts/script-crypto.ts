/** What the script's peer computes by itself, apart from the engine: tokens, IDSNs, HMACs, checksums (RFC 8684, 3.1-3.4). BigInt for plainness. */

import { createHash, createHmac } from 'node:crypto';

export interface PeerKeys {
  key: Uint8Array;
  token: number;
  idsn: bigint;
}

/** RFC 8684 (3.1): SHA-256; RFC 6824 (3.1), version 0: SHA-1. The token is the first 32 bits, the IDSN the last 64. */
export function keysOf(key: Uint8Array, version: 0 | 1 = 1): PeerKeys {
  const digest = createHash(version === 0 ? 'sha1' : 'sha256')
    .update(key)
    .digest();
  return { key, token: digest.readUInt32BE(0), idsn: digest.readBigUInt64BE(digest.length - 8) };
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

/** RFC 8684 (3.2): HMAC(Key-sender || Key-receiver, R-sender || R-receiver). */
export function handshakeHmac(
  senderKey: Uint8Array,
  receiverKey: Uint8Array,
  senderNonce: number,
  receiverNonce: number,
  version: 0 | 1 = 1,
): Uint8Array {
  const mac = createHmac(version === 0 ? 'sha1' : 'sha256', Buffer.concat([senderKey, receiverKey]));
  return mac.update(Buffer.concat([u32(senderNonce), u32(receiverNonce)])).digest();
}

/** RFC 8684 (3.4.1): the rightmost 64 bits of HMAC(Key-sender || Key-receiver, Address ID || Address || Port). */
export function addAddrHmac(senderKey: Uint8Array, receiverKey: Uint8Array, id: number, address: Uint8Array, port: number): Uint8Array {
  const mac = createHmac('sha256', Buffer.concat([senderKey, receiverKey]));
  return mac
    .update(Buffer.concat([Buffer.from([id]), address, Buffer.from([port >> 8, port & 0xff])]))
    .digest()
    .subarray(24);
}

/** RFC 8684 (3.3.1): over the 64-bit DSN, SSN, length, two zero bytes, and the payload. */
export function dssChecksum(dsn: bigint, ssn: number, length: number, payload: Uint8Array): number {
  const pseudo = Buffer.alloc(16);
  pseudo.writeBigUInt64BE(dsn);
  pseudo.writeUInt32BE(ssn >>> 0, 8);
  pseudo.writeUInt16BE(length, 12);
  const odd = payload.length % 2 === 1 ? Buffer.alloc(1) : Buffer.alloc(0);
  const all = Buffer.concat([pseudo, payload, odd]);
  let sum = 0;
  for (let i = 0; i < all.length; i += 2) sum += all.readUInt16BE(i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export function high(value: bigint): number {
  return Number((value >> 32n) & 0xffff_ffffn);
}

export function low(value: bigint): number {
  return Number(value & 0xffff_ffffn);
}

/** A key whose IDSN is f88b3941_fffffa5a: 1446 bytes before its low half wraps. */
export const NEAR_WRAP_KEY = Uint8Array.of(0, 0, 0, 0, 0x00, 0x03, 0xd9, 0xa2);

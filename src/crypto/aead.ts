/**
 * The two AEADs, one call a message, on node:crypto. The data path has the addon for this; here are the handshake's few messages and, for
 * tests, the simulation and a cross-check of the addon, whole data datagrams:
 *
 *      0        1        2 3 4 5            6 7 8 9 10 11      12 ..        last 16
 *   +--------+--------+------------------+------------------+------------+------+
 *   | type   | pathId | receiverIndex BE | packetNumber BE  | ciphertext | tag  |
 *   +--------+--------+------------------+------------------+------------+------+
 *
 * The header is the associated data; the nonce is 3 zero bytes, pathId, 2 zero bytes, packetNumber (48 bits).
 */

import { createCipheriv, createDecipheriv } from 'node:crypto';
import { requireKey } from './keys.js';

export type AeadName = 'aes-256-gcm' | 'chacha20-poly1305';

export const AEAD_TAG_BYTES = 16;
export const AEAD_NONCE_BYTES = 12;
export const DATA_HEADER_BYTES = 12;
const MAX_PACKET_NUMBER = 2 ** 48 - 1;
const TAG_LENGTH = { authTagLength: AEAD_TAG_BYTES };

function makeCipher(aead: AeadName, key: Uint8Array, nonce: Uint8Array) {
  return aead === 'aes-256-gcm'
    ? createCipheriv('aes-256-gcm', key, nonce, TAG_LENGTH)
    : createCipheriv('chacha20-poly1305', key, nonce, TAG_LENGTH);
}

function makeDecipher(aead: AeadName, key: Uint8Array, nonce: Uint8Array) {
  return aead === 'aes-256-gcm'
    ? createDecipheriv('aes-256-gcm', key, nonce, TAG_LENGTH)
    : createDecipheriv('chacha20-poly1305', key, nonce, TAG_LENGTH);
}

/** Ciphertext and tag in a new array. */
export function seal(aead: AeadName, key: Uint8Array, nonce: Uint8Array, associated: Uint8Array, plaintext: Uint8Array): Uint8Array {
  requireKey(key, 'key');
  const cipher = makeCipher(aead, key, nonce);
  cipher.setAAD(associated, { plaintextLength: plaintext.length });
  const out = new Uint8Array(plaintext.length + AEAD_TAG_BYTES);
  out.set(cipher.update(plaintext), 0);
  cipher.final();
  out.set(cipher.getAuthTag(), plaintext.length);
  return out;
}

/** Plaintext in a new array, or undefined when the tag does not verify (node:crypto makes an Error of it: callers gate this by a MAC or a known key). */
export function open(
  aead: AeadName,
  key: Uint8Array,
  nonce: Uint8Array,
  associated: Uint8Array,
  sealed: Uint8Array,
): Uint8Array | undefined {
  requireKey(key, 'key');
  const length = sealed.length - AEAD_TAG_BYTES;
  if (length < 0) return undefined;
  const decipher = makeDecipher(aead, key, nonce);
  decipher.setAAD(associated, { plaintextLength: length });
  decipher.setAuthTag(sealed.subarray(length));
  const plaintext = Uint8Array.from(decipher.update(sealed.subarray(0, length)));
  try {
    decipher.final();
  } catch {
    plaintext.fill(0);
    return undefined;
  }
  return plaintext;
}

export interface DataHeader {
  type: number;
  pathId: number;
  receiverIndex: number;
  packetNumber: number;
}

function emitDataHeader(out: Uint8Array, header: DataHeader): void {
  const view = new DataView(out.buffer, out.byteOffset, DATA_HEADER_BYTES);
  view.setUint8(0, header.type);
  view.setUint8(1, header.pathId);
  view.setUint32(2, header.receiverIndex);
  view.setUint16(6, Math.floor(header.packetNumber / 2 ** 32));
  view.setUint32(8, header.packetNumber >>> 0);
}

export function parseDataHeader(datagram: Uint8Array): DataHeader | string {
  if (datagram.length < DATA_HEADER_BYTES + AEAD_TAG_BYTES) return 'data datagram too short';
  const view = new DataView(datagram.buffer, datagram.byteOffset, DATA_HEADER_BYTES);
  return {
    type: view.getUint8(0),
    pathId: view.getUint8(1),
    receiverIndex: view.getUint32(2),
    packetNumber: view.getUint16(6) * 2 ** 32 + view.getUint32(8),
  };
}

/** 12 bytes: 0 0 0 pathId 0 0 packetNumber. A path never shares a nonce with another under the same key. */
export function dataNonce(pathId: number, packetNumber: number): Uint8Array {
  const nonce = new Uint8Array(AEAD_NONCE_BYTES);
  const view = new DataView(nonce.buffer);
  view.setUint8(3, pathId);
  view.setUint16(6, Math.floor(packetNumber / 2 ** 32));
  view.setUint32(8, packetNumber >>> 0);
  return nonce;
}

/** A whole data datagram in a new array. */
export function sealDatagram(aead: AeadName, key: Uint8Array, header: DataHeader, plaintext: Uint8Array): Uint8Array {
  if (!(header.packetNumber >= 0 && header.packetNumber <= MAX_PACKET_NUMBER)) throw new RangeError('packetNumber is not of 48 bits');
  const out = new Uint8Array(DATA_HEADER_BYTES + plaintext.length + AEAD_TAG_BYTES);
  emitDataHeader(out, header);
  const nonce = dataNonce(header.pathId, header.packetNumber);
  out.set(seal(aead, key, nonce, out.subarray(0, DATA_HEADER_BYTES), plaintext), DATA_HEADER_BYTES);
  return out;
}

/** The plaintext, or a fault string. Whether the packet number is fresh is the replay window's business. */
export function openDatagram(
  aead: AeadName,
  key: Uint8Array,
  datagram: Uint8Array,
): { header: DataHeader; plaintext: Uint8Array } | string {
  const header = parseDataHeader(datagram);
  if (typeof header === 'string') return header;
  const nonce = dataNonce(header.pathId, header.packetNumber);
  const plaintext = open(aead, key, nonce, datagram.subarray(0, DATA_HEADER_BYTES), datagram.subarray(DATA_HEADER_BYTES));
  return plaintext === undefined ? 'bad tag' : { header, plaintext };
}

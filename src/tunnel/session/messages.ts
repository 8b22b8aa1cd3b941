/**
 * The datagrams that strangers may send us: fixed layouts, big-endian, lengths exact. Everything behind a MAC.
 *
 * Initiation, 164 bytes
 *    0      1         4               8                40                    88                  132      148
 *   +------+---------+---------------+----------------+---------------------+-------------------+--------+--------+
 *   | 0x01 | 0 0 0   | senderIndex   | ephemeral (32) | sealed static (48)  | sealed hello (44) | mac1   | mac2   |
 *   +------+---------+---------------+----------------+---------------------+-------------------+--------+--------+
 *   The first 8 bytes are part of the Noise prologue, so senderIndex is authenticated.
 *   hello: timestamp (12) | version u8 | 0 0 0 | features u32 | aes-256-gcm ns u32 | chacha20-poly1305 ns u32 (ns 0: not offered)
 *
 * Response, 100 bytes
 *    0      1         4               8                40                    68       84
 *   +------+---------+---------------+----------------+---------------------+--------+--------+
 *   | 0x02 | 0 0 0   | receiverIndex | ephemeral (32) | sealed choice (28)  | mac1   | mac2   |
 *   +------+---------+---------------+----------------+---------------------+--------+--------+
 *   choice: senderIndex u32 | version u8 | aead u8 | 0 0 | features u32
 *
 * Cookie reply, 64 bytes
 *    0      1         4               8           32                    64
 *   +------+---------+---------------+-----------+---------------------+
 *   | 0x03 | 0 0 0   | receiverIndex | salt (24) | sealed cookie (32)  |
 *   +------+---------+---------------+-----------+---------------------+
 *
 * mac1 is keyed by a hash of the receiver's public key and covers all before it; mac2 is keyed by the cookie and covers all before it,
 * zeros without a cookie. A response is smaller than an initiation and a cookie reply smaller still: nothing is amplified.
 */

import type { AeadName } from '../../tun/native.js';

export const MESSAGE_INITIATION = 0x01;
export const MESSAGE_RESPONSE = 0x02;
export const MESSAGE_COOKIE_REPLY = 0x03;

export const MAC_BYTES = 16;
export const MESSAGE_HEADER_BYTES = 8;
export const TIMESTAMP_BYTES = 12;
export const HELLO_BYTES = 28;
export const CHOICE_BYTES = 12;
export const INITIATION_BYTES = 164;
export const RESPONSE_BYTES = 100;
export const COOKIE_REPLY_BYTES = 64;
export const COOKIE_SALT_BYTES = 24;
export const COOKIE_BYTES = 16;

export const PROTOCOL_VERSION = 1;
/**
 * Features are told by both sides; what both have is used, and bits that a side does not know are ignored.
 * HEADER_COMPRESSION: opens compressed stream segments (docs/header-compression.md), and its index (of this handshake) differs in the lower half from all others
 * of its own that it says this of.
 * PATH_POLICY: obeys the limits and costs of paths that the other side tells.
 */
export const FEATURE_HEADER_COMPRESSION = 0x0000_0001;
export const FEATURE_PATH_POLICY = 0x0000_0002;
export const FEATURES = FEATURE_HEADER_COMPRESSION | FEATURE_PATH_POLICY;

const MAX_U32 = 2 ** 32 - 1;
const AEAD_IDS: Readonly<Record<AeadName, number>> = { 'aes-256-gcm': 1, 'chacha20-poly1305': 2 };

/** A message without its two MACs. */
export function withoutMacs(message: Uint8Array): Uint8Array {
  return message.subarray(0, message.length - 2 * MAC_BYTES);
}

/** Where mac1 begins. */
export function mac1Offset(message: Uint8Array): number {
  return message.length - 2 * MAC_BYTES;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The type of a message whose length and reserved bytes fit it, else undefined. */
export function messageType(bytes: Uint8Array): number | undefined {
  if (bytes.length < MESSAGE_HEADER_BYTES) return undefined;
  if ((bytes[1]! | bytes[2]! | bytes[3]!) !== 0) return undefined;
  const type = bytes[0]!;
  if (type === MESSAGE_INITIATION) return bytes.length === INITIATION_BYTES ? type : undefined;
  if (type === MESSAGE_RESPONSE) return bytes.length === RESPONSE_BYTES ? type : undefined;
  if (type === MESSAGE_COOKIE_REPLY) return bytes.length === COOKIE_REPLY_BYTES ? type : undefined;
  return undefined;
}

/** senderIndex of an initiation, receiverIndex of the others. */
export function messageIndex(bytes: Uint8Array): number {
  return viewOf(bytes).getUint32(4);
}

export function emitHeader(out: Uint8Array, type: number, index: number): void {
  out[0] = type;
  out.fill(0, 1, 4);
  viewOf(out).setUint32(4, index);
}

/** Nanoseconds that a seal of 1400 bytes costs; 0: not offered. */
export type AeadCosts = Readonly<Record<AeadName, number>>;

export interface Hello {
  /** Orders the initiations of one peer. */
  timestamp: Uint8Array;
  version: number;
  features: number;
  costs: AeadCosts;
}

export function emitHello(hello: Hello): Uint8Array {
  const out = new Uint8Array(HELLO_BYTES);
  const view = viewOf(out);
  out.set(hello.timestamp, 0);
  view.setUint8(12, hello.version);
  view.setUint32(16, hello.features);
  view.setUint32(20, hello.costs['aes-256-gcm']);
  view.setUint32(24, hello.costs['chacha20-poly1305']);
  return out;
}

/** `bytes` came out of the AEAD and is HELLO_BYTES long. Reserved bytes are ignored. */
export function parseHello(bytes: Uint8Array): Hello | string {
  if (bytes.length !== HELLO_BYTES) return 'hello has a wrong length';
  const view = viewOf(bytes);
  return {
    timestamp: bytes.slice(0, TIMESTAMP_BYTES),
    version: view.getUint8(12),
    features: view.getUint32(16),
    costs: { 'aes-256-gcm': view.getUint32(20), 'chacha20-poly1305': view.getUint32(24) },
  };
}

export interface Choice {
  senderIndex: number;
  version: number;
  aead: AeadName;
  features: number;
}

export function emitChoice(choice: Choice): Uint8Array {
  const out = new Uint8Array(CHOICE_BYTES);
  const view = viewOf(out);
  view.setUint32(0, choice.senderIndex);
  view.setUint8(4, choice.version);
  view.setUint8(5, AEAD_IDS[choice.aead]);
  view.setUint32(8, choice.features);
  return out;
}

export function parseChoice(bytes: Uint8Array): Choice | string {
  if (bytes.length !== CHOICE_BYTES) return 'choice has a wrong length';
  const view = viewOf(bytes);
  const id = view.getUint8(5);
  const aead = id === AEAD_IDS['aes-256-gcm'] ? 'aes-256-gcm' : id === AEAD_IDS['chacha20-poly1305'] ? 'chacha20-poly1305' : undefined;
  if (aead === undefined) return 'choice names an unknown AEAD';
  const senderIndex = view.getUint32(0);
  if (senderIndex === 0) return 'choice has index 0';
  return { senderIndex, version: view.getUint8(4), aead, features: view.getUint32(8) };
}

/** The costs that we tell: whole nanoseconds of 1 or more, 0 where an AEAD is not offered. */
export function aeadCosts(aeads: readonly { name: AeadName; sealNs: number }[]): AeadCosts {
  const costs = { 'aes-256-gcm': 0, 'chacha20-poly1305': 0 };
  for (const { name, sealNs } of aeads) {
    if (!(sealNs >= 0)) throw new RangeError(`sealNs of ${name} is not a cost`);
    costs[name] = Math.min(Math.max(1, Math.round(sealNs)), MAX_U32);
  }
  return costs;
}

/** The AEAD whose slower side is fastest; in a tie the one earlier in `preference` (ours). Undefined when none is common. */
export function chooseAead(preference: readonly AeadName[], ours: AeadCosts, theirs: AeadCosts): AeadName | undefined {
  let best: AeadName | undefined;
  let bestNs = Number.POSITIVE_INFINITY;
  for (const name of preference) {
    if (ours[name] === 0 || theirs[name] === 0) continue;
    const slowerNs = Math.max(ours[name], theirs[name]);
    if (slowerNs < bestNs) {
      best = name;
      bestNs = slowerNs;
    }
  }
  return best;
}

/**
 * mac1, mac2 and cookies, in WireGuard's manner (section 5.4.4 and 5.4.7 of its paper). mac1 proves that the sender knows whom it talks to;
 * a cookie, that it receives at its source address. The cookie travels sealed under a key that mixes the receiver's public key and a random salt.
 */

import { open, seal } from '../../crypto/aead.js';
import { blake2s, blake2sHash, blake2sInto } from '../../crypto/blake2s.js';
import { constantTimeEqual } from '../../crypto/keys.js';
import {
  COOKIE_BYTES,
  COOKIE_REPLY_BYTES,
  COOKIE_SALT_BYTES,
  emitHeader,
  MAC_BYTES,
  MESSAGE_COOKIE_REPLY,
  MESSAGE_HEADER_BYTES,
  mac1Offset,
} from './messages.js';

const SECRET_BYTES = 32;
/** Each key seals one cookie, so its nonce may be constant. */
const ZERO_NONCE = new Uint8Array(12);
const ZERO_MAC = new Uint8Array(MAC_BYTES);
const scratchMac = new Uint8Array(MAC_BYTES);

function labelledKey(label: string, publicKey: Uint8Array): Uint8Array {
  return blake2sHash(Buffer.concat([Buffer.from(`mptunnel 1 ${label}`, 'ascii'), publicKey]));
}

/** Key of the mac1 in messages to the owner of `publicKey`. */
export function mac1Key(publicKey: Uint8Array): Uint8Array {
  return labelledKey('mac1', publicKey);
}

/** Key from which the keys of cookie replies by the owner of `publicKey` are made. */
export function cookieReplyKey(publicKey: Uint8Array): Uint8Array {
  return labelledKey('cookie', publicKey);
}

export function writeMac1(message: Uint8Array, key: Uint8Array): void {
  const at = mac1Offset(message);
  blake2sInto(message, at, MAC_BYTES, key, message, at);
}

export function verifyMac1(message: Uint8Array, key: Uint8Array): boolean {
  const at = mac1Offset(message);
  blake2sInto(scratchMac, 0, MAC_BYTES, key, message, at);
  return constantTimeEqual(scratchMac, message.subarray(at, at + MAC_BYTES));
}

/** Without a cookie mac2 is zeros. */
export function writeMac2(message: Uint8Array, cookie: Uint8Array | undefined): void {
  const at = mac1Offset(message) + MAC_BYTES;
  if (cookie === undefined) message.set(ZERO_MAC, at);
  else blake2sInto(message, at, MAC_BYTES, cookie, message, at);
}

/** The responder's side: cookies for source addresses, under a secret that changes. Keeps nothing about anybody. */
export class CookieJar {
  readonly #randomBytes: (count: number) => Uint8Array;
  readonly #replyKey: Uint8Array;
  readonly #secretMs: number;
  #secret: Uint8Array | undefined;
  #secretUntilMs = 0;

  constructor(options: { publicKey: Uint8Array; secretMs: number; randomBytes: (count: number) => Uint8Array }) {
    this.#randomBytes = options.randomBytes;
    this.#replyKey = cookieReplyKey(options.publicKey);
    this.#secretMs = options.secretMs;
  }

  #cookieFor(sourceAddress: Uint8Array, nowMs: number): Uint8Array {
    if (this.#secret === undefined || nowMs >= this.#secretUntilMs) {
      this.#secret = Uint8Array.from(this.#randomBytes(SECRET_BYTES));
      this.#secretUntilMs = nowMs + this.#secretMs;
    }
    return blake2s(COOKIE_BYTES, this.#secret, sourceAddress);
  }

  verifyMac2(message: Uint8Array, sourceAddress: Uint8Array, nowMs: number): boolean {
    const at = mac1Offset(message) + MAC_BYTES;
    if (constantTimeEqual(message.subarray(at), ZERO_MAC)) return false;
    blake2sInto(scratchMac, 0, MAC_BYTES, this.#cookieFor(sourceAddress, nowMs), message, at);
    return constantTimeEqual(scratchMac, message.subarray(at));
  }

  /** A cookie reply to `message` (its mac1 verified) in a new array. */
  reply(message: Uint8Array, senderIndex: number, sourceAddress: Uint8Array, nowMs: number): Uint8Array {
    const out = new Uint8Array(COOKIE_REPLY_BYTES);
    emitHeader(out, MESSAGE_COOKIE_REPLY, senderIndex);
    const salt = this.#randomBytes(COOKIE_SALT_BYTES);
    out.set(salt, MESSAGE_HEADER_BYTES);
    const mac1 = message.subarray(mac1Offset(message), mac1Offset(message) + MAC_BYTES);
    const key = blake2s(SECRET_BYTES, this.#replyKey, out.subarray(MESSAGE_HEADER_BYTES, MESSAGE_HEADER_BYTES + COOKIE_SALT_BYTES));
    const sealed = seal('chacha20-poly1305', key, ZERO_NONCE, mac1, this.#cookieFor(sourceAddress, nowMs));
    out.set(sealed, MESSAGE_HEADER_BYTES + COOKIE_SALT_BYTES);
    return out;
  }
}

/** The initiator's side: the cookie in a reply to `initiation`, or undefined when it does not verify. `replyKey` belongs to the responder. */
export function openCookieReply(reply: Uint8Array, initiation: Uint8Array, replyKey: Uint8Array): Uint8Array | undefined {
  const saltEnd = MESSAGE_HEADER_BYTES + COOKIE_SALT_BYTES;
  const key = blake2s(SECRET_BYTES, replyKey, reply.subarray(MESSAGE_HEADER_BYTES, saltEnd));
  const mac1 = initiation.subarray(mac1Offset(initiation), mac1Offset(initiation) + MAC_BYTES);
  return open('chacha20-poly1305', key, ZERO_NONCE, mac1, reply.subarray(saltEnd));
}

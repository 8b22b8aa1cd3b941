/**
 * X25519 (RFC 7748) on node:crypto: 35-50 µs against 650 of plain JavaScript. Importing a raw key costs some 10 µs, so keys that stay
 * (ours, the peers') are imported once and kept as handles.
 */

import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from 'node:crypto';
import { isAllZero, requireKey } from './keys.js';

// RFC 8410: DER around the raw 32 bytes.
const PKCS8_PREFIX = Uint8Array.of(0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20);
const SPKI_PREFIX = Uint8Array.of(0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x03, 0x21, 0x00);

export interface X25519PublicKey {
  readonly bytes: Uint8Array;
  readonly handle: KeyObject;
}

export interface X25519KeyPair {
  readonly publicKey: Uint8Array;
  readonly handle: KeyObject;
}

function wrap(prefix: Uint8Array, raw: Uint8Array): Buffer {
  const der = Buffer.alloc(prefix.length + raw.length);
  der.set(prefix, 0);
  der.set(raw, prefix.length);
  return der;
}

/** `bytes` is copied. Every 32-byte string is a public key to X25519; weak ones show at `sharedSecret`. */
export function importPublicKey(bytes: Uint8Array): X25519PublicKey {
  requireKey(bytes, 'public key');
  const handle = createPublicKey({ key: wrap(SPKI_PREFIX, bytes), format: 'der', type: 'spki' });
  return { bytes: Uint8Array.from(bytes), handle };
}

/** The key pair of a private key; `privateKey` is borrowed. */
export function importPrivateKey(privateKey: Uint8Array): X25519KeyPair {
  requireKey(privateKey, 'private key');
  const der = wrap(PKCS8_PREFIX, privateKey);
  const handle = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  der.fill(0);
  const spki = createPublicKey(handle).export({ format: 'der', type: 'spki' });
  return { publicKey: Uint8Array.from(spki.subarray(SPKI_PREFIX.length)), handle };
}

export function publicKeyOf(privateKey: Uint8Array): Uint8Array {
  return importPrivateKey(privateKey).publicKey;
}

/** 32 bytes, or undefined when the other key is a point of small order (RFC 7748, 6.1: an all-zero secret is refused). */
export function sharedSecret(own: X25519KeyPair, remote: X25519PublicKey): Uint8Array | undefined {
  let secret: Uint8Array;
  try {
    secret = diffieHellman({ privateKey: own.handle, publicKey: remote.handle });
  } catch {
    // OpenSSL refuses the all-zero result by throwing.
    return undefined;
  }
  return isAllZero(secret) ? undefined : secret;
}

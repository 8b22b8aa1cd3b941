/**
 * X25519 (RFC 7748) on node:crypto: 35-50 µs against 650 of plain JavaScript. Raw keys go in and out as JWK (7 µs a public key, 50 a
 * private one with its public half): through DER, the decoders of OpenSSL 3.0 (Node.js 20) cost 180 and 1000. Keys that stay are imported once and kept as handles.
 */

import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from 'node:crypto';
import { isAllZero, KEY_BYTES, requireKey } from './keys.js';

const KEY_TYPE = { kty: 'OKP', crv: 'X25519' } as const;
/** The public half of a private JWK must be there, and up to Node.js 22 is not looked at: the key is made of `d` alone. */
const ANY_PUBLIC = Buffer.alloc(KEY_BYTES).toString('base64url');
/** PKCS #8 (RFC 8410, 7) up to the 32 bytes of the key. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url');
}

function importJwk(privateKey: Uint8Array): KeyObject {
  return createPrivateKey({ key: { ...KEY_TYPE, d: base64url(privateKey), x: ANY_PUBLIC }, format: 'jwk' });
}

function importPkcs8(privateKey: Uint8Array): KeyObject {
  return createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, privateKey]), format: 'der', type: 'pkcs8' });
}

/** Later versions compare the public half, and their OpenSSL decodes DER as fast (Node.js 26: 77 µs). */
const importHandle = takesAnyPublic() ? importJwk : importPkcs8;

function takesAnyPublic(): boolean {
  try {
    importJwk(new Uint8Array(KEY_BYTES).fill(1));
    return true;
  } catch {
    return false;
  }
}

export interface X25519PublicKey {
  readonly bytes: Uint8Array;
  readonly handle: KeyObject;
}

export interface X25519KeyPair {
  readonly publicKey: Uint8Array;
  readonly handle: KeyObject;
}

/** `bytes` is copied. Every 32-byte string is a public key to X25519; weak ones show at `sharedSecret`. */
export function importPublicKey(bytes: Uint8Array): X25519PublicKey {
  requireKey(bytes, 'public key');
  const handle = createPublicKey({ key: { ...KEY_TYPE, x: base64url(bytes) }, format: 'jwk' });
  return { bytes: Uint8Array.from(bytes), handle };
}

/** The key pair of a private key; `privateKey` is borrowed. */
export function importPrivateKey(privateKey: Uint8Array): X25519KeyPair {
  requireKey(privateKey, 'private key');
  const handle = importHandle(privateKey);
  const { x } = createPublicKey(handle).export({ format: 'jwk' });
  return { publicKey: new Uint8Array(Buffer.from(x!, 'base64url')), handle };
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

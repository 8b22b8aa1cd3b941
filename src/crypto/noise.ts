/**
 * Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s (The Noise Protocol Framework, revision 34), sans I/O; names are the specification's.
 *
 *     IKpsk2:
 *       <- s
 *       ...
 *       -> e, es, s, ss        (initiation)
 *       <- e, ee, se, psk      (response)
 *
 * Reading is split where a stranger can be refused: `readStatic` costs one X25519 and tells who claims to speak, `readPayload` proves it.
 * A failed read leaves the handshake as it was, so that a forged message cannot spoil a real one that is still under way.
 */

import { createHash, createHmac } from 'node:crypto';
import { AEAD_NONCE_BYTES, AEAD_TAG_BYTES, open, seal } from './aead.js';
import type { HandshakeSplit } from './key-schedule.js';
import { KEY_BYTES, requireKey } from './keys.js';
import { importPublicKey, sharedSecret, type X25519KeyPair, type X25519PublicKey } from './x25519.js';

const PROTOCOL_NAME = 'Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s';
const HASH = 'blake2s256';
const NO_BYTES = new Uint8Array(0);

/** Bytes that the initiation adds to its payload: e, sealed s, tag. */
export const NOISE_INITIATION_OVERHEAD = KEY_BYTES + KEY_BYTES + AEAD_TAG_BYTES + AEAD_TAG_BYTES;
/** Bytes that the response adds to its payload: e, tag. */
export const NOISE_RESPONSE_OVERHEAD = KEY_BYTES + AEAD_TAG_BYTES;
const SEALED_STATIC_END = KEY_BYTES + KEY_BYTES + AEAD_TAG_BYTES;

function hash(...parts: Uint8Array[]): Uint8Array {
  const state = createHash(HASH);
  for (const part of parts) state.update(part);
  return state.digest();
}

function hmac(key: Uint8Array, ...parts: Uint8Array[]): Uint8Array {
  const state = createHmac(HASH, key);
  for (const part of parts) state.update(part);
  return state.digest();
}

/** Section 4.3, HKDF with `count` (2 or 3) outputs. */
function hkdf(chainingKey: Uint8Array, input: Uint8Array, count: number): Uint8Array[] {
  const temp = hmac(chainingKey, input);
  const outputs: Uint8Array[] = [];
  for (let i = 1; i <= count; i++) outputs.push(hmac(temp, outputs[i - 2] ?? NO_BYTES, Uint8Array.of(i)));
  return outputs;
}

/** Section 12.3: 32 zero bits, then the counter little-endian. Handshake and test messages stay far below 2^32. */
function cipherNonce(counter: number): Uint8Array {
  const nonce = new Uint8Array(AEAD_NONCE_BYTES);
  new DataView(nonce.buffer).setUint32(4, counter, true);
  return nonce;
}

const INITIAL_HASH = hash(Buffer.from(PROTOCOL_NAME, 'ascii'));

/** Section 5.1. */
export class CipherState {
  readonly #key: Uint8Array;
  #n = 0;

  constructor(key: Uint8Array) {
    requireKey(key, 'key');
    this.#key = key;
  }

  encryptWithAd(associated: Uint8Array, plaintext: Uint8Array): Uint8Array {
    return seal('chacha20-poly1305', this.#key, cipherNonce(this.#n++), associated, plaintext);
  }

  /** Undefined when the tag does not verify; the nonce then stays. */
  decryptWithAd(associated: Uint8Array, ciphertext: Uint8Array): Uint8Array | undefined {
    const plaintext = open('chacha20-poly1305', this.#key, cipherNonce(this.#n), associated, ciphertext);
    if (plaintext !== undefined) this.#n++;
    return plaintext;
  }
}

/** Section 5.2. Values are replaced, never changed in place, so a copy of the references is a snapshot. */
class SymmetricState {
  #chainingKey: Uint8Array = INITIAL_HASH;
  #hash: Uint8Array = INITIAL_HASH;
  #key: Uint8Array = NO_BYTES;
  #n = 0;

  clone(): SymmetricState {
    const copy = new SymmetricState();
    copy.#chainingKey = this.#chainingKey;
    copy.#hash = this.#hash;
    copy.#key = this.#key;
    copy.#n = this.#n;
    return copy;
  }

  get handshakeHash(): Uint8Array {
    return this.#hash;
  }

  mixHash(data: Uint8Array): void {
    this.#hash = hash(this.#hash, data);
  }

  mixKey(input: Uint8Array): void {
    const [chainingKey, key] = hkdf(this.#chainingKey, input, 2);
    this.#chainingKey = chainingKey!;
    this.#key = key!;
    this.#n = 0;
  }

  mixKeyAndHash(input: Uint8Array): void {
    const [chainingKey, mixed, key] = hkdf(this.#chainingKey, input, 3);
    this.#chainingKey = chainingKey!;
    this.mixHash(mixed!);
    this.#key = key!;
    this.#n = 0;
  }

  encryptAndHash(plaintext: Uint8Array): Uint8Array {
    const ciphertext = seal('chacha20-poly1305', this.#key, cipherNonce(this.#n++), this.#hash, plaintext);
    this.mixHash(ciphertext);
    return ciphertext;
  }

  decryptAndHash(ciphertext: Uint8Array): Uint8Array | undefined {
    const plaintext = open('chacha20-poly1305', this.#key, cipherNonce(this.#n), this.#hash, ciphertext);
    if (plaintext === undefined) return undefined;
    this.#n++;
    this.mixHash(ciphertext);
    return plaintext;
  }

  split(): HandshakeSplit {
    const [initiatorKey, responderKey] = hkdf(this.#chainingKey, NO_BYTES, 2);
    return { initiatorKey: initiatorKey!, responderKey: responderKey! };
  }
}

/** With a psk modifier the token "e" also mixes the ephemeral key into the chaining key (section 9.2). */
function mixEphemeral(symmetric: SymmetricState, ephemeral: Uint8Array): void {
  symmetric.mixHash(ephemeral);
  symmetric.mixKey(ephemeral);
}

function begin(prologue: Uint8Array, responderStatic: Uint8Array): SymmetricState {
  const symmetric = new SymmetricState();
  symmetric.mixHash(prologue);
  symmetric.mixHash(responderStatic);
  return symmetric;
}

function concat(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** What a finished handshake hands out. */
export interface NoiseResult {
  payload: Uint8Array;
  split: HandshakeSplit;
  handshakeHash: Uint8Array;
}

export interface NoiseInitiatorOptions {
  prologue: Uint8Array;
  staticKey: X25519KeyPair;
  /** Fresh for each handshake. */
  ephemeralKey: X25519KeyPair;
  remoteStatic: X25519PublicKey;
  presharedKey: Uint8Array;
  /** DH(s, rs) is the same for all handshakes of two peers: computed once by whoever keeps them. */
  staticStatic: Uint8Array;
}

export class NoiseInitiator {
  readonly #options: NoiseInitiatorOptions;
  readonly #symmetric: SymmetricState;

  constructor(options: NoiseInitiatorOptions) {
    requireKey(options.presharedKey, 'presharedKey');
    this.#options = options;
    this.#symmetric = begin(options.prologue, options.remoteStatic.bytes);
  }

  /** -> e, es, s, ss. Throws RangeError when the remote static key is a point of small order. Call once. */
  writeInitiation(payload: Uint8Array): Uint8Array {
    const { staticKey, ephemeralKey, remoteStatic, staticStatic } = this.#options;
    const symmetric = this.#symmetric;
    mixEphemeral(symmetric, ephemeralKey.publicKey);
    const es = sharedSecret(ephemeralKey, remoteStatic);
    if (es === undefined) throw new RangeError('remoteStatic is a point of small order');
    symmetric.mixKey(es);
    const sealedStatic = symmetric.encryptAndHash(staticKey.publicKey);
    symmetric.mixKey(staticStatic);
    return concat(ephemeralKey.publicKey, sealedStatic, symmetric.encryptAndHash(payload));
  }

  /** <- e, ee, se, psk. Undefined when it does not verify: the handshake stays open for the real response. */
  readResponse(message: Uint8Array): NoiseResult | undefined {
    if (message.length < NOISE_RESPONSE_OVERHEAD) return undefined;
    const { staticKey, ephemeralKey, presharedKey } = this.#options;
    const symmetric = this.#symmetric.clone();
    const remoteEphemeral = importPublicKey(message.subarray(0, KEY_BYTES));
    mixEphemeral(symmetric, remoteEphemeral.bytes);
    const ee = sharedSecret(ephemeralKey, remoteEphemeral);
    if (ee === undefined) return undefined;
    symmetric.mixKey(ee);
    const se = sharedSecret(staticKey, remoteEphemeral);
    if (se === undefined) return undefined;
    symmetric.mixKey(se);
    symmetric.mixKeyAndHash(presharedKey);
    const payload = symmetric.decryptAndHash(message.subarray(KEY_BYTES));
    if (payload === undefined) return undefined;
    return { payload, split: symmetric.split(), handshakeHash: symmetric.handshakeHash };
  }
}

/** One initiation being read and answered. Nothing of it outlives a refusal. */
export class NoiseResponder {
  readonly #symmetric: SymmetricState;
  readonly #staticKey: X25519KeyPair;
  #remoteEphemeral: X25519PublicKey | undefined;
  #remoteStatic: X25519PublicKey | undefined;

  constructor(options: { prologue: Uint8Array; staticKey: X25519KeyPair }) {
    this.#staticKey = options.staticKey;
    this.#symmetric = begin(options.prologue, options.staticKey.publicKey);
  }

  /** e, es, s of the initiation: the static key that the sender claims (32 bytes), or undefined when it does not verify. */
  readStatic(initiation: Uint8Array): Uint8Array | undefined {
    if (initiation.length < NOISE_INITIATION_OVERHEAD) return undefined;
    const symmetric = this.#symmetric;
    const remoteEphemeral = importPublicKey(initiation.subarray(0, KEY_BYTES));
    mixEphemeral(symmetric, remoteEphemeral.bytes);
    const es = sharedSecret(this.#staticKey, remoteEphemeral);
    if (es === undefined) return undefined;
    symmetric.mixKey(es);
    this.#remoteEphemeral = remoteEphemeral;
    return symmetric.decryptAndHash(initiation.subarray(KEY_BYTES, SEALED_STATIC_END));
  }

  /** ss and payload, after `readStatic` gave a key that we know: `remoteStatic` is that key's handle, `staticStatic` DH(s, rs). */
  readPayload(initiation: Uint8Array, remoteStatic: X25519PublicKey, staticStatic: Uint8Array): Uint8Array | undefined {
    this.#remoteStatic = remoteStatic;
    this.#symmetric.mixKey(staticStatic);
    return this.#symmetric.decryptAndHash(initiation.subarray(SEALED_STATIC_END));
  }

  /** <- e, ee, se, psk, after `readPayload` verified. Undefined when a key of the initiator is a point of small order. */
  writeResponse(
    ephemeralKey: X25519KeyPair,
    presharedKey: Uint8Array,
    payload: Uint8Array,
  ): { message: Uint8Array; split: HandshakeSplit; handshakeHash: Uint8Array } | undefined {
    requireKey(presharedKey, 'presharedKey');
    if (this.#remoteEphemeral === undefined || this.#remoteStatic === undefined) throw new TypeError('the initiation was not read');
    const symmetric = this.#symmetric;
    mixEphemeral(symmetric, ephemeralKey.publicKey);
    const ee = sharedSecret(ephemeralKey, this.#remoteEphemeral);
    const se = sharedSecret(ephemeralKey, this.#remoteStatic);
    if (ee === undefined || se === undefined) return undefined;
    symmetric.mixKey(ee);
    symmetric.mixKey(se);
    symmetric.mixKeyAndHash(presharedKey);
    const message = concat(ephemeralKey.publicKey, symmetric.encryptAndHash(payload));
    return { message, split: symmetric.split(), handshakeHash: symmetric.handshakeHash };
  }
}

/**
 * With what a client shows a QUIC or WebTransport port that it has a known peer's key, in the first bytes that it sends: before that nothing is done for a stranger. It is
 * not what secures the tunnel (the session does), and somebody who has seen it may show it again for ten minutes.
 *
 *   +--------------+------------------------+-----------+-------------------+
 *   | hint (4)     | seconds, low 32 bits   | serial    | MAC (10)          |
 *   |              | big endian (4)         | (2)       |                   |
 *   +--------------+------------------------+-----------+-------------------+
 *
 * Key: X25519 of both static keys, through BLAKE2s. Hint: which peer it may be, another one each day, so that nobody can follow it. Serial: no two paths show the same.
 * MAC: keyed BLAKE2s of what precedes it.
 */

import { blake2sInto } from '../../crypto/blake2s.js';
import { KEY_BYTES } from '../../crypto/keys.js';
import { importPrivateKey, importPublicKey, sharedSecret, type X25519KeyPair } from '../../crypto/x25519.js';

export const PROOF_BYTES = 20;
/** Of the clocks of both sides, and the age of a proof. */
export const PROOF_TOLERANCE_SECONDS = 600;

const HINT_BYTES = 4;
const SERIAL_AT = 8;
const STATED_BYTES = 10;
const MAC_BYTES = PROOF_BYTES - STATED_BYTES;
const DAY_SECONDS = 86_400;
const KEY_LABEL = Buffer.from('mptunnel 1 carrier proof', 'ascii');
const HINT_LABEL = 0x68;

/** A new proof at each call. Throws RangeError when the peer's key is weak. `wallClockMs` since 1970. */
export function createProofMaker(privateKey: Uint8Array, peerPublicKey: Uint8Array): (wallClockMs: number) => Uint8Array {
  const key = proofKey(importPrivateKey(privateKey), peerPublicKey);
  if (key === undefined) throw new RangeError('peerPublicKey is weak');
  let serial: number | undefined;
  return (wallClockMs) => {
    // After a restart it goes on elsewhere.
    serial = ((serial ?? wallClockMs) + 1) & 0xffff;
    const seconds = Math.floor(wallClockMs / 1000);
    const proof = new Uint8Array(PROOF_BYTES);
    putHint(proof, key, Math.floor(seconds / DAY_SECONDS));
    const view = new DataView(proof.buffer);
    view.setUint32(HINT_BYTES, seconds >>> 0);
    view.setUint16(SERIAL_AT, serial);
    putMac(proof, STATED_BYTES, key, proof);
    return proof;
  };
}

/** Whose proof it is. A stranger's costs a look into a table, and a MAC in one of a million. */
export class ProofChecker<P> {
  readonly #own: X25519KeyPair;
  readonly #keys = new Map<P, Uint8Array>();
  /** By hint, of three days. */
  readonly #byHint = new Map<number, { key: Uint8Array; peer: P }[]>();
  readonly #expected = new Uint8Array(MAC_BYTES);
  #day = -1;

  constructor(privateKey: Uint8Array) {
    this.#own = importPrivateKey(privateKey);
  }

  /** One with a weak key never has a proof. */
  add(peer: P, publicKey: Uint8Array): void {
    const key = proofKey(this.#own, publicKey);
    if (key === undefined) return;
    this.#keys.set(peer, key);
    this.#day = -1;
  }

  remove(peer: P): void {
    if (this.#keys.delete(peer)) this.#day = -1;
  }

  /** Undefined: nobody's, or too old, or of the future. */
  check(proof: Uint8Array, wallClockMs: number): P | undefined {
    if (proof.length !== PROOF_BYTES) return undefined;
    const seconds = Math.floor(wallClockMs / 1000);
    this.#turnTo(Math.floor(seconds / DAY_SECONDS));
    const view = new DataView(proof.buffer, proof.byteOffset, PROOF_BYTES);
    const candidates = this.#byHint.get(view.getUint32(0));
    if (candidates === undefined) return undefined;
    const age = (seconds - view.getUint32(HINT_BYTES)) | 0;
    if (Math.abs(age) > PROOF_TOLERANCE_SECONDS) return undefined;
    return candidates.find(({ key }) => this.#isMac(key, proof))?.peer;
  }

  #isMac(key: Uint8Array, proof: Uint8Array): boolean {
    putMac(this.#expected, 0, key, proof);
    let difference = 0;
    for (let i = 0; i < MAC_BYTES; i++) difference |= this.#expected[i]! ^ proof[STATED_BYTES + i]!;
    return difference === 0;
  }

  /** Proofs near midnight are of the day before or after. */
  #turnTo(day: number): void {
    if (day === this.#day) return;
    this.#day = day;
    this.#byHint.clear();
    const hint = new Uint8Array(HINT_BYTES);
    for (const [peer, key] of this.#keys) {
      for (const one of [day - 1, day, day + 1]) {
        putHint(hint, key, one);
        const number = new DataView(hint.buffer).getUint32(0);
        const same = this.#byHint.get(number);
        if (same === undefined) this.#byHint.set(number, [{ key, peer }]);
        else same.push({ key, peer });
      }
    }
  }
}

function proofKey(own: X25519KeyPair, publicKey: Uint8Array): Uint8Array | undefined {
  const secret = sharedSecret(own, importPublicKey(publicKey));
  if (secret === undefined) return undefined;
  const key = new Uint8Array(KEY_BYTES);
  blake2sInto(key, 0, KEY_BYTES, secret, KEY_LABEL, KEY_LABEL.length);
  secret.fill(0);
  return key;
}

function putHint(out: Uint8Array, key: Uint8Array, day: number): void {
  const message = new Uint8Array(5);
  message[0] = HINT_LABEL;
  new DataView(message.buffer).setUint32(1, day);
  blake2sInto(out, 0, HINT_BYTES, key, message, message.length);
}

function putMac(out: Uint8Array, offset: number, key: Uint8Array, proof: Uint8Array): void {
  blake2sInto(out, offset, MAC_BYTES, key, proof, STATED_BYTES);
}

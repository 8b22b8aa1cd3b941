/**
 * Who is who at a relay. A host is named by eight bytes of a hash of its public key and the relay's: who watches two relays does not see that it is the same
 * host. What a host says is proven under the secret that its key and the relay's have in common (X25519), which is none of the session's keys.
 */

import { blake2s, blake2sInto } from '../../crypto/blake2s.js';
import { KEY_BYTES } from '../../crypto/keys.js';
import { importPublicKey, sharedSecret, type X25519KeyPair } from '../../crypto/x25519.js';
import { ID_BYTES } from './relay-messages.js';

const KEY_LABEL = Buffer.from('mptunnel 1 relay', 'ascii');
const ID_LABEL = Buffer.from('mptunnel 1 relay id', 'ascii');
/** `wanted` of a host that waits to be called. */
export const NOBODY = new Uint8Array(ID_BYTES);

export function relayIdOf(relayPublicKey: Uint8Array, publicKey: Uint8Array): Uint8Array {
  return blake2s(ID_BYTES, relayPublicKey, Buffer.concat([ID_LABEL, publicKey]));
}

/** Of the MACs between the two; undefined when the other's key is weak. */
export function relayKeyOf(own: X25519KeyPair, otherPublicKey: Uint8Array): Uint8Array | undefined {
  const secret = sharedSecret(own, importPublicKey(otherPublicKey));
  if (secret === undefined) return undefined;
  const key = new Uint8Array(KEY_BYTES);
  blake2sInto(key, 0, KEY_BYTES, secret, KEY_LABEL, KEY_LABEL.length);
  secret.fill(0);
  return key;
}

/** A key for maps: cold paths only. */
export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

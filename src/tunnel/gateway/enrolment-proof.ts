/**
 * The keys of an invite, and the proof with which its holder enrols a key of its own.
 *
 * From the invite's secret both sides derive a key pair and a preshared key. To the session the holder is a peer like any other, under that pair: the secret
 * itself is never sent, the handshake proves both sides to each other, and somebody without it is a stranger, for whom nothing is computed or kept. Under the
 * session's keys the holder then sends its real public key with a box (X25519, XSalsa20-Poly1305) from that key to the server's, over both its public keys:
 * only who has the private key can make it, and it is worth nothing for another invite, another key or another server.
 */

import { hkdfSync } from 'node:crypto';
import nacl from 'tweetnacl';
import { KEY_BYTES } from '../../crypto/keys.js';

const NO_SALT = new Uint8Array(0);
const PROOF_LABEL = Buffer.from('mptunnel 1 enrol', 'ascii');
export const PROOF_NONCE_BYTES = nacl.box.nonceLength;

export interface InviteKeys {
  readonly privateKey: Uint8Array;
  readonly presharedKey: Uint8Array;
}

export function deriveInviteKeys(secret: Uint8Array): InviteKeys {
  const privateKey = derive(secret, 'mptunnel 1 invite identity');
  // Clamped, as keys in text form are (RFC 7748, 5).
  privateKey[0] = privateKey[0]! & 248;
  privateKey[31] = (privateKey[31]! & 127) | 64;
  return { privateKey, presharedKey: derive(secret, 'mptunnel 1 invite preshared key') };
}

/** That of the peer which the holder becomes: of the invite, and of both public keys. */
export function derivePeerPresharedKey(invitePresharedKey: Uint8Array, peerPublicKey: Uint8Array, serverPublicKey: Uint8Array): Uint8Array {
  const keys = Buffer.concat([Buffer.from('mptunnel 1 peer preshared key', 'ascii'), peerPublicKey, serverPublicKey]);
  return new Uint8Array(hkdfSync('sha256', invitePresharedKey, NO_SALT, keys, KEY_BYTES));
}

export interface ProofContext {
  readonly invitePublicKey: Uint8Array;
  /** To be enrolled. */
  readonly publicKey: Uint8Array;
  readonly nonce: Uint8Array;
}

export function makeProof(context: ProofContext, privateKey: Uint8Array, serverPublicKey: Uint8Array): Uint8Array {
  return nacl.box(statement(context), context.nonce, serverPublicKey, privateKey);
}

export function verifyProof(context: ProofContext, box: Uint8Array, serverPrivateKey: Uint8Array): boolean {
  const opened = nacl.box.open(Uint8Array.from(box), Uint8Array.from(context.nonce), Uint8Array.from(context.publicKey), serverPrivateKey);
  const expected = statement(context);
  return opened !== null && opened.length === expected.length && nacl.verify(opened, expected);
}

function statement({ invitePublicKey, publicKey }: ProofContext): Uint8Array {
  return new Uint8Array(Buffer.concat([PROOF_LABEL, invitePublicKey, publicKey]));
}

function derive(secret: Uint8Array, info: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, NO_SALT, info, KEY_BYTES));
}

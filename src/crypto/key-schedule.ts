/**
 * From the handshake's split (one key per direction) to transport keys. The AEAD's name goes in, so the same split never keys two ciphers:
 * whoever tampers with the choice gets keys that do not match.
 */

import type { AeadName } from './aead.js';
import { blake2s } from './blake2s.js';
import { KEY_BYTES, requireKey } from './keys.js';

const LABEL = 'mptunnel 1 data ';

/** `initiatorKey` is used by what the initiator sends. 32 bytes each. */
export interface HandshakeSplit {
  initiatorKey: Uint8Array;
  responderKey: Uint8Array;
}

export interface TransportKeys {
  sendKey: Uint8Array;
  receiveKey: Uint8Array;
}

/** The keys of one side. The caller owns the result; the split is wiped. */
export function deriveTransportKeys(split: HandshakeSplit, aead: AeadName, initiator: boolean): TransportKeys {
  requireKey(split.initiatorKey, 'initiatorKey');
  requireKey(split.responderKey, 'responderKey');
  const label = Buffer.from(LABEL + aead, 'ascii');
  const fromInitiator = blake2s(KEY_BYTES, split.initiatorKey, label);
  const fromResponder = blake2s(KEY_BYTES, split.responderKey, label);
  split.initiatorKey.fill(0);
  split.responderKey.fill(0);
  return initiator ? { sendKey: fromInitiator, receiveKey: fromResponder } : { sendKey: fromResponder, receiveKey: fromInitiator };
}

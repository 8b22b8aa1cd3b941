/** The Noise prologue: the protocol's name and the initiation's clear header, so that both sides agree on them or the handshake fails. */

import { MESSAGE_HEADER_BYTES } from './messages.js';

const LABEL = Buffer.from('mptunnel 1 handshake', 'ascii');

export function makePrologue(initiation: Uint8Array): Uint8Array {
  return new Uint8Array(Buffer.concat([LABEL, initiation.subarray(0, MESSAGE_HEADER_BYTES)]));
}

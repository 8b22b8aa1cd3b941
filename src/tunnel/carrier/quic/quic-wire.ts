/**
 * What of a datagram is looked at before QUIC's own library sees it (RFC 9000, 17): to which connection it belongs; and the knock, our own, with which a client shows its proof.
 *
 *   long header:  |1|1|type|....| version (4) | length | destination connection id | ...
 *   short header: |0|1|.........| destination connection id (CONNECTION_ID_BYTES) | ...
 *   knock:        |0|0|0 0 0 0 0 0| "mptunnel" (8) | proof (20) |
 *
 * The fixed bit of a knock is zero, which no packet of QUIC has: both share a port. The library chooses the connection id of a client's first packet at random, so that the proof
 * cannot be that.
 */

import { PROOF_BYTES } from '../peer-proof.js';

/** Of those that we choose. */
export const CONNECTION_ID_BYTES = 16;
const CONNECTION_ID_MAX_BYTES = 20;
/** RFC 9000, 7.2: of a client's first packet. */
const FIRST_ID_MIN_BYTES = 8;
const LONG_HEADER = 0x80;
const FIXED_BIT = 0x40;
const TYPE_MASK = 0x30;
const TYPE_INITIAL = 0x00;
const KNOCK_LABEL = Buffer.from('\0mptunnel', 'latin1');
export const KNOCK_BYTES = KNOCK_LABEL.length + PROOF_BYTES;
/** RFC 9000, 14.1: a datagram with a client's Initial is no shorter. */
const INITIAL_MIN_BYTES = 1200;

export type QuicDatagram =
  | { readonly kind: 'knock'; readonly proof: Uint8Array }
  /** May begin a connection. */
  | { readonly kind: 'initial'; readonly connectionId: string }
  | { readonly kind: 'other'; readonly connectionId: string };

/** undefined: nothing that we know. Its views are borrowed. */
export function parseQuicDatagram(bytes: Uint8Array): QuicDatagram | undefined {
  const first = bytes[0];
  if (first === undefined) return undefined;
  if ((first & FIXED_BIT) === 0) return parseKnock(bytes);
  if ((first & LONG_HEADER) === 0) {
    if (bytes.length < 1 + CONNECTION_ID_BYTES) return undefined;
    return { kind: 'other', connectionId: connectionIdText(bytes.subarray(1, 1 + CONNECTION_ID_BYTES)) };
  }
  const length = bytes[5];
  if (length === undefined || length > CONNECTION_ID_MAX_BYTES || bytes.length < 6 + length) return undefined;
  const connectionId = connectionIdText(bytes.subarray(6, 6 + length));
  const isInitial =
    (first & TYPE_MASK) === TYPE_INITIAL && length >= FIRST_ID_MIN_BYTES && bytes.length >= INITIAL_MIN_BYTES && isVersion1(bytes);
  return { kind: isInitial ? 'initial' : 'other', connectionId };
}

export function emitKnock(proof: Uint8Array): Uint8Array {
  const knock = new Uint8Array(KNOCK_BYTES);
  knock.set(KNOCK_LABEL);
  knock.set(proof, KNOCK_LABEL.length);
  return knock;
}

export function connectionIdText(id: Uint8Array): string {
  return Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('latin1');
}

function isVersion1(bytes: Uint8Array): boolean {
  return bytes[1] === 0 && bytes[2] === 0 && bytes[3] === 0 && bytes[4] === 1;
}

function parseKnock(bytes: Uint8Array): QuicDatagram | undefined {
  if (bytes.length !== KNOCK_BYTES) return undefined;
  for (let i = 0; i < KNOCK_LABEL.length; i++) if (bytes[i] !== KNOCK_LABEL[i]) return undefined;
  return { kind: 'knock', proof: bytes.subarray(KNOCK_LABEL.length) };
}

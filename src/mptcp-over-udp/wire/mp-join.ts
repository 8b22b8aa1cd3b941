/**
 * MP_JOIN, RFC 8684, 3.2: three forms.
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +---------------+---------------+-------+-----+-+---------------+
 *   |     Kind      |  Length = 12  |Subtype|(rsv)|B|   Address ID  |   SYN
 *   +---------------+---------------+-------+-----+-+---------------+
 *   |                   Receiver's Token (32 bits)                  |
 *   +---------------------------------------------------------------+
 *   |                Sender's Random Number (32 bits)               |
 *   +---------------------------------------------------------------+
 *
 *   +---------------+---------------+-------+-----+-+---------------+
 *   |     Kind      |  Length = 16  |Subtype|(rsv)|B|   Address ID  |   SYN/ACK
 *   +---------------+---------------+-------+-----+-+---------------+
 *   |                Sender's Truncated HMAC (64 bits)              |
 *   +---------------------------------------------------------------+
 *   |                Sender's Random Number (32 bits)               |
 *   +---------------------------------------------------------------+
 *
 *   +---------------+---------------+-------+-----------------------+
 *   |     Kind      |  Length = 24  |Subtype|      (reserved)       |   ACK
 *   +---------------+---------------+-------+-----------------------+
 *   |                   Sender's HMAC (160 bits)                    |
 *   +---------------------------------------------------------------+
 */

import { copyBytes, writeU32 } from './big-endian.js';
import type { MpJoin, MptcpOptions } from './segment.js';
import { OPTION_MPTCP } from './tcp-options.js';

export const SUBTYPE_MP_JOIN = 0x1;
export const MP_JOIN_SYN_LENGTH = 12;
export const MP_JOIN_SYN_ACK_LENGTH = 16;
export const MP_JOIN_ACK_LENGTH = 24;

export function parseMpJoin(bytes: Uint8Array, view: DataView, at: number, length: number, out: MptcpOptions): boolean {
  const option = out.mpJoin;
  if (length === MP_JOIN_SYN_LENGTH) {
    option.token = view.getUint32(at + 4);
    option.nonce = view.getUint32(at + 8);
  } else if (length === MP_JOIN_SYN_ACK_LENGTH) {
    option.token = 0;
    copyBytes(bytes, at + 4, option.hmac, 0, 8);
    option.nonce = view.getUint32(at + 12);
  } else if (length === MP_JOIN_ACK_LENGTH) {
    option.token = 0;
    option.nonce = 0;
    copyBytes(bytes, at + 4, option.hmac, 0, 20);
  } else {
    return false;
  }
  option.length = length;
  option.backup = length !== MP_JOIN_ACK_LENGTH && (view.getUint8(at + 2) & 1) !== 0;
  option.addressId = length === MP_JOIN_ACK_LENGTH ? 0 : view.getUint8(at + 3);
  return true;
}

/** Emits the form that `option.length` names. Throws RangeError on any other length. */
export function emitMpJoin(out: Uint8Array, at: number, option: MpJoin): number {
  const length = option.length;
  out[at] = OPTION_MPTCP;
  out[at + 1] = length;
  out[at + 2] = (SUBTYPE_MP_JOIN << 4) | (option.backup && length !== MP_JOIN_ACK_LENGTH ? 1 : 0);
  out[at + 3] = length === MP_JOIN_ACK_LENGTH ? 0 : option.addressId;
  if (length === MP_JOIN_SYN_LENGTH) {
    writeU32(out, at + 4, option.token);
    writeU32(out, at + 8, option.nonce);
  } else if (length === MP_JOIN_SYN_ACK_LENGTH) {
    copyBytes(option.hmac, 0, out, at + 4, 8);
    writeU32(out, at + 12, option.nonce);
  } else if (length === MP_JOIN_ACK_LENGTH) {
    copyBytes(option.hmac, 0, out, at + 4, 20);
  } else {
    throw new RangeError(`MP_JOIN has no form of ${length} bytes`);
  }
  return length;
}

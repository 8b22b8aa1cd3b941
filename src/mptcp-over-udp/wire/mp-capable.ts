/**
 * MP_CAPABLE, RFC 8684, 3.1.
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +---------------+---------------+-------+-------+---------------+
 *   |     Kind      |    Length     |Subtype|Version|A|B|C|D|E|F|G|H|
 *   +---------------+---------------+-------+-------+---------------+
 *   |                   Option Sender's Key (64 bits)               |   length >= 12
 *   +---------------------------------------------------------------+
 *   |                  Option Receiver's Key (64 bits)              |   length >= 20
 *   +-------------------------------+-------------------------------+
 *   |  Data-Level Length (16 bits)  |  Checksum (16 bits, optional) |   length >= 22, = 24
 *   +-------------------------------+-------------------------------+
 */

import { copyBytes, writeU16 } from './big-endian.js';
import type { MpCapable, MptcpOptions } from './segment.js';
import { OPTION_MPTCP } from './tcp-options.js';

export const SUBTYPE_MP_CAPABLE = 0x0;
export const MP_CAPABLE_VERSION = 1;
export const MP_CAPABLE_SYN_LENGTH = 4;
export const MP_CAPABLE_SYN_ACK_LENGTH = 12;
export const MP_CAPABLE_ACK_LENGTH = 20;
export const MP_CAPABLE_DATA_LENGTH = 22;
export const MP_CAPABLE_DATA_CHECKSUM_LENGTH = 24;

export const MP_CAPABLE_CHECKSUM_REQUIRED = 0x80;
export const MP_CAPABLE_EXTENSIBILITY = 0x40;
export const MP_CAPABLE_NO_JOIN = 0x20;
export const MP_CAPABLE_HMAC_SHA256 = 0x01;

/** Any version is parsed: what a version that we don't speak leads to is the engine's matter (RFC 8684, 3.1). */
export function parseMpCapable(bytes: Uint8Array, view: DataView, at: number, length: number, out: MptcpOptions): boolean {
  const hasSenderKey = length >= MP_CAPABLE_SYN_ACK_LENGTH;
  if (
    length !== MP_CAPABLE_SYN_LENGTH &&
    length !== MP_CAPABLE_SYN_ACK_LENGTH &&
    length !== MP_CAPABLE_ACK_LENGTH &&
    length !== MP_CAPABLE_DATA_LENGTH &&
    length !== MP_CAPABLE_DATA_CHECKSUM_LENGTH
  ) {
    return false;
  }
  const option = out.mpCapable;
  option.version = view.getUint8(at + 2) & 0x0f;
  option.flags = view.getUint8(at + 3);
  option.length = length;
  if (hasSenderKey) copyBytes(bytes, at + 4, option.senderKey, 0, 8);
  if (length >= MP_CAPABLE_ACK_LENGTH) copyBytes(bytes, at + 12, option.receiverKey, 0, 8);
  option.dataLength = length >= MP_CAPABLE_DATA_LENGTH ? view.getUint16(at + 20) : 0;
  option.checksum = length === MP_CAPABLE_DATA_CHECKSUM_LENGTH ? view.getUint16(at + 22) : 0;
  return true;
}

/** Emits the form that `option.length` names; `option.version` goes out as it is. Throws RangeError on any other length. */
export function emitMpCapable(out: Uint8Array, at: number, option: MpCapable): number {
  const length = option.length;
  out[at] = OPTION_MPTCP;
  out[at + 1] = length;
  out[at + 2] = (SUBTYPE_MP_CAPABLE << 4) | option.version;
  out[at + 3] = option.flags;
  if (length === MP_CAPABLE_SYN_LENGTH) return length;
  copyBytes(option.senderKey, 0, out, at + 4, 8);
  if (length === MP_CAPABLE_SYN_ACK_LENGTH) return length;
  copyBytes(option.receiverKey, 0, out, at + 12, 8);
  if (length === MP_CAPABLE_ACK_LENGTH) return length;
  writeU16(out, at + 20, option.dataLength);
  if (length === MP_CAPABLE_DATA_LENGTH) return length;
  if (length !== MP_CAPABLE_DATA_CHECKSUM_LENGTH) throw new RangeError(`MP_CAPABLE has no form of ${length} bytes`);
  writeU16(out, at + 22, option.checksum);
  return length;
}

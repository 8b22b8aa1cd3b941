/**
 * MP_FAIL, RFC 8684, 3.7.
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +---------------+---------------+-------+-----------------------+
 *   |     Kind      |   Length = 12 |Subtype|      (reserved)       |
 *   +---------------+---------------+-------+-----------------------+
 *   |                 Data Sequence Number (8 octets)               |
 *   +---------------------------------------------------------------+
 */

import { writeU32 } from './big-endian.js';
import type { MptcpOptions } from './segment.js';
import { OPTION_MPTCP } from './tcp-options.js';

export const SUBTYPE_MP_FAIL = 0x6;
export const MP_FAIL_LENGTH = 12;

export function parseMpFail(_bytes: Uint8Array, view: DataView, at: number, length: number, out: MptcpOptions): boolean {
  if (length !== MP_FAIL_LENGTH) return false;
  out.mpFail.dsnHigh = view.getUint32(at + 4);
  out.mpFail.dsnLow = view.getUint32(at + 8);
  return true;
}

export function emitMpFail(out: Uint8Array, at: number, dsnHigh: number, dsnLow: number): number {
  out[at] = OPTION_MPTCP;
  out[at + 1] = MP_FAIL_LENGTH;
  out[at + 2] = SUBTYPE_MP_FAIL << 4;
  out[at + 3] = 0;
  writeU32(out, at + 4, dsnHigh);
  writeU32(out, at + 8, dsnLow);
  return MP_FAIL_LENGTH;
}

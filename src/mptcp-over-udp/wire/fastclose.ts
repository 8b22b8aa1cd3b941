/**
 * MP_FASTCLOSE, RFC 8684, 3.5.
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +---------------+---------------+-------+-----------------------+
 *   |     Kind      |   Length = 12 |Subtype|      (reserved)       |
 *   +---------------+---------------+-------+-----------------------+
 *   |                      Option Receiver's Key (64 bits)          |
 *   +---------------------------------------------------------------+
 */

import { copyBytes } from './big-endian.js';
import type { MptcpOptions } from './segment.js';
import { OPTION_MPTCP } from './tcp-options.js';

export const SUBTYPE_MP_FASTCLOSE = 0x7;
export const FASTCLOSE_LENGTH = 12;

export function parseFastclose(bytes: Uint8Array, _view: DataView, at: number, length: number, out: MptcpOptions): boolean {
  if (length !== FASTCLOSE_LENGTH) return false;
  copyBytes(bytes, at + 4, out.fastcloseKey, 0, 8);
  return true;
}

export function emitFastclose(out: Uint8Array, at: number, receiverKey: Uint8Array): number {
  out[at] = OPTION_MPTCP;
  out[at + 1] = FASTCLOSE_LENGTH;
  out[at + 2] = SUBTYPE_MP_FASTCLOSE << 4;
  out[at + 3] = 0;
  copyBytes(receiverKey, 0, out, at + 4, 8);
  return FASTCLOSE_LENGTH;
}

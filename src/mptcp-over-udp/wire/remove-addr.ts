/**
 * REMOVE_ADDR, RFC 8684, 3.4.2.
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +---------------+---------------+-------+-------+---------------+
 *   |     Kind      |  Length = 3+n |Subtype|(resvd)|   Address ID  | ...
 *   +---------------+---------------+-------+-------+---------------+
 */

import { copyBytes } from './big-endian.js';
import type { MptcpOptions } from './segment.js';
import { OPTION_MPTCP } from './tcp-options.js';

export const SUBTYPE_REMOVE_ADDR = 0x4;
/** What the option space leaves. */
export const MAX_REMOVE_ADDR_IDS = 37;

export function parseRemoveAddr(bytes: Uint8Array, _view: DataView, at: number, length: number, out: MptcpOptions): boolean {
  const count = length - 3;
  if (count < 1 || count > MAX_REMOVE_ADDR_IDS) return false;
  copyBytes(bytes, at + 3, out.removeAddrIds, 0, count);
  out.removeAddrCount = count;
  return true;
}

export function emitRemoveAddr(out: Uint8Array, at: number, addressIds: Uint8Array, count: number): number {
  if (count < 1 || count > MAX_REMOVE_ADDR_IDS)
    throw new RangeError(`REMOVE_ADDR holds 1 to ${MAX_REMOVE_ADDR_IDS} address ids, not ${count}`);
  out[at] = OPTION_MPTCP;
  out[at + 1] = 3 + count;
  out[at + 2] = SUBTYPE_REMOVE_ADDR << 4;
  copyBytes(addressIds, 0, out, at + 3, count);
  return 3 + count;
}

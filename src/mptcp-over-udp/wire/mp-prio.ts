/**
 * MP_PRIO, RFC 8684, 3.3.8. Version 1 has no address id: the option speaks of the subflow that carries it. Version 0 may have one (RFC 6824, 3.3.8),
 * as a fourth byte; it is read, never written.
 *
 *    0                   1                   2
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3
 *   +---------------+---------------+-------+-----+-+
 *   |     Kind      |   Length = 3  |Subtype|(rsv)|B|
 *   +---------------+---------------+-------+-----+-+
 */

import type { MptcpOptions } from './segment.js';
import { OPTION_MPTCP } from './tcp-options.js';

export const SUBTYPE_MP_PRIO = 0x5;
export const MP_PRIO_LENGTH = 3;
const MP_PRIO_ADDRESS_LENGTH = 4;

export function parseMpPrio(_bytes: Uint8Array, view: DataView, at: number, length: number, out: MptcpOptions): boolean {
  if (length !== MP_PRIO_LENGTH && length !== MP_PRIO_ADDRESS_LENGTH) return false;
  out.mpPrio.backup = (view.getUint8(at + 2) & 1) !== 0;
  out.mpPrio.addressId = length === MP_PRIO_ADDRESS_LENGTH ? view.getUint8(at + 3) : -1;
  return true;
}

export function emitMpPrio(out: Uint8Array, at: number, backup: boolean): number {
  out[at] = OPTION_MPTCP;
  out[at + 1] = MP_PRIO_LENGTH;
  out[at + 2] = (SUBTYPE_MP_PRIO << 4) | (backup ? 1 : 0);
  return MP_PRIO_LENGTH;
}

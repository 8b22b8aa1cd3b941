/**
 * MP_TCPRST, RFC 8684, 3.6.
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +---------------+---------------+-------+-+-+-+-+---------------+
 *   |     Kind      |   Length = 4  |Subtype|U|V|W|T|    Reason     |
 *   +---------------+---------------+-------+-+-+-+-+---------------+
 */

import type { MptcpOptions } from './segment.js';
import { OPTION_MPTCP } from './tcp-options.js';

export const SUBTYPE_MP_TCPRST = 0x8;
export const TCP_RST_LENGTH = 4;

export const TCP_RST_TRANSIENT = 0x1;
/** RFC 8684, 3.6: reasons. */
export const TCP_RST_UNSPECIFIED = 0;
export const TCP_RST_MPTCP_ERROR = 1;
export const TCP_RST_LACK_OF_RESOURCES = 2;
export const TCP_RST_ADMINISTRATIVELY_PROHIBITED = 3;
export const TCP_RST_TOO_MUCH_OUTSTANDING_DATA = 4;
export const TCP_RST_UNACCEPTABLE_PERFORMANCE = 5;
export const TCP_RST_MIDDLEBOX_INTERFERENCE = 6;

export function parseTcpRst(_bytes: Uint8Array, view: DataView, at: number, length: number, out: MptcpOptions): boolean {
  if (length !== TCP_RST_LENGTH) return false;
  out.tcpRst.flags = view.getUint8(at + 2) & 0x0f;
  out.tcpRst.reason = view.getUint8(at + 3);
  return true;
}

/** Of `flags` only T is sent; U, V and W are reserved by the RFC. */
export function emitTcpRst(out: Uint8Array, at: number, flags: number, reason: number): number {
  out[at] = OPTION_MPTCP;
  out[at + 1] = TCP_RST_LENGTH;
  out[at + 2] = (SUBTYPE_MP_TCPRST << 4) | (flags & TCP_RST_TRANSIENT);
  out[at + 3] = reason;
  return TCP_RST_LENGTH;
}

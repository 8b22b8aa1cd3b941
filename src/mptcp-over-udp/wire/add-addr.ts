/**
 * ADD_ADDR, RFC 8684, 3.4.1.
 *
 *    0                   1                   2                   3
 *    0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *   +---------------+---------------+-------+-----+-+---------------+
 *   |     Kind      |     Length    |Subtype|(rsv)|E|  Address ID   |
 *   +---------------+---------------+-------+-----+-+---------------+
 *   |           Address (IPv4: 4 octets / IPv6: 16 octets)          |
 *   +-------------------------------+-------------------------------+
 *   |   Port (2 octets, optional)   |                               |
 *   +-------------------------------+                               |
 *   |                Truncated HMAC (8 octets, if E=0)              |
 *   +---------------------------------------------------------------+
 */

import { copyBytes, writeU16 } from './big-endian.js';
import type { AddAddr, MptcpOptions } from './segment.js';
import { OPTION_MPTCP } from './tcp-options.js';

export const SUBTYPE_ADD_ADDR = 0x3;
const HMAC_BYTES = 8;

/** 8, 10, 20, 22 as an echo; 16, 18, 28, 30 otherwise. */
/** RFC 6824, 3.4.1: the low half of the third byte is the IP version, where version 1 has the echo flag. */
function parseVersion0(bytes: Uint8Array, view: DataView, at: number, length: number, out: MptcpOptions): boolean {
  const ipVersion = (view.getUint8(at + 2) & 0x0f) as 4 | 6;
  const addressBytes = ipVersion === 4 ? 4 : 16;
  if (length !== 4 + addressBytes && length !== 6 + addressBytes) return false;
  const option = out.addAddr;
  option.isVersion0 = true;
  option.echo = false;
  option.ipVersion = ipVersion;
  option.addressId = view.getUint8(at + 3);
  copyBytes(bytes, at + 4, option.address, 0, addressBytes);
  option.port = length > 4 + addressBytes ? view.getUint16(at + 4 + addressBytes) : 0;
  return true;
}

export function addAddrLength(ipVersion: 4 | 6, hasPort: boolean, echo: boolean): number {
  return 4 + (ipVersion === 4 ? 4 : 16) + (hasPort ? 2 : 0) + (echo ? 0 : HMAC_BYTES);
}

export function parseAddAddr(bytes: Uint8Array, view: DataView, at: number, length: number, out: MptcpOptions): boolean {
  if (length < 8) return false;
  const nibble = view.getUint8(at + 2) & 0x0f;
  if (nibble === 4 || nibble === 6) return parseVersion0(bytes, view, at, length, out);
  const echo = (nibble & 1) !== 0;
  const bodyBytes = length - 4 - (echo ? 0 : HMAC_BYTES);
  if (bodyBytes !== 4 && bodyBytes !== 6 && bodyBytes !== 16 && bodyBytes !== 18) return false;
  const addressBytes = bodyBytes <= 6 ? 4 : 16;
  const option = out.addAddr;
  option.isVersion0 = false;
  option.echo = echo;
  option.ipVersion = addressBytes === 4 ? 4 : 6;
  option.addressId = view.getUint8(at + 3);
  copyBytes(bytes, at + 4, option.address, 0, addressBytes);
  option.port = bodyBytes > addressBytes ? view.getUint16(at + 4 + addressBytes) : 0;
  if (!echo) copyBytes(bytes, at + length - HMAC_BYTES, option.hmac, 0, HMAC_BYTES);
  return true;
}

/** With a port where `option.port` is not 0, with the HMAC where it is no echo. */
export function emitAddAddr(out: Uint8Array, at: number, option: AddAddr): number {
  const length = addAddrLength(option.ipVersion, option.port !== 0, option.echo || option.isVersion0);
  const addressBytes = option.ipVersion === 4 ? 4 : 16;
  out[at] = OPTION_MPTCP;
  out[at + 1] = length;
  out[at + 2] = (SUBTYPE_ADD_ADDR << 4) | (option.isVersion0 ? option.ipVersion : option.echo ? 1 : 0);
  out[at + 3] = option.addressId;
  copyBytes(option.address, 0, out, at + 4, addressBytes);
  if (option.port !== 0) writeU16(out, at + 4 + addressBytes, option.port);
  if (!option.echo && !option.isVersion0) copyBytes(option.hmac, 0, out, at + length - HMAC_BYTES, HMAC_BYTES);
  return length;
}

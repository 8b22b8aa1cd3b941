/**
 * SOCKS version 5 (RFC 1928): what a client sends, read as it comes, and what it is answered. Without authentication. Pure.
 *
 *   greeting: | 5 | n | methods (n) |               answer: | 5 | method |
 *   request:  | 5 | command | 0 | type | address | port (2) |    reply: | 5 | code | 0 | type | address | port (2) |
 *   datagram: | 0 0 | fragment | type | address | port (2) | data |
 *   address:  type 1: 4 bytes; 3: length (1), name; 4: 16 bytes
 */

import { formatIp, parseIp } from '../tun/ip-prefix.js';

export const SOCKS_VERSION = 5;
export const METHOD_NONE = 0;
export const METHOD_REFUSED = 0xff;
export const COMMAND_CONNECT = 1;
export const COMMAND_UDP_ASSOCIATE = 3;

/** RFC 1928, 6. */
export const REPLY = {
  succeeded: 0,
  failure: 1,
  notAllowed: 2,
  netUnreachable: 3,
  hostUnreachable: 4,
  refused: 5,
  expired: 6,
  badCommand: 7,
  badAddressType: 8,
} as const;

const TYPE_IPV4 = 1;
const TYPE_NAME = 3;
const TYPE_IPV6 = 4;

/** An IP address or a name, and a port. */
export interface SocksAddress {
  readonly host: string;
  readonly port: number;
}

/** What is there so far is whole, `bytes` long; or undefined: more is to come; or it is no SOCKS 5, as text. */
export type Parsed<T> = (T & { readonly bytes: number }) | undefined | string;

export function parseGreeting(bytes: Uint8Array): Parsed<{ readonly offersNone: boolean }> {
  if (bytes.length > 0 && bytes[0] !== SOCKS_VERSION) return bytes[0] === 4 ? 'SOCKS version 4' : 'no SOCKS version 5';
  if (bytes.length < 2 || bytes.length < 2 + bytes[1]!) return undefined;
  const methods = bytes.subarray(2, 2 + bytes[1]!);
  return { bytes: 2 + methods.length, offersNone: methods.includes(METHOD_NONE) };
}

export function parseRequest(bytes: Uint8Array): Parsed<{ readonly command: number; readonly address: SocksAddress | undefined }> {
  if (bytes.length > 0 && bytes[0] !== SOCKS_VERSION) return 'no SOCKS version 5';
  if (bytes.length < 4) return undefined;
  const found = parseAddress(bytes, 3);
  if (found === undefined) return undefined;
  return {
    bytes: found === 'unknown type' ? bytes.length : found.end,
    command: bytes[1]!,
    address: found === 'unknown type' ? undefined : found,
  };
}

/** `address`: where the datagrams go, or what we are bound to. */
export function emitReply(code: number, address: SocksAddress = { host: '0.0.0.0', port: 0 }): Uint8Array {
  return Uint8Array.from([SOCKS_VERSION, code, 0, ...addressBytes(address)]);
}

/** undefined: malformed, or a fragment, which nobody needs to take (RFC 1928, 7). */
export function parseSocksDatagram(bytes: Uint8Array): { readonly to: SocksAddress; readonly payload: Uint8Array } | undefined {
  if (bytes.length < 4 || bytes[2] !== 0) return undefined;
  const found = parseAddress(bytes, 3);
  if (found === undefined || found === 'unknown type') return undefined;
  return { to: found, payload: bytes.subarray(found.end) };
}

export function emitSocksDatagram(from: SocksAddress, payload: Uint8Array): Uint8Array {
  const header = addressBytes(from);
  const out = new Uint8Array(3 + header.length + payload.length);
  out.set(header, 3);
  out.set(payload, 3 + header.length);
  return out;
}

function parseAddress(bytes: Uint8Array, at: number): (SocksAddress & { readonly end: number }) | 'unknown type' | undefined {
  const type = bytes[at];
  if (type === undefined) return undefined;
  if (type === TYPE_NAME) {
    const length = bytes[at + 1];
    const end = at + 2 + (length ?? 0) + 2;
    if (length === undefined || bytes.length < end) return undefined;
    return { host: Buffer.from(bytes.subarray(at + 2, end - 2)).toString('latin1'), port: portAt(bytes, end - 2), end };
  }
  const length = type === TYPE_IPV4 ? 4 : type === TYPE_IPV6 ? 16 : 0;
  if (length === 0) return 'unknown type';
  const end = at + 1 + length + 2;
  if (bytes.length < end) return undefined;
  return { host: formatIp(bytes.slice(at + 1, at + 1 + length)), port: portAt(bytes, end - 2), end };
}

function portAt(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

function addressBytes({ host, port }: SocksAddress): number[] {
  const ip = parseIp(host);
  const address =
    ip === undefined ? [TYPE_NAME, host.length, ...Buffer.from(host, 'latin1')] : [ip.length === 4 ? TYPE_IPV4 : TYPE_IPV6, ...ip];
  return [...address, port >>> 8, port & 0xff];
}

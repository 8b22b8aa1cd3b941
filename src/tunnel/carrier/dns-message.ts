/**
 * Just enough of the DNS (RFC 1035) to ask a recursive server for the addresses of a name. Pure.
 *
 *      0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15
 *   +-----------------------------------------------+
 *   |                      ID                       |
 *   |QR|   Opcode  |AA|TC|RD|RA|   Z    |   RCODE   |
 *   |  QDCOUNT  |  ANCOUNT  |  NSCOUNT  |  ARCOUNT  |   16 bits each
 *   +-----------------------------------------------+
 */

import { formatIp } from '../../tun/ip-prefix.js';
import {
  addressBytesOf,
  CLASS_IN,
  DNS_HEADER_BYTES,
  FLAG_RESPONSE,
  NAME_MAX_BYTES,
  POINTER_BITS,
  RCODE_MASK,
  type TYPE_A,
  type TYPE_AAAA,
  u16,
  visitRecords,
} from '../dns-records.js';

export type AddressType = typeof TYPE_A | typeof TYPE_AAAA;

const FLAG_RECURSION_DESIRED = 0x0100;
const RCODE_NAME_ERROR = 3;
const MAX_LABEL_BYTES = 63;

export type DnsAnswer =
  | { readonly kind: 'addresses'; readonly addresses: readonly string[] }
  /** There is no such name. */
  | { readonly kind: 'no-name' }
  /** The server cannot or will not say. */
  | { readonly kind: 'failed'; readonly rcode: number };

/** undefined: `name` is no domain name (RFC 1035, 2.3.4). */
export function emitDnsQuery(id: number, name: string, type: AddressType): Uint8Array | undefined {
  const encoded = encodeName(name);
  if (encoded === undefined) return undefined;
  const message = new Uint8Array(DNS_HEADER_BYTES + encoded.length + 4);
  const view = new DataView(message.buffer);
  view.setUint16(0, id);
  view.setUint16(2, FLAG_RECURSION_DESIRED);
  view.setUint16(4, 1);
  message.set(encoded, DNS_HEADER_BYTES);
  view.setUint16(DNS_HEADER_BYTES + encoded.length, type);
  view.setUint16(DNS_HEADER_BYTES + encoded.length + 2, CLASS_IN);
  return message;
}

/** The answer to `query`, or a fault. Aliases are followed by the server: its answer has the addresses that they lead to. */
export function parseDnsAnswer(query: Uint8Array, message: Uint8Array): DnsAnswer | string {
  if (message.length < query.length) return 'too short';
  const flags = u16(message, 2);
  if (message[0] !== query[0] || message[1] !== query[1] || (flags & FLAG_RESPONSE) === 0) return 'no answer to the query';
  if (u16(message, 4) !== 1 || !isSameQuestion(query, message)) return 'of another question';
  const rcode = flags & RCODE_MASK;
  if (rcode === RCODE_NAME_ERROR) return { kind: 'no-name' };
  if (rcode !== 0) return { kind: 'failed', rcode };
  const asked = u16(query, query.length - 4);
  const addresses: string[] = [];
  // However it ends: what was cut off (TC) may be missing, but the addresses that came are good ones.
  visitRecords(
    message,
    query.length,
    message.length,
    u16(message, 6),
    (at) => endOfName(message, at),
    ({ type, recordClass, dataAt, dataBytes }) => {
      if (recordClass === CLASS_IN && type === asked && dataBytes === addressBytesOf(type))
        addresses.push(formatIp(message.slice(dataAt, dataAt + dataBytes)));
      return true;
    },
  );
  return { kind: 'addresses', addresses };
}

function encodeName(name: string): Uint8Array | undefined {
  const labels = name.replace(/\.$/, '').split('.');
  if (labels.some((label) => !/^[\x21-\x7e]+$/.test(label) || label.length > MAX_LABEL_BYTES)) return undefined;
  const encoded = Buffer.from(`${labels.map((label) => String.fromCharCode(label.length) + label).join('')}\0`, 'latin1');
  return encoded.length > NAME_MAX_BYTES ? undefined : encoded;
}

/** Servers may answer in other case than they were asked. */
function isSameQuestion(query: Uint8Array, message: Uint8Array): boolean {
  const end = query.length - 4;
  for (let i = DNS_HEADER_BYTES; i < query.length; i++) {
    const [asked, answered] = [query[i]!, message[i]!];
    if (i < end ? lower(asked) !== lower(answered) : asked !== answered) return false;
  }
  return true;
}

function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}

/** Where the name ends; -1: beyond the message. A pointer ends it. */
function endOfName(message: Uint8Array, start: number): number {
  let at = start;
  for (;;) {
    const length = message[at];
    if (length === undefined) return -1;
    if (length === 0) return at + 1;
    if ((length & POINTER_BITS) === POINTER_BITS) return at + 2 <= message.length ? at + 2 : -1;
    at += 1 + length;
  }
}

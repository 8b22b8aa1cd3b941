/**
 * The native address record (see ADDRESS_BYTES in native.ts) in and out of text, and compared. Pure.
 *
 *      0        1        2    3    4 .. 19          20 .. 35        36 .. 39          40 .. 47
 *   +--------+--------+---------+-----------------+---------------+-----------------+----------+
 *   | family | 0      | port BE | remote address  | local address | interface index | zero     |
 *   +--------+--------+---------+-----------------+---------------+-----------------+----------+
 */

import { isIPv4, isIPv6 } from 'node:net';
import { ADDRESS_BYTES } from '../../tun/native.js';

const REMOTE = 4;
const LOCAL = 20;
/** Family, port, both addresses: what makes two records the same address pair. */
const IDENTITY_BYTES = 36;

/** `address` is an IP literal without brackets or zone. The local address is left to the kernel. */
export function emitAddressRecord(address: string, port: number): Uint8Array {
  const record = new Uint8Array(ADDRESS_BYTES);
  record[2] = port >>> 8;
  record[3] = port & 0xff;
  if (isIPv4(address)) {
    record[0] = 4;
    record.set(parseIpv4(address), REMOTE);
  } else if (isIPv6(address)) {
    record[0] = 6;
    record.set(parseIpv6(address), REMOTE);
  } else {
    throw new RangeError(`address: not an IP address: ${address}`);
  }
  return record;
}

/** "a.b.c.d:port" or "[v6]:port". */
export function formatRemote(record: Uint8Array): string {
  const port = (record[2]! << 8) | record[3]!;
  return formatEndpoint(formatAddress(record[0]!, record, REMOTE), port);
}

/** The local address without a port; "" when the record leaves it to the kernel. */
export function formatLocalAddress(record: Uint8Array): string {
  const bytes = record[0] === 4 ? 4 : 16;
  let sum = 0;
  for (let i = 0; i < bytes; i++) sum |= record[LOCAL + i]!;
  return sum === 0 ? '' : formatAddress(record[0]!, record, LOCAL);
}

export function formatEndpoint(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** `other` is the record number `index` of a table of records. */
export function sameAddress(record: Uint8Array, other: Uint8Array, index: number): boolean {
  const base = index * ADDRESS_BYTES;
  for (let i = 0; i < IDENTITY_BYTES; i++) if (record[i] !== other[base + i]) return false;
  return true;
}

/** The same remote address and port; the local address may differ. */
export function sameRemote(record: Uint8Array, other: Uint8Array, index: number): boolean {
  const base = index * ADDRESS_BYTES;
  for (let i = 0; i < LOCAL; i++) if (record[i] !== other[base + i]) return false;
  return true;
}

/** A key for maps: cold paths only. */
export function addressKey(table: Uint8Array, index: number): string {
  const base = index * ADDRESS_BYTES;
  return String.fromCharCode(...table.subarray(base, base + IDENTITY_BYTES));
}

function formatAddress(family: number, bytes: Uint8Array, offset: number): string {
  if (family === 4) return `${bytes[offset]}.${bytes[offset + 1]}.${bytes[offset + 2]}.${bytes[offset + 3]}`;
  // A dual-stack socket reports IPv4 as ::ffff:a.b.c.d; people know it as a.b.c.d.
  if (isV4Mapped(bytes, offset)) return formatAddress(4, bytes, offset + 12);
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[offset + i]! << 8) | bytes[offset + i + 1]!).toString(16));
  return compressZeros(groups);
}

function isV4Mapped(bytes: Uint8Array, offset: number): boolean {
  for (let i = 0; i < 10; i++) if (bytes[offset + i] !== 0) return false;
  return bytes[offset + 10] === 0xff && bytes[offset + 11] === 0xff;
}

/** RFC 5952, 4.2: the longest run of two or more zero groups, the first of equals, becomes "::". */
function compressZeros(groups: readonly string[]): string {
  let bestStart = -1;
  let bestLength = 1;
  for (let i = 0; i < groups.length; i++) {
    let length = 0;
    while (groups[i + length] === '0') length++;
    if (length > bestLength) {
      bestStart = i;
      bestLength = length;
    }
  }
  if (bestStart < 0) return groups.join(':');
  return `${groups.slice(0, bestStart).join(':')}::${groups.slice(bestStart + bestLength).join(':')}`;
}

function parseIpv4(text: string): number[] {
  return text.split('.').map(Number);
}

function parseIpv6(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  const [head = '', tail] = text.split('::');
  const headBytes = groupBytes(head);
  const tailBytes = groupBytes(tail ?? '');
  bytes.set(headBytes, 0);
  bytes.set(tailBytes, 16 - tailBytes.length);
  return bytes;
}

function groupBytes(text: string): number[] {
  const bytes: number[] = [];
  if (text === '') return bytes;
  for (const group of text.split(':')) {
    if (group.includes('.')) bytes.push(...parseIpv4(group));
    else bytes.push(Number.parseInt(group, 16) >>> 8, Number.parseInt(group, 16) & 0xff);
  }
  return bytes;
}

/** Addresses and prefixes in text form ("10.77.0.2", "fd77::/64") and the little arithmetic that set-up needs. Cold path only. */

import { isIPv4, isIPv6, SocketAddress } from 'node:net';

export type IpFamily = 4 | 6;

export interface IpPrefix {
  readonly family: IpFamily;
  /** 4 or 16 bytes, host bits as written. */
  readonly bytes: Uint8Array;
  readonly length: number;
}

/** 4 or 16 bytes, or undefined when `text` is no address (an IPv6 zone such as "%eth0" is none). */
export function parseIp(text: string): Uint8Array | undefined {
  if (isIPv4(text)) return Uint8Array.from(text.split('.'), Number);
  if (!isIPv6(text) || text.includes('%')) return undefined;
  return parseIpv6(text);
}

function parseIpv6(text: string): Uint8Array {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  if (dotted !== null) {
    const [a, b, c, d] = dotted.slice(2).map(Number) as [number, number, number, number];
    return parseIpv6(`${dotted[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`);
  }
  const [head = '', tail] = text.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const groups = [...before, ...Array<string>(8 - before.length - after.length).fill('0'), ...after];
  const bytes = new Uint8Array(16);
  groups.forEach((group, index) => {
    const value = Number.parseInt(group, 16);
    bytes[2 * index] = value >> 8;
    bytes[2 * index + 1] = value & 0xff;
  });
  return bytes;
}

/** "10.0.0.0/8", or an address alone, which stands for itself (/32, /128). undefined when it is neither. */
export function parsePrefix(text: string): IpPrefix | undefined {
  const match = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text);
  const bytes = match === null ? undefined : parseIp(match[1] ?? '');
  if (match === null || bytes === undefined) return undefined;
  const maximum = bytes.length * 8;
  const length = match[2] === undefined ? maximum : Number(match[2]);
  return length > maximum ? undefined : { family: bytes.length === 4 ? 4 : 6, bytes, length };
}

/** The same prefix with its host bits cleared. */
export function networkOf(prefix: IpPrefix): IpPrefix {
  const bytes = prefix.bytes.map((byte, index) => byte & (0xff << Math.max(0, 8 - Math.max(0, prefix.length - 8 * index))));
  return { family: prefix.family, bytes, length: prefix.length };
}

/** True when every address of `inner` lies in `outer`. */
export function prefixContains(outer: IpPrefix, inner: IpPrefix): boolean {
  if (outer.family !== inner.family || inner.length < outer.length) return false;
  const cut = networkOf({ family: inner.family, bytes: inner.bytes, length: outer.length });
  const network = networkOf(outer);
  return cut.bytes.every((byte, index) => byte === network.bytes[index]);
}

/** Canonical text (RFC 5952 for IPv6), always with its length. */
export function formatPrefix(prefix: IpPrefix): string {
  return `${formatIp(prefix.bytes)}/${prefix.length}`;
}

export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const groups: string[] = [];
  for (let index = 0; index < 16; index += 2) groups.push((((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0)).toString(16));
  return new SocketAddress({ family: 'ipv6', address: groups.join(':') }).address;
}

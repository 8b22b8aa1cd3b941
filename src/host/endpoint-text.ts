/** Addresses as people write them. */

import { formatIp, parseIp } from '../tun/ip-prefix.js';

export function formatEndpoint(address: Uint8Array): string {
  return formatIp(address);
}

/** 4 or 16 bytes. Throws TypeError naming the argument. */
export function requireAddress(text: string, argument: string): Uint8Array {
  const bytes = parseIp(text);
  if (bytes === undefined) throw new TypeError(`${argument} must be an IP address, not "${text}"`);
  return bytes;
}

export function requirePort(port: number, argument: string): number {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new RangeError(`${argument} must be a port, not ${port}`);
  return port;
}

export function equalAddress(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

import { constants } from 'node:os';

const NAMES = new Map<number, string>(Object.entries(constants.errno).map(([name, number]) => [number, name]));

/** "ENETUNREACH" for 101 or -101; "" for 0. */
export function errnoName(errno: number): string {
  if (errno === 0) return '';
  return NAMES.get(Math.abs(errno)) ?? `errno ${Math.abs(errno)}`;
}

/** Sends that fail so say that the link itself is not there. */
export const LINK_LOST_CODES: ReadonlySet<string> = new Set([
  'ENETDOWN',
  'ENETUNREACH',
  'ENODEV',
  'EHOSTUNREACH',
  'EADDRNOTAVAIL',
  'ENXIO',
]);

/** "90s", "24h", "7d" on the command line. */

import { InvalidArgumentError } from 'commander';

const UNITS_MS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Milliseconds. */
export function parseDuration(text: string): number {
  const match = /^(\d{1,6})([smhd])$/.exec(text);
  const ms = match === null ? 0 : Number(match[1]) * UNITS_MS[match[2] ?? '']!;
  if (ms <= 0 || ms > 30 * 86_400_000) throw new InvalidArgumentError('Give a time of up to 30 days, as 90s, 30m, 24h or 7d.');
  return ms;
}

/** For people, in the largest unit of which there are two: "23 h", "90 min". */
export function formatInOneUnit(ms: number): string {
  const units: readonly [string, number][] = [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['min', 60_000],
  ];
  for (const [unit, size] of units) if (ms >= 2 * size) return `${Math.floor(ms / size)} ${unit}`;
  return `${Math.max(0, Math.round(ms / 1000))} s`;
}

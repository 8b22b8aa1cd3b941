/** Numbers on the command line. */

import { InvalidArgumentError } from 'commander';

const SECONDS_MAX = 1_000_000;

export function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (text.trim() === '' || !Number.isFinite(seconds) || seconds < 0 || seconds > SECONDS_MAX)
    throw new InvalidArgumentError(`Give a number of seconds from 0 to ${SECONDS_MAX}.`);
  return seconds;
}

export function parseCount(text: string): number {
  const count = Number(text);
  if (!/^\d+$/.test(text) || count < 1 || !Number.isSafeInteger(count)) throw new InvalidArgumentError('Give a whole number from 1.');
  return count;
}

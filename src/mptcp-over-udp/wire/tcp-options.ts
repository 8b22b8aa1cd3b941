/**
 * TCP options other than MPTCP: MSS (RFC 9293, 3.7.1), window scale and timestamps (RFC 7323), SACK (RFC 2018). Each emit writes
 * every byte of its option at `at` and returns how many.
 *
 *   +--------+--------+--------+--------+     +--------+--------+--------+     +--------+--------+
 *   | Kind=2 |  Len=4 |       MSS       |     | Kind=3 |  Len=3 | shift  |     | Kind=4 |  Len=2 |
 *   +--------+--------+--------+--------+     +--------+--------+--------+     +--------+--------+
 *   +--------+--------+---------------+---------------+     +--------+--------+-------------+--------------+--
 *   | Kind=8 | Len=10 |   TS Value    | TS Echo Reply |     | Kind=5 | Len=8n+2 | Left edge | Right edge   | ...
 *   +--------+--------+---------------+---------------+     +--------+--------+-------------+--------------+--
 */

import { writeU16, writeU32 } from './big-endian.js';

export const OPTION_END = 0;
export const OPTION_NOP = 1;
export const OPTION_MSS = 2;
export const OPTION_WINDOW_SCALE = 3;
export const OPTION_SACK_PERMITTED = 4;
export const OPTION_SACK = 5;
export const OPTION_TIMESTAMPS = 8;
export const OPTION_MPTCP = 30;

export const MSS_LENGTH = 4;
export const WINDOW_SCALE_LENGTH = 3;
export const SACK_PERMITTED_LENGTH = 2;
export const TIMESTAMPS_LENGTH = 10;
/** RFC 7323, 2.3: larger shifts are taken as 14. */
export const MAX_WINDOW_SCALE = 14;
/** RFC 9293, 3.1: the data offset leaves 40 bytes. */
export const MAX_OPTIONS_BYTES = 40;

export function emitMss(out: Uint8Array, at: number, mssBytes: number): number {
  out[at] = OPTION_MSS;
  out[at + 1] = MSS_LENGTH;
  writeU16(out, at + 2, mssBytes);
  return MSS_LENGTH;
}

export function emitWindowScale(out: Uint8Array, at: number, shift: number): number {
  out[at] = OPTION_WINDOW_SCALE;
  out[at + 1] = WINDOW_SCALE_LENGTH;
  out[at + 2] = shift;
  return WINDOW_SCALE_LENGTH;
}

export function emitSackPermitted(out: Uint8Array, at: number): number {
  out[at] = OPTION_SACK_PERMITTED;
  out[at + 1] = SACK_PERMITTED_LENGTH;
  return SACK_PERMITTED_LENGTH;
}

export function emitTimestamps(out: Uint8Array, at: number, value: number, echo: number): number {
  out[at] = OPTION_TIMESTAMPS;
  out[at + 1] = TIMESTAMPS_LENGTH;
  writeU32(out, at + 2, value);
  writeU32(out, at + 6, echo);
  return TIMESTAMPS_LENGTH;
}

/** `edges`: left and right edge of each of `count` blocks, 1 to 4. */
export function emitSack(out: Uint8Array, at: number, edges: Uint32Array, count: number): number {
  const length = 2 + 8 * count;
  out[at] = OPTION_SACK;
  out[at + 1] = length;
  for (let i = 0; i < 2 * count; i++) writeU32(out, at + 2 + 4 * i, edges[i]!);
  return length;
}

/** Fills from `end` with NOP until the options, which began at `start`, are a multiple of 4 bytes long; returns the new end. */
export function padOptions(out: Uint8Array, start: number, end: number): number {
  let at = end;
  while (((at - start) & 3) !== 0) out[at++] = OPTION_NOP;
  return at;
}

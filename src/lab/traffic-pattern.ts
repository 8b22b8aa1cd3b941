/**
 * The bytes that lab traffic carries: position i of a stream holds byte i mod PERIOD of a fixed pseudo-random sequence, so that a
 * receiver can tell from any chunk whether bytes were lost, doubled, swapped or changed. The period is prime, no multiple of a segment.
 */

import { seededRandom } from './link-queue.js';

const PERIOD = 1_048_573;
/** Largest piece that can be had in one view. */
export const MAX_PATTERN_CHUNK_BYTES = 262_144;

const pattern = makePattern();

function makePattern(): Buffer {
  const random = seededRandom(20_260_101);
  const bytes = Buffer.alloc(PERIOD + MAX_PATTERN_CHUNK_BYTES);
  for (let i = 0; i < PERIOD; i++) bytes[i] = random() * 256;
  bytes.copy(bytes, PERIOD, 0, MAX_PATTERN_CHUNK_BYTES);
  return bytes;
}

/** The bytes of the stream from `position` on: a view, not to be written to. */
export function patternAt(position: number, lengthBytes: number): Buffer {
  const from = position % PERIOD;
  return pattern.subarray(from, from + Math.min(lengthBytes, MAX_PATTERN_CHUNK_BYTES));
}

/** Position of the first wrong byte of `chunk`, which was received at `position`; -1 when all are right. */
export function findFault(chunk: Buffer, position: number): number {
  for (let done = 0; done < chunk.length; ) {
    const expected = patternAt(position + done, chunk.length - done);
    const part = chunk.subarray(done, done + expected.length);
    if (!part.equals(expected)) return position + done + part.findIndex((byte, i) => byte !== expected[i]);
    done += part.length;
  }
  return -1;
}

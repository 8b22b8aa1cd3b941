/** The first window of a flow (RFC 6928), and of one on a path that is known to be long. */

const INITIAL_WINDOW_SEGMENTS = 10;
/**
 * DEVIATION RFC 6928: where doubling takes long, on a path that is known to be long, the first window is this rate's worth (7 Mbit/s) of what its round
 * trip has beyond the threshold, paced over the round trip.
 */
const LONG_BYTES_PER_MS = 875;
const LONG_RTT_MS = 100;

/** In bytes; `rttMs`: 0 when it is not known. */
export function initialWindowBytes(mssBytes: number, rttMs: number): number {
  return Math.max(INITIAL_WINDOW_SEGMENTS * mssBytes, (rttMs - LONG_RTT_MS) * LONG_BYTES_PER_MS);
}

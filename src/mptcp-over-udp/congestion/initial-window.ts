/** The first window of a flow (RFC 6928), and of one on a path that is known to be long. */

const INITIAL_WINDOW_SEGMENTS = 10;
/** DEVIATION RFC 6928: on a path that is known to be long the first window is this rate's worth (6 Mbit/s), paced over its round trip. */
const INITIAL_BYTES_PER_MS = 750;

/** In bytes; `rttMs`: 0 when it is not known. */
export function initialWindowBytes(mssBytes: number, rttMs: number): number {
  return Math.max(INITIAL_WINDOW_SEGMENTS * mssBytes, rttMs * INITIAL_BYTES_PER_MS);
}

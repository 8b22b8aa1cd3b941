/**
 * The TCP Fast Open option (RFC 7413, 4.1.1): a cookie of 4 to 16 bytes, an even number; without one, a request for it.
 *
 *                                   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *                                   |    Kind=34    |    Length     |
 *   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *   ~                            Cookie                             ~
 *   +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */

import type { TcpSegment } from './segment.js';

export const OPTION_FAST_OPEN = 34;
export const FAST_OPEN_REQUEST_LENGTH = 2;
export const MIN_COOKIE_BYTES = 4;
export const MAX_COOKIE_BYTES = 16;

/** Of an option at `at` with a length that fits the header. False: malformed, to be ignored. */
export function parseFastOpen(at: number, length: number, out: TcpSegment): boolean {
  const cookieBytes = length - FAST_OPEN_REQUEST_LENGTH;
  if (cookieBytes !== 0 && (cookieBytes < MIN_COOKIE_BYTES || cookieBytes > MAX_COOKIE_BYTES || (cookieBytes & 1) !== 0)) return false;
  out.fastOpenCookieBytes = cookieBytes;
  out.fastOpenCookieOffset = at + FAST_OPEN_REQUEST_LENGTH;
  return true;
}

/** An empty cookie asks for one. */
export function emitFastOpen(out: Uint8Array, at: number, cookie: Uint8Array): number {
  out[at] = OPTION_FAST_OPEN;
  out[at + 1] = FAST_OPEN_REQUEST_LENGTH + cookie.length;
  out.set(cookie, at + FAST_OPEN_REQUEST_LENGTH);
  return FAST_OPEN_REQUEST_LENGTH + cookie.length;
}

/** A copy of the segment's cookie, empty for a request, undefined when it has no option. */
export function fastOpenCookieOf(segment: TcpSegment): Uint8Array | undefined {
  if (segment.fastOpenCookieBytes < 0) return undefined;
  return segment.bytes.slice(segment.fastOpenCookieOffset, segment.fastOpenCookieOffset + segment.fastOpenCookieBytes);
}

/** The active side of TCP Fast Open (RFC 7413, 4.2.1): when a SYN asks for a cookie, when it has data, and what is learnt from the answer. */

import { fastOpenCookieOf } from '../wire/fast-open.js';
import type { TcpSegment } from '../wire/segment.js';
import { FastOpenCache } from './fast-open-cache.js';
import type { TcpConnection } from './tcp-connection.js';

/** What a SYN with timestamps and MP_CAPABLE (4) has room for. */
const MAX_COOKIE_BYTES_BESIDE_TIMESTAMPS = 12;
const NO_COOKIE = new Uint8Array(0);

export class FastOpenClient {
  private readonly cache = new FastOpenCache();

  /** Before the SYN leaves. */
  prepare(c: TcpConnection, nowMs: number): void {
    if (this.cache.hasFailed(c.tuple, nowMs)) return;
    const known = this.cache.find(c.tuple);
    if (c.timestampsOffered && known !== undefined && known.cookie.length > MAX_COOKIE_BYTES_BESIDE_TIMESTAMPS) return;
    c.fastOpenCookie = known?.cookie ?? NO_COOKIE;
    if (known !== undefined) c.peerMssBytes = known.mssBytes;
  }

  /** RFC 7413 (4.1.3): what the SYN/ACK says of cookies is remembered, a new one in place of that which was not good. */
  noteAnswer(c: TcpConnection, segment: TcpSegment, nowMs: number): void {
    const cookie = fastOpenCookieOf(segment);
    if (cookie !== undefined && cookie.length > 0) this.cache.note(c.tuple, cookie, c.peerMssBytes);
    if (c.synPayload.length === 0) return;
    c.services.count(c.sentWithSynBytes > 0 ? 'fast-open-data-taken' : 'fast-open-data-not-taken');
    if (c.sentWithSynBytes === 0 && c.synCount > 1) this.cache.noteFailure(c.tuple, nowMs);
  }
}

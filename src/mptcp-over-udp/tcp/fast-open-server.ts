/**
 * The passive side of TCP Fast Open (RFC 7413, 4.2): which cookies are given, which are believed, and how many connections may be open on the word of
 * a cookie alone.
 */

import { createHmac, timingSafeEqual } from 'node:crypto';
import { fastOpenCookieOf } from '../wire/fast-open.js';
import type { TcpSegment } from '../wire/segment.js';
import type { TcpConnection } from './tcp-connection.js';

const SECRET_BYTES = 16;
/** RFC 7413 (4.1.2): cookies expire with the secret; that of the time before is still good, and gets a new one. */
const SECRET_LIFETIME_MS = 24 * 3_600_000;
/** RFC 7413 (5.1): a connection that was reset while it was pending is counted for so long: the address of its SYN may have been a victim's. */
const RESET_COUNTED_MS = 60_000;
export const DEFAULT_FAST_OPEN_PENDING = 128;

export class FastOpenServer {
  private readonly randomBytes: (count: number) => Uint8Array;
  private readonly cookieBytes: number;
  private readonly maxPending: number;
  private secret: Uint8Array;
  private previousSecret: Uint8Array | undefined;
  private secretSinceMs = -1;
  /** Opened by a cookie, and not acknowledged by a third ACK yet. */
  private pending = 0;
  /** Until when those are counted that were reset, in order. */
  private readonly resetUntilMs: number[] = [];

  /** `cookieBytes`: 4 to 16, what the SYN/ACK has room for. */
  constructor(randomBytes: (count: number) => Uint8Array, cookieBytes: number, maxPending: number) {
    this.randomBytes = randomBytes;
    this.cookieBytes = cookieBytes;
    this.maxPending = maxPending;
    this.secret = randomBytes(SECRET_BYTES);
  }

  /** Judges a SYN: its connection gets a cookie to give, or is opened at once and has the SYN's data. Call after the SYN's options are noted. */
  handleSyn(connection: TcpConnection, segment: TcpSegment, nowMs: number): void {
    const cookie = fastOpenCookieOf(segment);
    if (cookie === undefined) return;
    this.renewSecret(nowMs);
    const right = this.cookieFor(connection, this.secret);
    const isCurrent = equal(cookie, right);
    if (!isCurrent) connection.fastOpenCookie = right;
    if (!isCurrent && (this.previousSecret === undefined || !equal(cookie, this.cookieFor(connection, this.previousSecret)))) {
      connection.services.count(cookie.length === 0 ? 'fast-open-cookie-requests' : 'fast-open-wrong-cookies');
      return;
    }
    while (this.resetUntilMs.length > 0 && (this.resetUntilMs[0] as number) <= nowMs) this.resetUntilMs.shift();
    if (this.pending + this.resetUntilMs.length >= this.maxPending) {
      connection.services.count('fast-open-too-many-pending');
      return;
    }
    this.pending++;
    connection.services.count('fast-open-accepted');
    connection.openFast(segment, this);
  }

  /** The third ACK has come, or the connection is gone. */
  notePendingOver(wasReset: boolean, nowMs: number): void {
    this.pending--;
    if (wasReset) this.resetUntilMs.push(nowMs + RESET_COUNTED_MS);
  }

  private renewSecret(nowMs: number): void {
    if (this.secretSinceMs < 0) this.secretSinceMs = nowMs;
    if (nowMs - this.secretSinceMs < SECRET_LIFETIME_MS) return;
    this.previousSecret = nowMs - this.secretSinceMs < 2 * SECRET_LIFETIME_MS ? this.secret : undefined;
    this.secret = this.randomBytes(SECRET_BYTES);
    this.secretSinceMs = nowMs;
  }

  /** RFC 7413 (4.1.2): a MAC over the addresses; ports may differ from one connection to the next. */
  private cookieFor(connection: TcpConnection, secret: Uint8Array): Uint8Array {
    const { remoteAddress, localAddress } = connection.tuple;
    const mac = createHmac('sha256', secret).update(remoteAddress).update(localAddress).digest();
    return new Uint8Array(mac.subarray(0, this.cookieBytes));
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

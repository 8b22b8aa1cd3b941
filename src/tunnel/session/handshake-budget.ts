/** How many handshakes we compute: a token bucket for all, a wider one and a bound per source for those that showed a cookie. */

import type { SessionConstants } from './constants.js';

class TokenBucket {
  readonly #perSecond: number;
  #tokens: number;
  #updatedMs: number;

  constructor(perSecond: number, nowMs: number) {
    this.#perSecond = perSecond;
    this.#tokens = perSecond;
    this.#updatedMs = nowMs;
  }

  take(nowMs: number): boolean {
    const elapsedMs = Math.max(0, nowMs - this.#updatedMs);
    this.#tokens = Math.min(this.#perSecond, this.#tokens + (elapsedMs * this.#perSecond) / 1000);
    this.#updatedMs = Math.max(this.#updatedMs, nowMs);
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}

const SECOND_MS = 1000;

export class HandshakeBudget {
  readonly #constants: SessionConstants;
  readonly #all: TokenBucket;
  readonly #withCookie: TokenBucket;
  readonly #sources = new Map<string, number>();
  #sourcesSinceMs: number;

  constructor(constants: SessionConstants, nowMs: number) {
    this.#constants = constants;
    this.#all = new TokenBucket(constants.handshakesPerSecond, nowMs);
    this.#withCookie = new TokenBucket(constants.cookieHandshakesPerSecond, nowMs);
    this.#sourcesSinceMs = nowMs;
  }

  /** False: we are under load; ask for a cookie. */
  take(nowMs: number): boolean {
    return this.#all.take(nowMs);
  }

  /** The sender showed a cookie. False: drop in silence. */
  takeWithCookie(sourceAddress: Uint8Array, nowMs: number): boolean {
    if (nowMs - this.#sourcesSinceMs >= SECOND_MS) {
      this.#sources.clear();
      this.#sourcesSinceMs = nowMs;
    }
    const source = Buffer.from(sourceAddress).toString('latin1');
    const count = this.#sources.get(source) ?? 0;
    if (count >= this.#constants.handshakesPerSourcePerSecond) return false;
    if (count === 0 && this.#sources.size >= this.#constants.maxSources) return false;
    if (!this.#withCookie.take(nowMs)) return false;
    this.#sources.set(source, count + 1);
    return true;
  }
}

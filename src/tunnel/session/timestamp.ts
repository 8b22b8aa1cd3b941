/**
 * Initiations carry a TAI64N label (seconds since 1970 + 2^62 as u64, nanoseconds as u32; leap seconds aside, as everybody does it), so that
 * an old one cannot be replayed. Its clock is the wall clock of construction, advanced by the monotonic one, and it never repeats.
 */

import { TIMESTAMP_BYTES } from './messages.js';

const TAI_HIGH = 0x40000000;
/** TAI was 10 seconds ahead at the epoch of the label. */
const TAI_OFFSET_SECONDS = 10;

export class TimestampClock {
  readonly #wallMinusMonotonicMs: number;
  #lastMs = 0;
  #repeats = 0;

  constructor(wallClockMs: number, nowMs: number) {
    if (!(wallClockMs >= 0)) throw new RangeError('wallClockMs is not a time');
    this.#wallMinusMonotonicMs = wallClockMs - nowMs;
  }

  /** 12 bytes, strictly greater than any before. */
  next(nowMs: number): Uint8Array {
    const wallMs = Math.max(0, Math.floor(this.#wallMinusMonotonicMs + nowMs));
    if (wallMs > this.#lastMs) {
      this.#lastMs = wallMs;
      this.#repeats = 0;
    } else if (++this.#repeats >= 1_000_000) {
      this.#lastMs++;
      this.#repeats = 0;
    }
    const seconds = Math.floor(this.#lastMs / 1000) + TAI_OFFSET_SECONDS;
    const out = new Uint8Array(TIMESTAMP_BYTES);
    const view = new DataView(out.buffer);
    view.setUint32(0, TAI_HIGH + Math.floor(seconds / 2 ** 32));
    view.setUint32(4, seconds >>> 0);
    view.setUint32(8, (this.#lastMs % 1000) * 1_000_000 + this.#repeats);
    return out;
  }
}

/** Both 12 bytes: negative, zero or positive as `a` is before, equal to or after `b`. */
export function compareTimestamps(a: Uint8Array, b: Uint8Array): number {
  for (let i = 0; i < TIMESTAMP_BYTES; i++) {
    if (a[i] !== b[i]) return a[i]! - b[i]!;
  }
  return 0;
}

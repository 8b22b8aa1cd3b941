/** How much may lie between us and TCP: about what it takes in a few milliseconds, so that what waits does so in our own queue, where it can be dropped. */

const TARGET_MS = 10;
/** Two full datagrams. */
export const MIN_PENDING_BYTES = 4096;
export const MAX_PENDING_BYTES = 128 * 1024;
/** The clock and the event loop are coarse: shorter spans say little. */
const SPAN_MS = 10;
const NEW_SHARE = 0.25;

export class WritePace {
  /** INVARIANT: what is written and not yet taken. */
  pendingBytes = 0;
  limitBytes = 64 * 1024;
  #bytesPerMs = -1;
  #busySinceMs = 0;
  #spanBytes = 0;
  #spanMs = 0;

  handleWrite(bytes: number, nowMs: number): void {
    if (this.pendingBytes === 0) this.#busySinceMs = nowMs;
    this.pendingBytes += bytes;
  }

  /** TCP has taken them. */
  handleTaken(bytes: number, nowMs: number): void {
    this.pendingBytes -= bytes;
    this.#spanBytes += bytes;
    this.#spanMs += nowMs - this.#busySinceMs;
    this.#busySinceMs = nowMs;
    if (this.#spanMs < SPAN_MS) return;
    const rate = this.#spanBytes / this.#spanMs;
    this.#bytesPerMs = this.#bytesPerMs < 0 ? rate : this.#bytesPerMs + NEW_SHARE * (rate - this.#bytesPerMs);
    this.#spanBytes = 0;
    this.#spanMs = 0;
    this.limitBytes = Math.round(Math.min(MAX_PENDING_BYTES, Math.max(MIN_PENDING_BYTES, this.#bytesPerMs * TARGET_MS)));
  }

  get room(): number {
    return this.limitBytes - this.pendingBytes;
  }
}

/** Buffers for packets that wait, used again and again: bounded in bytes, grown as needed. */

/** A packet of a tunnel with a usual MTU. */
const SMALL_BYTES = 2048;
/** Free buffers kept; what is beyond goes to the garbage collector. */
const KEPT = 1024;

export class PacketPool {
  readonly #maxBytes: number;
  readonly #free: Uint8Array[] = [];
  #usedBytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes of the buffers that are out. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** At least `length` bytes, dirty; undefined when too much is out already. */
  take(length: number): Uint8Array | undefined {
    const size = Math.max(SMALL_BYTES, length);
    if (this.#usedBytes + size > this.#maxBytes) return undefined;
    this.#usedBytes += size;
    return size === SMALL_BYTES ? (this.#free.pop() ?? new Uint8Array(SMALL_BYTES)) : new Uint8Array(size);
  }

  giveBack(buffer: Uint8Array): void {
    this.#usedBytes -= buffer.length;
    if (buffer.length === SMALL_BYTES && this.#free.length < KEPT) this.#free.push(buffer);
  }
}

/**
 * Anti-replay window without bit shifting (RFC 6479): a ring of 32-bit blocks, of which one is always being cleared ahead. Packet numbers are
 * 48 bits in plain numbers. One window per path and receive key.
 */

const BLOCK_BITS = 32;
const MAX_PACKET_NUMBER = 2 ** 48 - 1;

export class ReplayWindow {
  /** A number this far below the highest is still judged by its own bit. */
  readonly windowPackets: number;
  readonly #blocks: Uint32Array;
  #highest = -1;

  /** `bits`: size of the ring, a power of two of at least 64. The window is one block smaller. */
  constructor(bits = 2048) {
    if (!Number.isInteger(Math.log2(bits)) || bits < 2 * BLOCK_BITS) throw new RangeError('bits is not a power of two of at least 64');
    this.#blocks = new Uint32Array(bits / BLOCK_BITS);
    this.windowPackets = bits - BLOCK_BITS;
  }

  /** The highest packet number accepted, -1 before the first. */
  get highest(): number {
    return this.#highest;
  }

  /** Marks the number as seen: true when it is fresh, false when it was seen before, is too old, or is no packet number. Call it after the tag verified. */
  accept(packetNumber: number): boolean {
    if (!(packetNumber >= 0 && packetNumber <= MAX_PACKET_NUMBER)) return false;
    const blocks = this.#blocks;
    const block = Math.floor(packetNumber / BLOCK_BITS);
    if (packetNumber > this.#highest) {
      this.#clearUpTo(block);
      this.#highest = packetNumber;
    } else if (this.#highest - packetNumber >= this.windowPackets) {
      return false;
    }
    const at = block % blocks.length;
    const bit = 1 << (packetNumber % BLOCK_BITS);
    if ((blocks[at]! & bit) !== 0) return false;
    blocks[at] = blocks[at]! | bit;
    return true;
  }

  #clearUpTo(block: number): void {
    const current = this.#highest < 0 ? -1 : Math.floor(this.#highest / BLOCK_BITS);
    const steps = Math.min(block - current, this.#blocks.length);
    for (let i = 0; i < steps; i++) this.#blocks[(block - i) % this.#blocks.length] = 0;
  }
}

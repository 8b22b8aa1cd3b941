/**
 * Where payload lives between a write and its last acknowledgement: reference-counted blocks, so that one copy serves the connection's send
 * buffer and every subflow that carries it. Blocks come from a pool; a taker adds a reference and drops it with `release`.
 */

export const LARGE_BLOCK_BYTES = 65_536;
export const SMALL_BLOCK_BYTES = 2_048;
/** Free blocks kept for reuse; beyond that the garbage collector has them. */
const KEEP_LARGE_COUNT = 256;
const KEEP_SMALL_COUNT = 1_024;

export class PayloadBlock {
  readonly bytes: Uint8Array;
  /** Where the bytes begin: what is before is free for the end of the block before (SendBuffer). */
  startBytes = 0;
  /** Bytes written so far; appending is only the owner's. */
  usedBytes = 0;
  /** INVARIANT: >= 1 while outside of the pool. */
  referenceCount = 0;

  constructor(sizeBytes: number) {
    this.bytes = new Uint8Array(sizeBytes);
  }

  get freeBytes(): number {
    return this.bytes.length - this.usedBytes;
  }
}

export class BlockPool {
  /** Bytes in blocks that are in use now. */
  inUseBytes = 0;
  private readonly large: PayloadBlock[] = [];
  private readonly small: PayloadBlock[] = [];

  /** A block with one reference, the caller's; small when `expectedBytes` fits a small one. */
  allocate(expectedBytes: number): PayloadBlock {
    const isSmall = expectedBytes <= SMALL_BLOCK_BYTES;
    const block = (isSmall ? this.small : this.large).pop() ?? new PayloadBlock(isSmall ? SMALL_BLOCK_BYTES : LARGE_BLOCK_BYTES);
    block.startBytes = 0;
    block.usedBytes = 0;
    block.referenceCount = 1;
    this.inUseBytes += block.bytes.length;
    return block;
  }

  release(block: PayloadBlock): void {
    block.referenceCount--;
    if (block.referenceCount > 0) return;
    if (block.referenceCount < 0) throw new RangeError('payload block released more often than it was taken');
    this.inUseBytes -= block.bytes.length;
    const isSmall = block.bytes.length === SMALL_BLOCK_BYTES;
    const free = isSmall ? this.small : this.large;
    if (free.length < (isSmall ? KEEP_SMALL_COUNT : KEEP_LARGE_COUNT)) free.push(block);
  }
}

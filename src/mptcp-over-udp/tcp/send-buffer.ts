/** Bytes written by the application and not yet handed to a segment: a queue of blocks, appended at the tail and taken from the front. */

import { type BlockPool, LARGE_BLOCK_BYTES, type PayloadBlock } from './payload-block.js';

/** Free at the front of a large block: the end of the block before moves there when it is no whole segment. */
const HEAD_ROOM_BYTES = 1536;

/** A stretch of one block. Whoever fills it with `take` owns one reference of `block`. */
export interface Piece {
  block: PayloadBlock | undefined;
  offset: number;
  length: number;
}

export class SendBuffer {
  queuedBytes = 0;
  private readonly pool: BlockPool;
  private readonly blocks: PayloadBlock[] = [];
  /** Taken so far of the first block. */
  private headOffset = 0;

  constructor(pool: BlockPool) {
    this.pool = pool;
  }

  /** Copies `length` bytes in. The caller has checked its limit. */
  append(bytes: Uint8Array, at: number, length: number): void {
    let left = length;
    let from = at;
    while (left > 0) {
      let tail = this.blocks[this.blocks.length - 1];
      if (tail === undefined || tail.freeBytes === 0) {
        tail = this.pool.allocate(this.queuedBytes === 0 ? left : left + this.queuedBytes);
        if (tail.bytes.length === LARGE_BLOCK_BYTES) tail.startBytes = tail.usedBytes = HEAD_ROOM_BYTES;
        if (this.blocks.length === 0) this.headOffset = tail.startBytes;
        this.blocks.push(tail);
      }
      const n = Math.min(left, tail.freeBytes);
      tail.bytes.set(n === bytes.length && from === 0 ? bytes : bytes.subarray(from, from + n), tail.usedBytes);
      tail.usedBytes += n;
      from += n;
      left -= n;
      this.queuedBytes += n;
    }
  }

  /**
   * The next contiguous stretch, at most `maxBytes`, into `piece`. Returns its length (0: empty). When the block ends before that and more follows, the stretch is
   * whole segments of `segmentBytes`, so that no short one is sent for want of room in a block.
   */
  take(maxBytes: number, piece: Piece, segmentBytes = 0): number {
    if (maxBytes <= 0) return 0;
    if (segmentBytes > 0) this.joinHeads(Math.min(maxBytes, segmentBytes));
    const head = this.blocks[0];
    if (head === undefined) return 0;
    let length = Math.min(maxBytes, head.usedBytes - this.headOffset);
    if (segmentBytes > 0 && length < maxBytes && length < this.queuedBytes && length > segmentBytes) length -= length % segmentBytes;
    piece.block = head;
    piece.offset = this.headOffset;
    piece.length = length;
    head.referenceCount++;
    this.headOffset += length;
    this.queuedBytes -= length;
    // A drained block goes, even with room left: an idle connection holds none.
    if (this.headOffset === head.usedBytes && (head.freeBytes === 0 || this.queuedBytes === 0)) {
      this.dropHead();
    }
    return length;
  }

  /** Less than `wantedBytes` is left of the first block, and another follows: it moves in front of that one. */
  private joinHeads(wantedBytes: number): void {
    const [head, next] = this.blocks;
    if (head === undefined || next === undefined) return;
    const left = head.usedBytes - this.headOffset;
    if (left >= wantedBytes || left > next.startBytes) return;
    next.startBytes -= left;
    next.bytes.set(head.bytes.subarray(this.headOffset, head.usedBytes), next.startBytes);
    this.dropHead();
  }

  private dropHead(): void {
    const head = this.blocks.shift();
    this.headOffset = this.blocks[0]?.startBytes ?? 0;
    if (head !== undefined) this.pool.release(head);
  }

  /** A copy of the first bytes, which stay. */
  peek(maxBytes: number): Uint8Array {
    const copy = new Uint8Array(Math.min(maxBytes, this.queuedBytes));
    let done = 0;
    for (let i = 0; done < copy.length; i++) {
      const block = this.blocks[i] as PayloadBlock;
      const from = i === 0 ? this.headOffset : block.startBytes;
      const piece = block.bytes.subarray(from, Math.min(block.usedBytes, from + copy.length - done));
      copy.set(piece, done);
      done += piece.length;
    }
    return copy;
  }

  /** Drops the first bytes. */
  discard(bytes: number): void {
    const piece: Piece = { block: undefined, offset: 0, length: 0 };
    for (let left = bytes; left > 0; left -= piece.length) {
      if (this.take(left, piece) === 0 || piece.block === undefined) return;
      this.pool.release(piece.block);
    }
  }

  clear(): void {
    for (const block of this.blocks) this.pool.release(block);
    this.blocks.length = 0;
    this.headOffset = 0;
    this.queuedBytes = 0;
  }
}

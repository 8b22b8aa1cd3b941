/**
 * The receive buffer: data that came out of order, and data in order that the reader has not taken. Positions are offsets in the byte stream (of the
 * subflow for an endpoint, data-level for MPTCP). In-order data that the reader takes at once is never copied.
 */

import type { BlockPool, PayloadBlock } from './payload-block.js';

/** Takes bytes (borrowed until return) and says how many it took; fewer than given means: stop, and call `drain` when there is room. */
export type StreamReader = (bytes: Uint8Array, at: number, length: number) => number;

interface Chunk {
  start: number;
  end: number;
  block: PayloadBlock;
  offset: number;
}

export class ReassemblyBuffer {
  /** Next offset expected. */
  nextOffset: number;
  /** Next offset that the reader will get. INVARIANT: readOffset <= nextOffset. */
  readOffset: number;
  /** Bytes held, in and out of order. */
  heldBytes = 0;
  private readonly pool: BlockPool;
  private chunks: Chunk[] = [];
  private head = 0;
  private tail: PayloadBlock | undefined;
  private readonly reader: StreamReader;
  private draining = false;

  constructor(pool: BlockPool, firstOffset: number, reader: StreamReader) {
    this.pool = pool;
    this.nextOffset = firstOffset;
    this.readOffset = firstOffset;
    this.reader = reader;
  }

  /** Begins that many bytes earlier than was said; nothing has been received yet. */
  startEarlier(bytes: number): void {
    this.nextOffset -= bytes;
    this.readOffset -= bytes;
  }

  /** Accepts [start, start + length); what is old or held already is skipped. Returns how many bytes were new. */
  receive(start: number, bytes: Uint8Array, at: number, length: number): number {
    let from = start;
    const end = start + length;
    if (from < this.nextOffset) from = this.nextOffset;
    if (from >= end) return 0;
    if (from === this.nextOffset && this.head === this.chunks.length) {
      return this.receiveInOrder(from, bytes, at + (from - start), end - from);
    }
    const added = this.insert(from, end, bytes, at - start);
    this.advance();
    this.drain();
    return added;
  }

  /** Gives the reader what is in order. */
  drain(): void {
    // A reader that makes room while it is being fed calls back in here: the loop below sees that room.
    if (this.draining) return;
    this.draining = true;
    while (this.head < this.chunks.length) {
      const chunk = this.chunks[this.head] as Chunk;
      if (chunk.start >= this.nextOffset) break;
      const length = Math.min(chunk.end, this.nextOffset) - chunk.start;
      const taken = this.reader(chunk.block.bytes, chunk.offset, length);
      this.readOffset += taken;
      this.heldBytes -= taken;
      if (taken === chunk.end - chunk.start) {
        this.pool.release(chunk.block);
        this.head++;
      } else {
        chunk.start += taken;
        chunk.offset += taken;
      }
      if (taken < length) break;
    }
    this.draining = false;
    this.compact();
  }

  clear(): void {
    for (let i = this.head; i < this.chunks.length; i++) this.pool.release((this.chunks[i] as Chunk).block);
    this.chunks = [];
    this.head = 0;
    this.heldBytes = 0;
    this.dropTail();
  }

  private receiveInOrder(start: number, bytes: Uint8Array, at: number, length: number): number {
    this.nextOffset = start + length;
    this.draining = true;
    const taken = this.reader(bytes, at, length);
    this.draining = false;
    this.readOffset += taken;
    if (taken < length) {
      this.chunks.push(this.store(start + taken, bytes, at + taken, length - taken));
    }
    return length;
  }

  /** Copies what fits the tail block; `store` always keeps a chunk within one block. */
  private store(start: number, bytes: Uint8Array, at: number, length: number): Chunk {
    let tail = this.tail;
    if (tail === undefined || tail.freeBytes < length) {
      this.dropTail();
      tail = this.pool.allocate(this.heldBytes === 0 ? length : Math.max(length, 4096));
      this.tail = tail;
    }
    const offset = tail.usedBytes;
    tail.bytes.set(bytes.subarray(at, at + length), offset);
    tail.usedBytes += length;
    tail.referenceCount++;
    this.heldBytes += length;
    return { start, end: start + length, block: tail, offset };
  }

  private insert(start: number, end: number, bytes: Uint8Array, bias: number): number {
    let added = 0;
    let from = start;
    let i = this.lowerBound(start);
    while (from < end) {
      const next = this.chunks[i];
      if (next !== undefined && next.start <= from) {
        from = Math.max(from, next.end);
        i++;
        continue;
      }
      const to = next === undefined ? end : Math.min(end, next.start);
      this.chunks.splice(i, 0, this.store(from, bytes, bias + from, to - from));
      added += to - from;
      from = to;
      i++;
    }
    return added;
  }

  private advance(): void {
    // Chunks before nextOffset are contiguous: start looking where it ends.
    for (let i = this.lowerBound(this.nextOffset); i < this.chunks.length; i++) {
      const chunk = this.chunks[i] as Chunk;
      if (chunk.start > this.nextOffset) break;
      if (chunk.end > this.nextOffset) this.nextOffset = chunk.end;
    }
  }

  /** Index of the first chunk that ends after `offset`. */
  private lowerBound(offset: number): number {
    let low = this.head;
    let high = this.chunks.length;
    while (low < high) {
      const mid = (low + high) >>> 1;
      if ((this.chunks[mid] as Chunk).end <= offset) low = mid + 1;
      else high = mid;
    }
    return low;
  }

  private compact(): void {
    if (this.head === this.chunks.length) {
      this.chunks.length = 0;
      this.head = 0;
      this.dropTail();
    } else if (this.head > 64 && this.head * 2 > this.chunks.length) {
      this.chunks.splice(0, this.head);
      this.head = 0;
    }
  }

  private dropTail(): void {
    if (this.tail !== undefined) this.pool.release(this.tail);
    this.tail = undefined;
  }
}

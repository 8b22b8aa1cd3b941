/** Brings the payloads of one direction of a TCP connection that passes by into their order. Bounded: what comes too far ahead, or too much of it, is not kept. */

import { seqAdd, seqDiff } from '../../mptcp-over-udp/wire/sequence.js';

const MAX_PIECES = 16;
const MAX_AHEAD_BYTES = 16_384;

export type TakeBytes = (bytes: Uint8Array, at: number, length: number) => void;

export class SegmentOrder {
  /** Sequence number of the next byte. */
  #next: number;
  readonly #take: TakeBytes;
  /** Copies of what came ahead. */
  readonly #pieces: { sequence: number; bytes: Uint8Array }[] = [];

  /** `take`: each byte once, in order; borrowed until return. */
  constructor(first: number, take: TakeBytes) {
    this.#next = first;
    this.#take = take;
  }

  handle(sequence: number, bytes: Uint8Array, at: number, length: number): void {
    const ahead = seqDiff(sequence, this.#next);
    if (ahead > 0) {
      if (ahead + length <= MAX_AHEAD_BYTES && this.#pieces.length < MAX_PIECES)
        this.#pieces.push({ sequence, bytes: bytes.slice(at, at + length) });
      return;
    }
    this.#takeNew(ahead, bytes, at, length);
    while (this.#takeKept());
  }

  #takeNew(ahead: number, bytes: Uint8Array, at: number, length: number): void {
    if (ahead + length <= 0) return;
    this.#next = seqAdd(this.#next, length + ahead);
    this.#take(bytes, at - ahead, length + ahead);
  }

  /** True: there was one whose turn has come. */
  #takeKept(): boolean {
    for (let i = 0; i < this.#pieces.length; i++) {
      const { sequence, bytes } = this.#pieces[i]!;
      const ahead = seqDiff(sequence, this.#next);
      if (ahead > 0) continue;
      this.#pieces.splice(i, 1);
      this.#takeNew(ahead, bytes, 0, bytes.length);
      return true;
    }
    return false;
  }
}

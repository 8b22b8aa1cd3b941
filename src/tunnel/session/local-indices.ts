/**
 * Local indices of handshakes and epochs, and whose they are. Compressed headers name an epoch by the lower half of its index alone (header-compression.ts),
 * so that halves are counted here, too: a handshake does not search through those of all peers.
 */

import type { Peer } from './peer.js';

export class LocalIndices {
  readonly #peers = new Map<number, Peer>();
  /** How many indices end in each lower half. */
  readonly #halves = new Map<number, number>();

  get size(): number {
    return this.#peers.size;
  }

  get(index: number): Peer | undefined {
    return this.#peers.get(index);
  }

  has(index: number): boolean {
    return this.#peers.has(index);
  }

  set(index: number, peer: Peer): void {
    if (!this.#peers.has(index)) this.#count(index, 1);
    this.#peers.set(index, peer);
  }

  delete(index: number): void {
    if (this.#peers.delete(index)) this.#count(index, -1);
  }

  /** No index but itself, where it is one of them, ends as `index` does. */
  isShortUnique(index: number): boolean {
    return (this.#halves.get(index & 0xffff) ?? 0) === (this.#peers.has(index) ? 1 : 0);
  }

  #count(index: number, change: number): void {
    const half = index & 0xffff;
    const count = (this.#halves.get(half) ?? 0) + change;
    if (count === 0) this.#halves.delete(half);
    else this.#halves.set(half, count);
  }
}

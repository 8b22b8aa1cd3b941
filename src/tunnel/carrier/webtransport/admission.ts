/**
 * The connections of strangers, which everybody is until a proof is shown: so many at once, so many from one source, so long. When there are too many, the oldest goes:
 * a peer proves itself within a few round trips, and who floods us has to keep ahead of that.
 */

/** One in the middle of TLS costs some 60 KB. */
export const MAX_STRANGERS = 512;
export const MAX_STRANGERS_PER_SOURCE = 32;
/** Whatever it does: somebody who reads the web pages comes again. */
export const MAX_STRANGER_AGE_MS = 120_000;

export interface Stranger {
  readonly source: string;
  readonly sinceMs: number;
  readonly drop: () => void;
}

export class Admission {
  /** The oldest first. */
  readonly #strangers = new Set<Stranger>();
  readonly #bySource = new Map<string, number>();
  refused = 0;
  displaced = 0;
  expired = 0;

  get count(): number {
    return this.#strangers.size;
  }

  /** Undefined: that source has enough. `drop` ends it, and is called by us alone. */
  admit(address: string, nowMs: number, drop: () => void): Stranger | undefined {
    const source = sourceOf(address);
    const sameSource = this.#bySource.get(source) ?? 0;
    if (sameSource >= MAX_STRANGERS_PER_SOURCE) {
      this.refused++;
      return undefined;
    }
    if (this.#strangers.size >= MAX_STRANGERS) {
      this.displaced++;
      this.#drop(this.#strangers.values().next().value!);
    }
    const stranger = { source, sinceMs: nowMs, drop };
    this.#strangers.add(stranger);
    // Not what was read before: the one that was dropped may have been of this source.
    this.#bySource.set(source, (this.#bySource.get(source) ?? 0) + 1);
    return stranger;
  }

  /** It is gone, or no stranger any more. */
  release(stranger: Stranger): void {
    if (!this.#strangers.delete(stranger)) return;
    const left = this.#bySource.get(stranger.source)! - 1;
    if (left === 0) this.#bySource.delete(stranger.source);
    else this.#bySource.set(stranger.source, left);
  }

  expire(nowMs: number): void {
    for (const stranger of this.#strangers) {
      if (nowMs - stranger.sinceMs <= MAX_STRANGER_AGE_MS) return;
      this.expired++;
      this.#drop(stranger);
    }
  }

  #drop(stranger: Stranger): void {
    this.release(stranger);
    stranger.drop();
  }
}

/** Who has one IPv6 address has 2^64 of them. */
function sourceOf(address: string): string {
  if (!address.includes(':')) return address;
  const [head = '', tail] = address.split('::');
  const groups = head === '' ? [] : head.split(':');
  const rest = tail === undefined || tail === '' ? [] : tail.split(':');
  if (tail !== undefined) while (groups.length + rest.length < 8) groups.push('0');
  return [...groups, ...rest].slice(0, 4).join(':');
}

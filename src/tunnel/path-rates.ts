/** How fast bytes come and go on each path: over the last one to two seconds. */

import type { PathLink, PeerLink } from './link.js';

export const RATE_SAMPLE_MS = 1000;

interface Sample {
  atMs: number;
  rxBytes: number;
  txBytes: number;
}

export interface PathRates {
  rxBytesPerSec: number;
  txBytesPerSec: number;
}

const NOTHING: PathRates = { rxBytesPerSec: 0, txBytesPerSec: 0 };

export class PathRateMeter {
  readonly #samples = new WeakMap<PathLink, { before: Sample; last: Sample }>();

  /** Call it every RATE_SAMPLE_MS. */
  sample(peers: readonly PeerLink[], nowMs: number): void {
    for (const peer of peers) {
      for (const path of peer.paths) {
        const last: Sample = { atMs: nowMs, rxBytes: path.rxBytes, txBytes: path.txBytes };
        this.#samples.set(path, { before: this.#samples.get(path)?.last ?? last, last });
      }
    }
  }

  /** UDP payload bytes per second; 0 while nothing is known. */
  rates(path: PathLink, nowMs: number): PathRates {
    const before = this.#samples.get(path)?.before;
    // Over less than half a sample a burst would look like a rate.
    if (before === undefined || nowMs - before.atMs < RATE_SAMPLE_MS / 2) return NOTHING;
    const perSecond = 1000 / (nowMs - before.atMs);
    return { rxBytesPerSec: (path.rxBytes - before.rxBytes) * perSecond, txBytesPerSec: (path.txBytes - before.txBytes) * perSecond };
  }
}

/**
 * How long a packet of a spread flow may wait for one that is missing: as long as the slowest path is behind the fastest, and how that varies. With
 * room to spare: the sender's queues grow faster than our round trips are measured, and a loss is mostly known sooner, when every path is past it.
 */

import type { PeerLink } from '../link.js';

const MARGIN_MS = 20;
const JITTER_FACTOR = 4;
const DIFFERENCE_FACTOR = 1.5;
/** While round trips are not known. */
const UNKNOWN_MS = 50;

/** The other side's queue is part of the round trip and delays one way only; the rest of it is taken to be half each way. */
export function waitMsOf(peer: PeerLink): number {
  const paths = peer.paths;
  let slowestMs = -1;
  let fastestMs = Infinity;
  let jitterMs = 0;
  for (let i = 0; i < paths.length; i++) {
    const path = paths[i]!;
    if (path.rttMs < 0 || (path.state !== 'up' && path.state !== 'suspect')) continue;
    slowestMs = Math.max(slowestMs, path.rttMs - path.minRttMs / 2);
    fastestMs = Math.min(fastestMs, path.minRttMs / 2);
    jitterMs = Math.max(jitterMs, path.rttvarMs);
  }
  return slowestMs < 0 ? UNKNOWN_MS : DIFFERENCE_FACTOR * Math.max(0, slowestMs - fastestMs) + JITTER_FACTOR * jitterMs + MARGIN_MS;
}

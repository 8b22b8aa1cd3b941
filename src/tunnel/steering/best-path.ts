/** Which path is best for a flow that is steered packet by packet: the shortest round trip, made longer by loss. */

import type { PathLink, PathState } from '../link.js';

/** 5 % of loss weigh as much as a doubled round trip. */
const LOSS_WEIGHT = 20;
/** Round trips differ by themselves from one moment to the next: less than this is no difference. */
const EQUAL_FACTOR = 1.25;
const EQUAL_MS = 2;

/** Lower is better; Infinity while the round trip is unknown. */
export function pathCostMs(path: PathLink): number {
  return path.rttMs < 0 ? Number.POSITIVE_INFINITY : (path.rttMs + path.heldMs) * (1 + LOSS_WEIGHT * path.lossRatio);
}

/** A path that costs less goes before a shorter one; one whose round trip is unknown comes last. */
export function goesBefore(path: PathLink, other: PathLink): boolean {
  if (path.cost !== other.cost && path.rttMs >= 0 && other.rttMs >= 0) return path.cost < other.cost;
  return pathCostMs(path) < pathCostMs(other);
}

/** The best path in this state, of equals the first. */
export function bestPathIn(state: PathState, paths: readonly PathLink[]): PathLink | undefined {
  let best: PathLink | undefined;
  for (let i = 0; i < paths.length; i++) {
    const path = paths[i]!;
    if (path.state === state && (best === undefined || goesBefore(path, best))) best = path;
  }
  return best;
}

/** The best path that is up; when none is, the best suspect. */
export function bestPath(paths: readonly PathLink[]): PathLink | undefined {
  return bestPathIn('up', paths) ?? bestPathIn('suspect', paths);
}

/** True when `path` is better than `other`, or no worse than moments differ. */
export function isAsGood(path: PathLink, other: PathLink): boolean {
  return path === other || (path.cost <= other.cost && pathCostMs(path) <= pathCostMs(other) * EQUAL_FACTOR + EQUAL_MS);
}

/** Worth moving a flow for: what moves is reordered once, and round trips go up and down by themselves. */
const CLEAR_FACTOR = 1.5;
const CLEAR_MS = 10;

export function isClearlyBetter(path: PathLink, other: PathLink): boolean {
  if (path.backup === other.backup && path.cost !== other.cost) return path.cost < other.cost;
  return (other.backup && !path.backup) || pathCostMs(path) * CLEAR_FACTOR + CLEAR_MS < pathCostMs(other);
}

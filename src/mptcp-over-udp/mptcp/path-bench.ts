/**
 * Whether a path does a stream more harm than good. A path that brings next to nothing, and for which all that the others have brought must wait, is put on
 * the bench for a while: it carries new data only while no other can, like a backup. Pure.
 */

import { fastestRegular, mayCarry } from '../scheduler/candidates.js';
import type { Candidate } from '../scheduler/scheduler.js';

/** Harm is judged over so long. */
const WINDOW_MS = 3_000;
/** Over less than this nothing can be judged. */
const MIN_WINDOW_BYTES = 512 << 10;
/** A path that brings this part of the data is worth some waiting. */
const MAX_SHARE = 0.12;
/** Held up for so much of the time, and a multiple of its share, is harm. */
const MIN_HELD = 0.15;
const HELD_PER_SHARE = 2;
/** A head of line that stands for so long waits for somebody. */
const MIN_HOLD_MS = 100;
const HOLD_RTTS = 2;
/** Time that passes between two looks counts up to this much. */
const MAX_STEP_MS = 50;
const FIRST_BENCH_MS = 15_000;
const MAX_BENCH_MS = 300_000;
/** After so long without harm it counts as a first time again. */
const FORGIVEN_MS = 600_000;

/** What is seen of a subflow. */
export interface WatchedSubflow extends Candidate {
  readonly pathId: number;
  readonly recovery: { readonly rate: { readonly totalDeliveredBytes: number } };
}

/** One path's harm to one stream over a window. */
export interface Harm {
  subflow: WatchedSubflow;
  /** Of the data. */
  share: number;
  /** Part of the time during which the stream waited for data on this path. */
  held: number;
}

interface Seen {
  subflow: WatchedSubflow;
  startBytes: number;
  heldMs: number;
}

/** One connection's watch. */
export class HarmWatch {
  #seen: Seen[] = [];
  #windowStartMs = Number.NEGATIVE_INFINITY;
  #lastLookMs = 0;
  #lastUna = -1;
  #lastAdvanceMs = 0;

  /**
   * Of the connection as it is now: the oldest byte that is not acknowledged, and the subflow that carries it (undefined: nothing is outstanding). Returns the
   * worst path's harm when a window has ended with some.
   */
  look(subflows: readonly WatchedSubflow[], una: number, carrier: WatchedSubflow | undefined, nowMs: number): Harm | undefined {
    const stepMs = Math.min(MAX_STEP_MS, nowMs - this.#lastLookMs);
    this.#lastLookMs = nowMs;
    if (una !== this.#lastUna || carrier === undefined) {
      this.#lastUna = una;
      this.#lastAdvanceMs = nowMs;
    } else if (nowMs - this.#lastAdvanceMs > this.#holdMs(subflows)) {
      for (const seen of this.#seen) if (seen.subflow === carrier) seen.heldMs += stepMs;
    }
    if (nowMs - this.#windowStartMs < WINDOW_MS) return undefined;
    const harm = this.#judge(nowMs - this.#windowStartMs);
    this.#start(subflows, nowMs);
    return harm;
  }

  #holdMs(subflows: readonly WatchedSubflow[]): number {
    return Math.max(MIN_HOLD_MS, HOLD_RTTS * (fastestRegular(subflows)?.rttMs ?? Number.POSITIVE_INFINITY));
  }

  #start(subflows: readonly WatchedSubflow[], nowMs: number): void {
    this.#windowStartMs = nowMs;
    this.#seen = [];
    for (const subflow of subflows) {
      if (mayCarry(subflow, false)) this.#seen.push({ subflow, startBytes: subflow.recovery.rate.totalDeliveredBytes, heldMs: 0 });
    }
  }

  #judge(windowMs: number): Harm | undefined {
    // A pause is no window.
    if (this.#seen.length < 2 || windowMs > 2 * WINDOW_MS) return undefined;
    let totalBytes = 0;
    for (const seen of this.#seen) totalBytes += seen.subflow.recovery.rate.totalDeliveredBytes - seen.startBytes;
    if (totalBytes < MIN_WINDOW_BYTES) return undefined;
    let worst: Harm | undefined;
    for (const { subflow, startBytes, heldMs } of this.#seen) {
      const share = (subflow.recovery.rate.totalDeliveredBytes - startBytes) / totalBytes;
      const held = heldMs / windowMs;
      if (share > MAX_SHARE || held < MIN_HELD + HELD_PER_SHARE * share) continue;
      if (worst === undefined || held > worst.held) worst = { subflow, share, held };
    }
    return worst;
  }
}

/** One path's bench: of a host, for all its connections. */
export class PathBench {
  /** Benched until then; -Infinity when not. */
  untilMs = Number.NEGATIVE_INFINITY;
  /** Why, for people. */
  reason = '';
  #lengthMs = 0;

  put({ share, held }: Harm, nowMs: number): void {
    const again = nowMs - this.untilMs < FORGIVEN_MS;
    this.#lengthMs = again ? Math.min(MAX_BENCH_MS, 2 * this.#lengthMs) : FIRST_BENCH_MS;
    this.untilMs = nowMs + this.#lengthMs;
    this.reason = `streams waited for it ${Math.round(100 * held)} % of the time, for ${(100 * share).toFixed(1)} % of their data`;
  }

  isBenched(nowMs: number): boolean {
    return nowMs < this.untilMs;
  }
}

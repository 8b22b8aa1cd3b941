/**
 * Which path, or paths, the next packet of a flow takes. Modes that keep a flow on one path move it at once when that path fails, and to a better
 * one only after that has been better for a while; modes that spread it decide with every packet. No list is made per packet.
 */

import { MAX_PATHS } from '../../tun/native.js';
import type { FlowMode } from '../config.js';
import type { PathLink, PathState, PeerLink } from '../link.js';
import { goesBefore, isClearlyBetter } from './best-path.js';
import { type FlowRule, type FlowRules, rankOf } from './flow-rules.js';
import { type FlowTable, RULE_MIRRORED, RULE_SUBFLOW } from './flow-table.js';
import { PathLoad } from './path-load.js';

/** How long another path must be the better one. */
const BETTER_FOR_MS = 1000;
/** A path so much slower one way than the fastest cannot be put in order with it: the receiver waits for 100 ms at most. */
const TOO_FAR_MS = 90;
/** So much more than it was seen to carry the first path takes unproven. */
const OVERFULL = 3;
/** How long a path that returned must be up before flows go back to it. */
const RETURNED_FOR_MS = 3000;

export class PathChooser {
  readonly counters = { flowsMoved: 0 };
  readonly #flows: FlowTable;
  readonly #rules: FlowRules;
  readonly #loads = new Map<PeerLink, PathLoad[]>();
  /** The answer of `usable`, used again and again: overwritten, since an array that is emptied loses its storage. */
  readonly #usable: PathLink[] = [];
  #usableCount = 0;

  constructor(flows: FlowTable, rules: FlowRules) {
    this.#flows = flows;
    this.#rules = rules;
  }

  /**
   * The paths that the flow may take now: those that are up and answer, without the backups unless the rule names them; when there is none, those in
   * doubt; then the backups; then what is suspect. A redundant flow has those in doubt in any case, and with only one path up the suspects too.
   * Valid until the next call.
   */
  usable(peer: PeerLink, slot: number): readonly PathLink[] {
    if (this.#flows.rule(slot) === RULE_SUBFLOW) return this.#usableOfSubflow(peer, this.#flows.homePathId(slot));
    const rule = this.#ruleOf(slot);
    const mask = this.#flows.pathMask(slot);
    const usable = this.#usable;
    const isRedundant = this.#flows.mode(slot) === 'redundant';
    this.#usableCount = 0;
    this.#add(peer, rule, mask, 'up', false, isRedundant);
    if (this.#usableCount === 0) this.#add(peer, rule, mask, 'up', false, true);
    if (this.#usableCount === 0) this.#add(peer, rule, mask, 'up', true, true);
    if (this.#usableCount === 0) this.#add(peer, rule, mask, 'suspect', false, true);
    if (this.#usableCount === 0) this.#add(peer, rule, mask, 'suspect', true, true);
    else if (isRedundant && this.#usableCount === 1 && usable[0]!.state === 'up') this.#add(peer, rule, mask, 'suspect', false, true);
    if (usable.length !== this.#usableCount) usable.length = this.#usableCount;
    return usable;
  }

  /** The one path of a flow that has one. `usable`: not empty. */
  single(slot: number, usable: readonly PathLink[], nowMs: number): PathLink {
    const flows = this.#flows;
    const current = withId(usable, flows.pathId(slot));
    const isStandby = flows.mode(slot) === 'active-standby';
    // What the other side decides is followed, not judged.
    if (isStandby && current !== undefined && flows.rule(slot) === RULE_MIRRORED) return current;
    const wanted = this.#wanted(slot, usable, current);
    if (current === undefined) {
      if (flows.pathId(slot) >= 0) this.counters.flowsMoved++;
      this.#move(slot, wanted);
      return wanted;
    }
    if (wanted === current || !(isStandby || isClearlyBetter(wanted, current))) {
      flows.setBetterSinceMs(slot, Number.NaN);
      return current;
    }
    const sinceMs = flows.betterSinceMs(slot);
    if (Number.isNaN(sinceMs)) flows.setBetterSinceMs(slot, nowMs);
    else if (nowMs - sinceMs >= (isStandby ? RETURNED_FOR_MS : BETTER_FOR_MS)) {
      this.counters.flowsMoved++;
      this.#move(slot, wanted);
      return wanted;
    }
    return current;
  }

  /** The path of the next packet of a flow that is spread: where it arrives first (`priority`: the first in order) and there is room. */
  spread(peer: PeerLink, mode: FlowMode, usable: readonly PathLink[], nowMs: number): PathLink {
    const loads = this.#loadsOf(peer);
    const home = homeOf(usable, mode);
    const farRttMs = mode === 'aggregate' && home.minRttMs >= 0 ? home.minRttMs + 2 * TOO_FAR_MS : Infinity;
    let best: PathLink | undefined;
    let bestFull: PathLink | undefined;
    for (let i = 0; i < usable.length; i++) {
      const path = usable[i]!;
      if (path.minRttMs > farRttMs) continue;
      const load = loads[path.id]!;
      load.update(path, nowMs);
      const fullness = load.fullness(path);
      // The first path may be filled until it shows: what it was seen to carry is what it was asked to. The others get what they are known to carry.
      if (fullness >= 1 && (path !== home || fullness >= OVERFULL || load.isQueueing(path, nowMs))) {
        if (bestFull === undefined || isEmptier(load, path, loads[bestFull.id]!, bestFull)) bestFull = path;
      } else if (best === undefined || this.#goesBefore(path, best, mode, loads)) {
        best = path;
      }
    }
    return best ?? bestFull ?? usable[0]!;
  }

  /** The capacity that was seen lately, for status and tests; 0: none yet. */
  capacityBytesPerSec(peer: PeerLink, pathId: number): number {
    return this.#loads.get(peer)?.[pathId]?.capacityBytesPerSec ?? 0;
  }

  forgetPath(peer: PeerLink, pathId: number): void {
    const loads = this.#loads.get(peer);
    if (loads !== undefined) loads[pathId] = new PathLoad();
  }

  #goesBefore(path: PathLink, other: PathLink, mode: FlowMode, loads: readonly PathLoad[]): boolean {
    if (mode === 'priority' && path.priority !== other.priority) return path.priority < other.priority;
    if (path.cost !== other.cost) return path.cost < other.cost;
    return loads[path.id]!.arrivalMs(path) < loads[other.id]!.arrivalMs(other);
  }

  #wanted(slot: number, usable: readonly PathLink[], current: PathLink | undefined): PathLink {
    const flows = this.#flows;
    if (flows.rule(slot) === RULE_SUBFLOW) return withId(usable, flows.homePathId(slot)) ?? current ?? bestOf(usable);
    return flows.mode(slot) === 'active-standby' && flows.rule(slot) >= 0 ? this.#firstInOrder(slot, usable) : bestOf(usable);
  }

  /** A subflow stays on its home, also when that is a backup, or in doubt: its own host sends elsewhere what is not answered there. */
  #usableOfSubflow(peer: PeerLink, homePathId: number): readonly PathLink[] {
    const usable = this.#usable;
    this.#usableCount = 0;
    for (let i = 0; i < peer.paths.length; i++) {
      const path = peer.paths[i]!;
      if (path.state === 'up' && (path.id === homePathId || (!path.backup && !path.doubtful))) usable[this.#usableCount++] = path;
    }
    if (this.#usableCount === 0) this.#add(peer, undefined, 0, 'up', false, true);
    if (this.#usableCount === 0) this.#add(peer, undefined, 0, 'up', true, true);
    if (this.#usableCount === 0) this.#add(peer, undefined, 0, 'suspect', true, true);
    if (usable.length !== this.#usableCount) usable.length = this.#usableCount;
    return usable;
  }

  #ruleOf(slot: number): FlowRule | undefined {
    const index = this.#flows.rule(slot);
    return index >= 0 ? this.#rules.rule(index) : undefined;
  }

  #add(peer: PeerLink, rule: FlowRule | undefined, mask: number, state: PathState, backups: boolean, doubtful: boolean): void {
    const isNamed = rule?.paths !== undefined || mask !== 0;
    const paths = peer.paths;
    for (let i = 0; i < paths.length; i++) {
      const path = paths[i]!;
      if (path.state !== state || (path.backup && !backups && !isNamed) || (path.doubtful && !doubtful)) continue;
      if (mask !== 0 && (mask & (1 << path.id)) === 0) continue;
      if (rankOf(rule, path) >= 0) this.#usable[this.#usableCount++] = path;
    }
  }

  #firstInOrder(slot: number, usable: readonly PathLink[]): PathLink {
    const rule = this.#ruleOf(slot);
    let first = usable[0]!;
    for (let i = 1; i < usable.length; i++) if (rankOf(rule, usable[i]!) < rankOf(rule, first)) first = usable[i]!;
    return first;
  }

  #move(slot: number, path: PathLink): void {
    this.#flows.setPathId(slot, path.id);
    this.#flows.setBetterSinceMs(slot, Number.NaN);
  }

  #loadsOf(peer: PeerLink): readonly PathLoad[] {
    let loads = this.#loads.get(peer);
    if (loads === undefined) {
      loads = Array.from({ length: MAX_PATHS }, () => new PathLoad());
      this.#loads.set(peer, loads);
    }
    return loads;
  }
}

/** Of two full paths: where it arrives first, so that queues grow alike and can be put in order; by how full they are while one is not known yet. */
function isEmptier(load: PathLoad, path: PathLink, otherLoad: PathLoad, other: PathLink): boolean {
  if (load.capacityBytesPerSec === 0 || otherLoad.capacityBytesPerSec === 0) return load.fullness(path) < otherLoad.fullness(other);
  return load.arrivalMs(path) < otherLoad.arrivalMs(other);
}

function bestOf(paths: readonly PathLink[]): PathLink {
  let best = paths[0]!;
  for (let i = 1; i < paths.length; i++) if (goesBefore(paths[i]!, best)) best = paths[i]!;
  return best;
}

/** Where a flow begins: of the cheapest paths, or those with the lowest priority, the one with the shortest round trip. */
function homeOf(paths: readonly PathLink[], mode: FlowMode): PathLink {
  let home = paths[0]!;
  for (let i = 1; i < paths.length; i++) {
    const path = paths[i]!;
    const isBefore =
      mode === 'priority' && path.priority !== home.priority
        ? path.priority < home.priority
        : path.cost !== home.cost
          ? path.cost < home.cost
          : path.minRttMs >= 0 && (home.minRttMs < 0 || path.minRttMs < home.minRttMs);
    if (isBefore) home = path;
  }
  return home;
}

function withId(paths: readonly PathLink[], id: number): PathLink | undefined {
  for (let i = 0; i < paths.length; i++) if (paths[i]!.id === id) return paths[i];
  return undefined;
}

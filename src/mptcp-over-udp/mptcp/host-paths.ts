/** The paths of a host: what is known of them, which one a connection begins on, and that all connections hear of changes. */

import type { PathMemory } from '../congestion/congestion-control.js';
import { type PathLimit, PathTurns } from '../path-limit.js';
import { NEVER_MS } from '../tcp/tcp-connection.js';
import type { MptcpHost } from './host.js';
import { type Harm, PathBench } from './path-bench.js';
import { benchPath, endPath, limitPath, raisePath, setPathBackup, setPathCost, setPathMtu, suspendPath } from './path-changes.js';
import { arrangeSubflows, type PathPolicy } from './path-policy.js';

export interface HostPath {
  readonly id: number;
  /** Addresses of joins on this path; 4 or 16 bytes, both of one family. */
  localAddress: Uint8Array;
  remoteAddress: Uint8Array;
  usable: boolean;
  /** What the path layer measures now, 0 unknown. */
  readonly rttMs: number;
  mtuBytes: number;
  /** See TcpConnectionOptions; 0 when absent. */
  segmentPayloadBytes?: number;
  memory: PathMemory;
  /** Of the priority scheduler: lower first, 0 when absent. */
  priority?: number;
  /** Only for use while no other is up, in both directions; changed by `setBackup`. */
  backup?: boolean;
  /** Used for what cheaper ones cannot carry (path-cost.ts), 0 when absent; changed by `setCost`. */
  cost?: number;
  /** The host's own. */
  bench?: PathBench;
  /** The host's own, of `setLimit`. */
  turns?: PathTurns | undefined;
}

export class HostPaths {
  private readonly host: MptcpHost;
  private readonly list: HostPath[] = [];
  /** Of the paths that have a limit. */
  private turns: PathTurns[] = [];
  /** Some path costs more than nothing. */
  haveCosts = false;
  /** When the next bench is over: `releaseBenched` wants to be called then. */
  benchTimeoutMs = NEVER_MS;

  constructor(host: MptcpHost) {
    this.host = host;
  }

  /** In the order in which they were added. */
  all(): readonly HostPath[] {
    return this.list;
  }

  get(pathId: number): HostPath | undefined {
    return this.list.find((path) => path.id === pathId);
  }

  /** Adds or replaces a path; subflows on it go on. */
  set(path: HostPath): void {
    const i = this.list.findIndex((known) => known.id === path.id);
    if (i < 0) this.list.push(path);
    else this.list[i] = path;
    this.haveCosts = this.list.some(({ cost }) => (cost ?? 0) > 0);
  }

  /** The path carries packets of another size now. */
  setMtu(pathId: number, mtuBytes: number, segmentPayloadBytes = 0): void {
    const path = this.get(pathId);
    if (path === undefined || (path.mtuBytes === mtuBytes && (path.segmentPayloadBytes ?? 0) === segmentPayloadBytes)) return;
    path.mtuBytes = mtuBytes;
    path.segmentPayloadBytes = segmentPayloadBytes;
    for (const connection of this.host.openConnections()) setPathMtu(connection, pathId, mtuBytes, segmentPayloadBytes);
  }

  /** Usable: its subflows carry data, and connections join over it. Not usable: they carry nothing new, and what they carried is reinjected. */
  setUsable(pathId: number, usable: boolean, nowMs: number): void {
    const path = this.get(pathId);
    if (path === undefined || path.usable === usable) return;
    path.usable = usable;
    for (const connection of this.host.openConnections()) {
      if (usable) raisePath(connection, pathId, nowMs);
      else suspendPath(connection, pathId, nowMs);
      arrangeSubflows(connection, nowMs);
    }
  }

  /**
   * The path is gone for good. Subflows there end, what they carried goes over the others, and a connection that has no other waits for a join. What cannot go on
   * without its only subflow (plain TCP, or a handshake under way) takes it along to another path.
   */
  remove(pathId: number, nowMs: number): void {
    const i = this.list.findIndex((path) => path.id === pathId);
    if (i < 0) return;
    this.setLimit(pathId, undefined);
    this.list.splice(i, 1);
    for (const connection of [...this.host.openConnections()]) endPath(connection, pathId, nowMs);
  }

  /**
   * A connection has found that a path does harm: for a while all of them use it as a backup. Others find the same in what they saw before: once is enough,
   * or each of them would double the time.
   */
  bench(harm: Harm, nowMs: number): void {
    const path = this.get(harm.subflow.pathId);
    if (path === undefined || path.bench?.isBenched(nowMs) === true) return;
    path.bench ??= new PathBench();
    path.bench.put(harm, nowMs);
    this.host.count('mptcp-benched');
    for (const connection of this.host.openConnections()) benchPath(connection, path.id, true);
    this.benchTimeoutMs = Math.min(this.benchTimeoutMs, path.bench.untilMs);
    this.host.events?.onPathBenched?.(path, path.bench.reason, nowMs);
  }

  /** At `benchTimeoutMs`: those whose time is over carry data again. */
  releaseBenched(nowMs: number): void {
    this.benchTimeoutMs = NEVER_MS;
    for (const { id, bench } of this.list) {
      if (bench === undefined) continue;
      if (bench.isBenched(nowMs)) this.benchTimeoutMs = Math.min(this.benchTimeoutMs, bench.untilMs);
      else for (const connection of this.host.openConnections()) benchPath(connection, id, false);
    }
  }

  /**
   * Both sides shall hear of it from whoever decides; the subflows there say it by MP_PRIO too (RFC 8684, 3.3.8), so what the peer asked for before counts no
   * longer: a lost MP_PRIO would count for ever.
   */
  setBackup(pathId: number, backup: boolean): void {
    const path = this.get(pathId);
    if (path === undefined || (path.backup ?? false) === backup) return;
    path.backup = backup;
    for (const connection of this.host.openConnections()) {
      if (connection.pathPolicy === undefined) setPathBackup(connection, pathId, backup);
      else arrangeSubflows(connection, this.host.nowMs);
    }
  }

  setCost(pathId: number, cost: number): void {
    const path = this.get(pathId);
    if (path === undefined || (path.cost ?? 0) === cost) return;
    path.cost = cost;
    this.haveCosts = this.list.some((one) => (one.cost ?? 0) > 0);
    for (const connection of this.host.openConnections()) setPathCost(connection, pathId, cost);
  }

  /** What streams send there stays below the limit, whose turns they take; undefined: there is none. */
  setLimit(pathId: number, limit: PathLimit | undefined): void {
    const path = this.get(pathId);
    if (path === undefined || path.turns?.limit === limit) return;
    const before = path.turns;
    path.turns = limit === undefined ? undefined : new PathTurns(limit);
    this.turns = this.list.flatMap(({ turns }) => (turns === undefined ? [] : [turns]));
    before?.release();
    for (const connection of this.host.openConnections()) limitPath(connection, pathId, path.turns);
  }

  /** Those whose turn it is on paths with a limit may send. */
  callTurns(nowMs: number): void {
    for (let i = 0; i < this.turns.length; i++) (this.turns[i] as PathTurns).call(nowMs);
  }

  /** Infinity while nobody waits for a turn. */
  nextTurnMs(): number {
    let at = NEVER_MS;
    for (let i = 0; i < this.turns.length; i++) at = Math.min(at, (this.turns[i] as PathTurns).nextTimeoutMs(this.host.nowMs));
    return at;
  }

  /**
   * Where a connection begins. Of the usable paths: no backup; the cheapest; with the scheduler `priority` the first in order; the lowest round trip, and one that is not
   * known last. When none is usable, any. With a policy only what that wants: one that is usable, or none.
   */
  best(policy?: PathPolicy): HostPath | undefined {
    let best: HostPath | undefined;
    for (const path of this.list) {
      if (!path.usable || (policy !== undefined && policy.rank(path.id) < 0)) continue;
      if (best === undefined || this.goesBefore(path, best, policy)) best = path;
    }
    return best ?? (policy === undefined ? this.list[0] : undefined);
  }

  private goesBefore(path: HostPath, other: HostPath, policy: PathPolicy | undefined): boolean {
    if (policy?.oneAtATime === true) return policy.rank(path.id) < policy.rank(other.id);
    if (policy?.isNamed !== true && (path.backup ?? false) !== (other.backup ?? false)) return other.backup === true;
    if ((path.cost ?? 0) !== (other.cost ?? 0)) return (path.cost ?? 0) < (other.cost ?? 0);
    const [priority, otherPriority] = [path.priority ?? 0, other.priority ?? 0];
    if (this.host.scheduler.name === 'priority' && priority !== otherPriority) return priority < otherPriority;
    return path.rttMs > 0 && (other.rttMs <= 0 || path.rttMs < other.rttMs);
  }
}

/** What a connection's owner wants of its paths beyond what the paths themselves say: only these, in this order, one at a time. */

import type { MptcpConnection } from './connection.js';
import { RST_UNSPECIFIED, type Subflow } from './subflow.js';

export interface PathPolicy {
  /** Where the path stands in the order, lower first; negative: the connection does not use it. */
  rank(pathId: number): number;
  /** Only the first in the order that is to be had carries data, the others wait as backups. */
  readonly oneAtATime: boolean;
  /** The paths were named: those that are backups otherwise are none here. */
  readonly isNamed: boolean;
}

export function permitsPath(c: MptcpConnection, pathId: number): boolean {
  return c.pathPolicy === undefined || c.pathPolicy.rank(pathId) >= 0;
}

/** Is a subflow on that path to wait as a backup from its beginning? */
export function beginsHeldBack(c: MptcpConnection, pathId: number): boolean {
  const policy = c.pathPolicy;
  if (policy === undefined) return c.host.paths.get(pathId)?.backup === true;
  return isHeldBack(c, policy, pathId, firstRank(c, policy));
}

/**
 * After whatever changes which subflows can be used: holds back and lets go, and ends those that the policy does not want once another carries the connection. Without a policy there
 * is nothing to do. The peer hears of it by MP_PRIO (RFC 8684, 3.3.8), so that its data goes the same way.
 */
export function arrangeSubflows(c: MptcpConnection, nowMs: number): void {
  const policy = c.pathPolicy;
  if (policy === undefined || c.closed || c.fallback) return;
  const first = firstRank(c, policy);
  for (const subflow of c.subflows) setHeldBack(subflow, isHeldBack(c, policy, subflow.pathId, first));
  // The side that opened the connection adds subflows, so it ends them too.
  if (c.role !== 'client' || first === Number.POSITIVE_INFINITY || c.subflowsClosing) return;
  for (const subflow of c.subflows.filter(({ pathId }) => policy.rank(pathId) < 0)) {
    c.sendQueue.reinjectFrom(subflow, c.dataUna);
    subflow.reset(RST_UNSPECIFIED, nowMs);
  }
}

/** The policy is gone: as the paths themselves say. */
export function releaseSubflows(c: MptcpConnection): void {
  for (const subflow of c.subflows) setHeldBack(subflow, c.host.paths.get(subflow.pathId)?.backup === true);
}

function firstRank(c: MptcpConnection, policy: PathPolicy): number {
  let first = Number.POSITIVE_INFINITY;
  for (const subflow of c.subflows) {
    const rank = policy.rank(subflow.pathId);
    if (subflow.usable && rank >= 0 && rank < first) first = rank;
  }
  return first;
}

function isHeldBack(c: MptcpConnection, policy: PathPolicy, pathId: number, first: number): boolean {
  const rank = policy.rank(pathId);
  if (rank < 0 || (policy.oneAtATime && rank > first)) return true;
  return !policy.isNamed && c.host.paths.get(pathId)?.backup === true;
}

/** What the peer asked for before counts no longer where this side decides, as with a path's own setting. */
function setHeldBack(subflow: Subflow, heldBack: boolean): void {
  subflow.onBackupPath = heldBack;
  if (subflow.localBackup === heldBack) return;
  // A join under way has said what it was made with; when it is confirmed we are here again.
  if (subflow.confirmed) subflow.setBackup(heldBack);
  subflow.connection.markDirty();
}

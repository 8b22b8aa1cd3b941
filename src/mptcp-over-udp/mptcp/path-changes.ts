/** What a change of a path means to a connection: its subflows there, what they carry, and joins. */

import type { PathTurns } from '../path-limit.js';
import { onlyBackupsUsable } from '../scheduler/candidates.js';
import type { MptcpConnection } from './connection.js';
import { beginsHeldBack, permitsPath } from './path-policy.js';
import { RST_UNSPECIFIED } from './subflow.js';

/** It is silent: what its subflows carried goes over the others. */
export function suspendPath(c: MptcpConnection, pathId: number, nowMs: number): void {
  for (const subflow of c.subflows) {
    if (subflow.pathId !== pathId || subflow.stale) continue;
    subflow.stale = true;
    c.sendQueue.reinjectFrom(subflow, c.dataUna);
  }
  c.joins.hurry();
  c.markDirty();
  moveOnlySubflow(c, nowMs);
}

/** Not proven yet, or plain TCP after a fallback: no join can take the place of its subflow, which goes on over another path instead. */
function needsItsSubflow(c: MptcpConnection): boolean {
  return (!c.peerProved || c.fallback) && !c.subflowsClosing;
}

/** To the path that is to be had now; without any, the next one that comes up takes it. */
function moveOnlySubflow(c: MptcpConnection, nowMs: number): void {
  if (!needsItsSubflow(c) || !c.subflows.some((subflow) => subflow.stale)) return;
  const path = c.host.paths.best(c.pathPolicy);
  if (path?.usable === true) raisePath(c, path.id, nowMs);
}

/** What the path carries now, the others carry again: somebody waits for it. */
export function benchPath(c: MptcpConnection, pathId: number, benched: boolean): void {
  for (const subflow of c.subflows) {
    if (subflow.pathId !== pathId || subflow.benched === benched) continue;
    subflow.benched = benched;
    if (benched && !onlyBackupsUsable(c.subflows)) c.sendQueue.reinjectFrom(subflow, c.dataUna);
    c.markDirty();
  }
}

/** What is on its way there arrives by itself; new data goes elsewhere. */
export function setPathBackup(c: MptcpConnection, pathId: number, backup: boolean): void {
  for (const subflow of c.subflows) {
    if (subflow.pathId !== pathId) continue;
    subflow.onBackupPath = backup;
    subflow.remoteBackup = backup;
    if (subflow.localBackup !== backup) subflow.setBackup(backup);
    c.markDirty();
  }
}

export function setPathMtu(c: MptcpConnection, pathId: number, mtuBytes: number, segmentPayloadBytes: number): void {
  for (const subflow of c.subflows) {
    if (subflow.pathId === pathId) subflow.setPathMss(mtuBytes - (subflow.tuple.ipVersion === 4 ? 40 : 60), segmentPayloadBytes);
  }
}

/** Which of them are too dear is found out with the next output. */
export function setPathCost(c: MptcpConnection, pathId: number, cost: number): void {
  for (const subflow of c.subflows) {
    if (subflow.pathId === pathId) subflow.cost = cost;
    subflow.tooDear = false;
  }
  c.markDirty();
}

/** What leaves there from now on takes its turn. */
export function limitPath(c: MptcpConnection, pathId: number, turns: PathTurns | undefined): void {
  for (const subflow of c.subflows) {
    if (subflow.pathId !== pathId) continue;
    subflow.turns = turns;
    c.markDirty();
  }
}

/** It is gone for good. */
export function endPath(c: MptcpConnection, pathId: number, nowMs: number): void {
  const onPath = c.subflows.filter((subflow) => subflow.pathId === pathId);
  if (onPath.length === 0) return;
  suspendPath(c, pathId, nowMs);
  if (needsItsSubflow(c)) return;
  const others = c.subflows.some((subflow) => subflow.usable && subflow.pathId !== pathId);
  if (others)
    c.addresses.withdraw(
      Uint8Array.from(onPath, (subflow) => subflow.addressId),
      nowMs,
    );
  for (const subflow of onPath) subflow.reset(RST_UNSPECIFIED, nowMs);
}

/** A subflow whose path was removed, or that cannot be replaced, takes the first that comes up. */
function adoptOrphans(c: MptcpConnection, pathId: number): void {
  const path = c.host.paths.get(pathId);
  if (path === undefined || !permitsPath(c, pathId)) return;
  for (const subflow of c.subflows) {
    if (!subflow.stale || (c.host.paths.get(subflow.pathId) !== undefined && !needsItsSubflow(c))) continue;
    subflow.pathId = pathId;
    subflow.onBackupPath = beginsHeldBack(c, pathId);
    subflow.turns = path.turns;
    subflow.cost = path.cost ?? 0;
    subflow.setPathMss(path.mtuBytes - (subflow.tuple.ipVersion === 4 ? 40 : 60), path.segmentPayloadBytes ?? 0);
  }
}

export function raisePath(c: MptcpConnection, pathId: number, nowMs: number): void {
  adoptOrphans(c, pathId);
  for (const subflow of c.subflows) {
    if (subflow.pathId !== pathId || !subflow.stale) continue;
    subflow.stale = false;
    subflow.recovery.restart(nowMs);
    if (subflow.state === 'syn-sent' || subflow.state === 'syn-received') subflow.synDeadlineMs = nowMs;
    subflow.nextSendMs = nowMs;
  }
  c.joins.hurry();
  c.markDirty();
}

/** How much the writer may be ahead of the subflows. */

import type { MptcpConnection } from './connection.js';
import type { Subflow } from './subflow.js';

const BACKLOG_MS = 60;
const MIN_BACKLOG_BYTES = 128 << 10;
const MAX_BACKLOG_BYTES = 8 << 20;
const MAX_POOL_BYTES = 256 << 20;

/** Bytes that may wait unsent: a little time's worth of what the subflows carry, so that none of them ever waits for the writer. */
export function backlogLimitBytes({ subflows, host }: MptcpConnection): number {
  // Many connections that wait must not fill the memory.
  if (host.pool.inUseBytes > MAX_POOL_BYTES) return MIN_BACKLOG_BYTES;
  let bytesPerMs = 0;
  let slowestMs = 0;
  for (let i = 0; i < subflows.length; i++) {
    const { recovery, stale } = subflows[i] as Subflow;
    const srttMs = recovery.rtt.srttMs;
    if (stale || srttMs <= 0) continue;
    bytesPerMs += recovery.congestion.cwndBytes / srttMs;
    slowestMs = Math.max(slowestMs, srttMs);
  }
  // Schedulers that plan (ECF, BLEST) need to see a round trip of the slowest path ahead.
  const plannedBytes = (BACKLOG_MS + 2 * slowestMs) * bytesPerMs;
  return Math.floor(Math.min(MAX_BACKLOG_BYTES, Math.max(MIN_BACKLOG_BYTES, plannedBytes)));
}

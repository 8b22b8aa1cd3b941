/** What BBR's flows on one path know in common: kept in the path's memory, made by the first of them. */
import type { PathMemory, SharedPathModel } from './congestion-control.js';

/** What is remembered of a path that has carried nothing for so long is forgotten, but for what the memory's owner wrote. */
const SHARED_LIFETIME_MS = 60_000;

/** Without a memory the flow knows only itself. */
export function sharedModel(memory: PathMemory | undefined, nowMs: number): SharedPathModel {
  const known = memory?.shared;
  if (known !== undefined && nowMs - known.jitterStampMs < SHARED_LIFETIME_MS) return known;
  const minRttMs = memory?.minRttMs ?? -1;
  const shared: SharedPathModel = {
    baseRttMs: minRttMs > 0 ? minRttMs : -1,
    baseRttStampMs: Number.NEGATIVE_INFINITY,
    baseBandwidthBytesPerSec: 0,
    baseIsRough: true,
    jitterMs: 0,
    jitterStampMs: nowMs,
    jitterFlow: -1,
    lastFlow: -1,
    severalFlowsStampMs: Number.NEGATIVE_INFINITY,
    nextFlow: 0,
    returns: undefined,
  };
  if (memory !== undefined) memory.shared = shared;
  return shared;
}

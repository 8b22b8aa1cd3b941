/** The active side of TCP Fast Open (RFC 7413, 4.1.3): cookies by pair of addresses, with the MSS that the server announced, and where it failed. */

import type { FourTuple } from './header-template.js';

const MAX_ENTRIES = 1_024;
/** RFC 7413 (4.1.3.1): where a SYN with data vanished, none is sent for a while: something on the way drops it. */
const FAILURE_MS = 600_000;

export interface FastOpenEntry {
  readonly cookie: Uint8Array;
  readonly mssBytes: number;
}

export class FastOpenCache {
  /** In order of use: the first is the first to go. */
  private readonly entries = new Map<string, FastOpenEntry>();
  private readonly failedUntilMs = new Map<string, number>();

  /** What is known of the peer; undefined: a cookie is to be asked for. */
  find(tuple: FourTuple): FastOpenEntry | undefined {
    const key = keyOf(tuple);
    const entry = this.entries.get(key);
    if (entry === undefined) return undefined;
    this.entries.delete(key);
    this.entries.set(key, entry);
    return entry;
  }

  note(tuple: FourTuple, cookie: Uint8Array, mssBytes: number): void {
    put(this.entries, keyOf(tuple), { cookie, mssBytes });
  }

  noteFailure(tuple: FourTuple, nowMs: number): void {
    put(this.failedUntilMs, keyOf(tuple), nowMs + FAILURE_MS);
  }

  hasFailed(tuple: FourTuple, nowMs: number): boolean {
    const key = keyOf(tuple);
    const untilMs = this.failedUntilMs.get(key);
    if (untilMs === undefined) return false;
    if (nowMs < untilMs) return true;
    this.failedUntilMs.delete(key);
    return false;
  }
}

function put<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= MAX_ENTRIES) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    return;
  }
}

function keyOf(tuple: FourTuple): string {
  return `${tuple.localAddress.join('.')} ${tuple.remoteAddress.join('.')}`;
}

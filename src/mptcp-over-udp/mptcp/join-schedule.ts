/** When a connection tries to get further subflows (RFC 8684, 3.2): the first by JoinPacing, a lost one again soon, a refused one later and later. */

import { NEVER_MS } from '../tcp/tcp-connection.js';
import type { MptcpConnection } from './connection.js';
import type { JoinPacing } from './join-pacing.js';

const NEVER_BYTES = Number.POSITIVE_INFINITY;
const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 30_000;

export class JoinSchedule {
  private readonly connection: MptcpConnection;
  private dueMs = NEVER_MS;
  /** The first joins are due sooner once so much is carried, or waits to be. */
  private dueBytes = NEVER_BYTES;
  /** Refused in a row. */
  private refusedCount = 0;

  constructor(connection: MptcpConnection) {
    this.connection = connection;
  }

  /** Means something only once the peer has proved itself. */
  get deadlineMs(): number {
    return this.dueMs;
  }

  /** The peer has proved itself. */
  start(pacing: JoinPacing, nowMs: number): void {
    this.dueMs = pacing.firstJoinMs(nowMs);
    if (this.dueMs > nowMs) this.dueBytes = pacing.exchangedBytes;
  }

  isDue(nowMs: number): boolean {
    if (nowMs >= this.dueMs) return true;
    if (this.dueBytes === NEVER_BYTES) return false;
    const { dataNxt, sendBuffer, reassembly } = this.connection;
    return dataNxt + sendBuffer.queuedBytes + reassembly.nextOffset >= this.dueBytes;
  }

  /** At the next poll. */
  hurry(): void {
    this.dueMs = 0;
  }

  /** A subflow that we asked for has ended; `wasConfirmed`: it was in use, and is replaced soon. */
  handleClosed(wasConfirmed: boolean, nowMs: number): void {
    this.refusedCount = wasConfirmed ? 0 : this.refusedCount + 1;
    this.dueMs = nowMs + Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** this.refusedCount);
  }

  /** They are under way, or not wanted any more. */
  clear(): void {
    this.dueMs = NEVER_MS;
    this.dueBytes = NEVER_BYTES;
  }
}

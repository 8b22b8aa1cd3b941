/**
 * FASTCLOSE in the ACK form (RFC 8684, 3.5, option A), the state FASTCLOSE_WAIT: one subflow carries MP_FASTCLOSE on an ACK, again after each RTO, until
 * the peer answers with RST; the others are reset at once. The application has been told by then, and holds nothing any more.
 */

import { NEVER_MS } from '../tcp/tcp-connection.js';
import { sendAck, sendReset } from '../tcp/tcp-output.js';
import type { MptcpConnection } from './connection.js';
import { RST_UNSPECIFIED, type Subflow } from './subflow.js';

/** RFC 8684 (3.5): "limited ... to 3". */
const MAX_REPEAT_COUNT = 3;

export class FastClose {
  private readonly connection: MptcpConnection;
  private carrier: Subflow | undefined;
  private sentCount = 0;
  deadlineMs = NEVER_MS;

  constructor(connection: MptcpConnection) {
    this.connection = connection;
  }

  get waiting(): boolean {
    return this.carrier !== undefined;
  }

  /** False: there is no subflow for it, or the peer may not have our key yet; the RST form serves. */
  start(nowMs: number): boolean {
    const { connection } = this;
    if (connection.fallback || !connection.peerProved || !connection.hasRemoteKey || connection.finishedBothWays) return false;
    const carrier = this.chooseCarrier();
    if (carrier === undefined) return false;
    this.carrier = carrier;
    carrier.recovery.abandon();
    for (const subflow of connection.subflows.slice()) if (subflow !== carrier) subflow.reset(RST_UNSPECIFIED, nowMs);
    this.send(carrier, nowMs);
    return true;
  }

  /** Again, or at last by RST, which clears what middleboxes remember. */
  handleTimeout(nowMs: number): void {
    const { carrier } = this;
    if (carrier === undefined || nowMs < this.deadlineMs) return;
    if (this.sentCount > MAX_REPEAT_COUNT) {
      carrier.fastclose = true;
      sendReset(carrier);
      this.connection.close('aborted', nowMs);
      return;
    }
    this.connection.host.count('mptcp-fastclose-repeats');
    carrier.recovery.rtt.backOff();
    this.send(carrier, nowMs);
  }

  private send(carrier: Subflow, nowMs: number): void {
    this.sentCount++;
    // What has come up meanwhile, as the echo of an ADD_ADDR, would take its place.
    carrier.signals.length = 0;
    carrier.signals.push({ kind: 'fastclose', key: this.connection.remoteKey });
    sendAck(carrier);
    this.deadlineMs = nowMs + carrier.recovery.rtt.rtoMs;
  }

  private chooseCarrier(): Subflow | undefined {
    let best: Subflow | undefined;
    for (const subflow of this.connection.subflows) {
      if (!subflow.confirmed || !subflow.isSynchronized || subflow.state === 'time-wait') continue;
      if (best === undefined || (best.stale && !subflow.stale) || (best.stale === subflow.stale && subflow.rttMs < best.rttMs))
        best = subflow;
    }
    return best;
  }
}

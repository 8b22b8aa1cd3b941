/** From MPTCP to plain TCP (RFC 8684, 3.7): one subflow, DSN = SSN + a constant in each direction; begun by the handshake, or by checksums, MP_FAIL and an infinite mapping. */

import { NEVER_MS } from '../tcp/tcp-connection.js';
import { dsnHigh, dsnLow } from '../wire/sequence.js';
import type { MptcpConnection } from './connection.js';
import type { Signal } from './path-signals.js';
import { RST_MIDDLEBOX, RST_MPTCP_ERROR, type Subflow } from './subflow.js';

export class Fallback {
  private readonly connection: MptcpConnection;
  active = false;
  private sendShift = 0;
  /** SSN from which the shift holds for what we send. */
  private sendStart = 0;
  private receiveShift = 0;
  /** We found a bad checksum there, and wait for the infinite mapping; -1: no. */
  failedOffset = -1;
  private failSentMs = 0;
  /** The peer found one: our next data goes under an infinite mapping. */
  infinitePending = false;
  /** Fell back by an infinite mapping: what was sent before it is sent again as it was, under its own mapping. */
  keepsMappings = false;

  constructor(connection: MptcpConnection) {
    this.connection = connection;
  }

  start(subflow: Subflow): void {
    this.active = true;
    this.noteSynData(subflow);
    this.connection.peerProved = true;
    subflow.confirmed = true;
    this.forgetDataFin();
    this.connection.host.count('mptcp-fallback');
  }

  /** What went with the SYNs stands before the data that is numbered (RFC 8684, B.2). */
  noteSynData(subflow: Subflow): void {
    this.sendShift = -subflow.sentWithSynBytes;
    this.receiveShift = -subflow.receivedWithSynBytes;
  }

  /** In fallback the end is the subflow's FIN. */
  private forgetDataFin(): void {
    this.connection.dataFinOffset = -1;
    this.connection.dataFinDeadlineMs = NEVER_MS;
  }

  /** In fallback the subflow's acknowledgement is the data's. */
  noteAck(subflow: Subflow): void {
    const { sndUna } = subflow.recovery;
    if (sndUna < this.sendStart) return;
    const una = Math.min(sndUna, subflow.finSent ? subflow.finOffset : sndUna) + this.sendShift;
    if (una >= this.connection.dataUna) this.connection.handleDataAck(una, subflow.sendWindowEdge - sndUna);
  }

  onData(ssn: number, bytes: Uint8Array, at: number, length: number, nowMs: number): boolean {
    const dsn = ssn + this.receiveShift;
    const old = Math.max(0, 1 - dsn);
    return old >= length || this.connection.onData(dsn + old, bytes, at + old, length - old, nowMs);
  }

  onFin(ssn: number, nowMs: number): void {
    this.connection.onDataFin(ssn + this.receiveShift, nowMs);
  }

  // ---- checksums and MP_FAIL (RFC 8684, 3.7) ----

  /** One side has seen a bad checksum on the only subflow: nothing may join any more. */
  get leavesMptcp(): boolean {
    return this.active || this.infinitePending || this.failedOffset >= 0;
  }

  /**
   * With several subflows the bad one is reset, and its data comes by another. With one, MP_FAIL asks for an infinite mapping; that acts retroactively,
   * so the changed data is kept, as plain TCP would. Until it comes, all goes on as before: the peer may have nothing to send under it.
   */
  onBadChecksum(subflow: Subflow, dsn: number, payload: Uint8Array, nowMs: number): boolean {
    this.connection.host.count('mptcp-bad-checksum');
    if (this.connection.subflows.length > 1) {
      subflow.signals.length = 0;
      subflow.signals.push(this.failSignal(dsn));
      subflow.reset(RST_MIDDLEBOX, nowMs);
      return false;
    }
    if (this.failedOffset < 0) {
      this.failedOffset = dsn;
      this.failSentMs = nowMs;
      subflow.signal(this.failSignal(dsn));
    }
    return this.connection.onData(dsn, payload, 0, payload.length, nowMs);
  }

  private failSignal(dsn: number): Signal {
    return {
      kind: 'fail',
      dsnHigh: dsnHigh(this.connection.remoteIdsnHigh, this.connection.remoteIdsnLow, dsn),
      dsnLow: dsnLow(this.connection.remoteIdsnLow, dsn),
    };
  }

  /** MP_FAIL rides on an ACK, and may be lost: a peer that goes on as before is told again. */
  repeatMpFail(subflow: Subflow, nowMs: number): void {
    if (nowMs - this.failSentMs < subflow.recovery.rtt.rtoMs) return;
    this.failSentMs = nowMs;
    subflow.signal(this.failSignal(this.failedOffset));
  }

  /** The peer got our data changed, and keeps it so: nothing is sent again, the next data goes under an infinite mapping. */
  onMpFail(subflow: Subflow, high: number, low: number): void {
    const from = this.connection.sendOffset64(high, low);
    if (this.connection.subflows.length > 1 || from < 1 || from > this.connection.dataNxt) {
      this.connection.host.count('mptcp-fail-ignored');
      return;
    }
    // In answer to ours: the infinite mapping that follows is for both directions.
    if (this.failedOffset >= 0) return;
    if (!this.infinitePending) this.connection.host.count('mptcp-fail-received');
    this.infinitePending = true;
    // Linux waits for an MP_FAIL in answer to its own, and resets the connection without.
    subflow.signal(this.failSignal(this.connection.dataAckOffset));
  }

  /** Our next data goes under an infinite mapping, and with it MPTCP ends here. */
  startInfiniteMapping(subflow: Subflow, nowMs: number): void {
    this.enter(subflow, this.takeUnchecked(subflow, nowMs));
  }

  /** From now on the subflow's bytes from `ssn` are the data from `dsn`, without end. */
  onInfiniteMapping(subflow: Subflow, dsn: number, ssn: number, nowMs: number): boolean {
    if (this.connection.subflows.length > 1) {
      subflow.reset(RST_MPTCP_ERROR, nowMs);
      return false;
    }
    this.connection.host.count('mptcp-infinite-mapping-received');
    this.takeUnchecked(subflow, nowMs);
    this.enter(subflow, dsn - ssn);
    return true;
  }

  /** After MP_FAIL, data without a mapping: the peer has fallen back without a word. */
  onUnmapped(subflow: Subflow, nowMs: number): void {
    this.enter(subflow, this.takeUnchecked(subflow, nowMs));
  }

  /** What we send from here on is contiguous on this subflow. */
  private enter(subflow: Subflow, receiveShift: number): void {
    this.active = true;
    this.keepsMappings = true;
    this.sendStart = subflow.recovery.sndNxt;
    this.sendShift = this.connection.dataNxt - subflow.recovery.sndNxt;
    this.receiveShift = receiveShift;
    subflow.confirmed = true;
    this.forgetDataFin();
    this.connection.joins.clear();
    this.connection.markDirty();
  }

  /** DSN - SSN of what the peer sends from here on, when all that it sends comes in order on this subflow. Data held for a checksum is taken as it is. */
  private takeUnchecked(subflow: Subflow, nowMs: number): number {
    const shift = subflow.mappings.giveUpChecksums((dsn, bytes, at, length) => this.connection.onData(dsn, bytes, at, length, nowMs));
    return shift ?? this.connection.reassembly.nextOffset - subflow.rcvNxt;
  }
}

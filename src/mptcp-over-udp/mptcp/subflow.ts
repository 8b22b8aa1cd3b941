/**
 * A subflow: one TCP connection on one path that carries a part of an MPTCP connection (RFC 8684, 2). What it writes is in `subflow-options.ts`, what
 * it reads in `subflow-input.ts`.
 */

import { initialWindowBytes } from '../congestion/initial-window.js';
import { MAX_OPTION_BYTES } from '../tcp/header-template.js';
import type { SegmentRecord } from '../tcp/retransmission-queue.js';
import {
  type CloseReason,
  NEVER_MS,
  type SegmentKind,
  TcpConnection,
  type TcpConnectionOptions,
  type TcpHostServices,
  TIMESTAMP_OPTION_BYTES,
} from '../tcp/tcp-connection.js';
import { acceptSynOptions, closeConnection } from '../tcp/tcp-input.js';
import { sendReset, sendWindowProbe } from '../tcp/tcp-output.js';
import type { TcpSegment } from '../wire/segment.js';
import type { MptcpConnection } from './connection.js';
import { type Signal, signalLength } from './path-signals.js';
import { type ReceivedMapping, ReceivedMappings } from './received-mappings.js';
import { processSubflowOptions } from './subflow-input.js';
import { DATA_OPTION_BYTES, writeSubflowOptions } from './subflow-options.js';

/** RFC 8684 (3.6): reasons of MP_TCPRST. */
export const RST_UNSPECIFIED = 0;
export const RST_MPTCP_ERROR = 1;
export const RST_MIDDLEBOX = 6;

export type SubflowRole = 'capable-client' | 'capable-server' | 'join-client' | 'join-server';

export class Subflow extends TcpConnection {
  readonly connection: MptcpConnection;
  readonly role: SubflowRole;
  /** Of our address; 0 for the initial subflow. */
  readonly addressId: number;
  /** Of the peer's address, as MP_JOIN told. */
  remoteAddressId = 0;
  /** The peer asked us to use it as a backup only. */
  remoteBackup = false;
  /** Its path did streams more harm than good lately. */
  benched = false;
  /** Its path is a backup by the decision of who runs both sides. */
  onBackupPath = false;
  /** Its path's. */
  cost = 0;
  /** Cheaper paths are enough, as things are. */
  tooDear = false;
  /** We asked the peer. */
  localBackup = false;
  localNonce = 0;
  remoteNonce = 0;
  /** Data may flow: for a join, the fourth ACK has come (client) or the third (server). */
  confirmed = false;
  /** Its path is known to be silent or gone: not scheduled, what it carried is reinjected. */
  stale = false;
  /** Refreshed by the connection before scheduling. */
  roomBytes = 0;
  /** A duplicating scheduler: this subflow has carried the data up to here. */
  duplicateNxt = 0;
  /** Losses up to here, relative to `iss`, have been repaired elsewhere, or were not worth it. */
  repairedTo = 0;
  resetReason = RST_UNSPECIFIED;
  /** Reason of the peer's MP_TCPRST, -1 when none came. */
  remoteResetReason = -1;
  fastclose = false;
  /** The third ACK of a join is repeated until the fourth comes (RFC 8684, 3.2). */
  thirdAckDeadlineMs = NEVER_MS;
  /** Timeouts in a row that the connection has reacted to. */
  seenTimeoutCount = 0;
  readonly mappings = new ReceivedMappings();
  /** Options to be sent, each once, on ACKs. */
  readonly signals: Signal[] = [];

  constructor(services: TcpHostServices, connection: MptcpConnection, role: SubflowRole, addressId: number, options: TcpConnectionOptions) {
    super(services, options);
    this.connection = connection;
    this.role = role;
    this.addressId = addressId;
    if (role === 'join-client') this.localNonce = services.randomUint32();
  }

  /** May carry new data now, as far as its state and path go. */
  get usable(): boolean {
    if (!this.confirmed || this.stale) return false;
    // A FIN closes a subflow, but of plain TCP only one direction.
    if (this.state === 'close-wait') return this.connection.fallback;
    return this.state === 'established' || (this.answersEarly && this.state === 'syn-received');
  }

  /** Carries new data only while no other subflow can. */
  get heldBack(): boolean {
    return this.tooDear || this.isBackup;
  }

  get isBackup(): boolean {
    return this.remoteBackup || this.benched || this.onBackupPath;
  }

  /** Smoothed RTT; before a sample, what the path layer knows. */
  get rttMs(): number {
    const srtt = this.recovery.rtt.srttMs;
    return srtt >= 0 ? srtt : this.connection.pathRttMs(this.pathId);
  }

  get roundBytes(): number {
    const { cwndBytes } = this.recovery.congestion;
    return this.turns === undefined
      ? cwndBytes
      : Math.max(this.mssBytes, Math.min(cwndBytes, (this.turns.shareBytesPerSec * this.rttMs) / 1000));
  }

  /** Its path's, lower first. */
  get priority(): number {
    return this.connection.host.paths.get(this.pathId)?.priority ?? 0;
  }

  override takeTurn(): void {
    this.connection.markDirty();
  }

  connect(): void {
    this.setState('active-open');
    this.synDeadlineMs = 0;
  }

  noteSyn(segment: TcpSegment): void {
    acceptSynOptions(this, segment);
    if (this.role !== 'join-server') return;
    const { mpJoin } = segment.mptcp;
    this.remoteNonce = mpJoin.nonce;
    this.remoteBackup = mpJoin.backup;
    this.remoteAddressId = mpJoin.addressId;
    this.localNonce = this.services.randomUint32();
  }

  accept(): void {
    this.setState('passive-open');
    this.synDeadlineMs = 0;
  }

  /** RST with MP_TCPRST, and gone. */
  reset(reason: number, nowMs: number): void {
    if (this.closeReason !== undefined) return;
    this.resetReason = reason;
    sendReset(this);
    closeConnection(this, 'aborted', nowMs);
  }

  /** Sends an option with an ACK of its own at the next output. */
  signal(signal: Signal): void {
    this.signals.push(signal);
    this.ackNow = true;
    this.connection.markDirty();
  }

  /** DEVIATION RFC 7323 (3.2): ADD_ADDR with an IPv6 address and a port goes without timestamps, there is no room for both. */
  override needsAllOptionSpace(): boolean {
    const signal = this.signals[0];
    return signal !== undefined && signalLength(signal) > MAX_OPTION_BYTES - TIMESTAMP_OPTION_BYTES;
  }

  /** RFC 8684 (3.3.8): asks the peer to use this subflow as a backup, or no longer so. */
  setBackup(backup: boolean): void {
    this.localBackup = backup;
    this.signal({ kind: 'prio', backup });
  }

  receiveWindowBytes(): number {
    return this.connection.receiveWindowBytes();
  }

  acceptanceEdge(): number {
    // The data-level window is what counts (RFC 8684, 3.3.4); this only keeps the unwrapping of sequence numbers sound.
    return this.rcvNxt + 0x3fff_ffff;
  }

  dataOptionBytes(): number {
    return this.connection.fallback ? 0 : DATA_OPTION_BYTES;
  }

  probeWithNewData(segmentBytes: number, nowMs: number): boolean {
    return this.connection.probeWithNewData(this, segmentBytes, nowMs);
  }

  writeOptions(kind: SegmentKind, out: Uint8Array, at: number, roomBytes: number, record: SegmentRecord | undefined): number {
    return writeSubflowOptions(this, kind, out, at, roomBytes, record);
  }

  processOptions(segment: TcpSegment, nowMs: number): boolean {
    return processSubflowOptions(this, segment, nowMs);
  }

  override dataForSyn(maxBytes: number): Uint8Array {
    return this.role === 'capable-client' ? this.connection.sendBuffer.peek(maxBytes) : super.dataForSyn(maxBytes);
  }

  override onSynAnswered(segment: TcpSegment, nowMs: number): void {
    if (this.role === 'capable-client' && this.fastOpenCookie !== undefined) this.connection.synData.onSynAnswered(this, segment, nowMs);
  }

  onPayload(segment: TcpSegment, offset: number, at: number, length: number, nowMs: number): boolean {
    const { connection } = this;
    if (connection.fallback) return connection.fallbackState.onData(offset, segment.bytes, at, length, nowMs);
    if (connection.fastClose.waiting) return false;
    let from = offset;
    const end = offset + length;
    while (from < end) {
      const mapping = this.mappings.find(from);
      if (mapping === undefined) {
        if (!connection.fallbackState.leavesMptcp || from !== this.rcvNxt) return this.handleUnmapped(offset === this.rcvNxt, nowMs);
        connection.fallbackState.onUnmapped(this, nowMs);
        return connection.fallbackState.onData(offset, segment.bytes, at, length, nowMs);
      }
      const n = Math.min(end, mapping.ssn + mapping.length) - from;
      if (!this.takeMapped(mapping, from, segment.bytes, at + (from - offset), n, nowMs)) return false;
      from += n;
    }
    return true;
  }

  onEstablished(nowMs: number): void {
    this.endPending(false, nowMs);
    // The SYN/ACK of an initial subflow waits for the far side's answer, and tells nothing about the path.
    if (this.role !== 'capable-client' && this.recovery.rtt.srttMs > 0) {
      const rttMs = this.recovery.rtt.srttMs;
      this.recovery.congestion.onHandshake(rttMs, initialWindowBytes(this.mssBytes, rttMs));
    }
    switch (this.role) {
      case 'capable-client':
      case 'capable-server':
        this.confirmed = true;
        this.connection.onInitialEstablished(nowMs);
        if (this.fastOpened && !this.connection.fallback) this.proveEarlyData();
        return;
      case 'join-client':
        this.thirdAckDeadlineMs = nowMs + this.recovery.rtt.rtoMs;
        return;
      case 'join-server':
        // RFC 8684 (3.2): the fourth ACK, so that the other side may send.
        this.confirm(nowMs);
        this.ackNow = true;
    }
  }

  onFinReceived(nowMs: number): void {
    if (this.connection.fallback) this.connection.fallbackState.onFin(this.finReceivedOffset, nowMs);
    else this.connection.markDirty();
  }

  onAcknowledged(): void {
    this.connection.markDirty();
  }

  onClosed(reason: CloseReason, nowMs: number): void {
    this.mappings.clear();
    this.connection.onSubflowClosed(this, reason, nowMs);
  }

  confirm(nowMs: number): void {
    this.confirmed = true;
    this.thirdAckDeadlineMs = NEVER_MS;
    this.connection.onSubflowConfirmed(this, nowMs);
  }

  /** The wire's 32-bit SSN, unwrapped near what is expected. Data that came with the SYN is in no mapping, and not counted (RFC 8684, B.2). */
  nearSsn(ssn: number): number {
    const next = this.rcvNxt - this.receivedWithSynBytes;
    return this.rcvNxt + ((ssn - (next % 0x1_0000_0000)) | 0);
  }

  /**
   * Only now do we know the peer's key: a DATA_ACK tells it so. What we have sent before went without one, and the peer could not acknowledge it on
   * the data level while it had to repeat its keys: a segment below the window makes it do so.
   */
  private proveEarlyData(): void {
    if (this.recovery.sndNxt > 1) sendWindowProbe(this);
    else this.ackNow = true;
  }

  /**
   * RFC 8684 (3.3.1, 3.7): data without a mapping is not ours to acknowledge. In order, nothing can map it any more: a middlebox is at work. Out of order,
   * its mapping may be in a segment that was lost.
   */
  private handleUnmapped(inOrder: boolean, nowMs: number): boolean {
    this.services.count('mptcp-data-without-mapping');
    if (!this.connection.fallbackState.leavesMptcp && inOrder) this.reset(RST_MIDDLEBOX, nowMs);
    return false;
  }

  private takeMapped(mapping: ReceivedMapping, ssn: number, bytes: Uint8Array, at: number, length: number, nowMs: number): boolean {
    const { connection } = this;
    if (connection.fallbackState.failedOffset >= 0) connection.fallbackState.repeatMpFail(this, nowMs);
    if (mapping.checksum < 0) return connection.onData(mapping.dsn + (ssn - mapping.ssn), bytes, at, length, nowMs);
    if (!connection.isInWindow(mapping.dsn, mapping.length)) return false;
    switch (this.mappings.hold(mapping, ssn, bytes, at, length, connection.remoteIdsnHigh, connection.remoteIdsnLow)) {
      case 'held':
        return true;
      case 'good': {
        const held = mapping.held as Uint8Array;
        mapping.held = undefined;
        return connection.onData(mapping.dsn, held, 0, held.length, nowMs);
      }
      case 'bad': {
        const held = mapping.held as Uint8Array;
        mapping.held = undefined;
        return connection.fallbackState.onBadChecksum(this, mapping.dsn, held, nowMs);
      }
    }
  }
}

/**
 * A subflow: one TCP connection on one path that carries a part of an MPTCP connection (RFC 8684, 2). It owns the option side of the handshakes
 * (MP_CAPABLE, MP_JOIN) and hands data, DATA_ACKs and DATA_FINs to its connection.
 */

import type { SegmentRecord } from '../tcp/retransmission-queue.js';
import {
  type CloseReason,
  NEVER_MS,
  type SegmentKind,
  TcpConnection,
  type TcpConnectionOptions,
  type TcpHostServices,
} from '../tcp/tcp-connection.js';
import { acceptSynOptions, closeConnection } from '../tcp/tcp-input.js';
import { sendReset } from '../tcp/tcp-output.js';
import { emitDss } from '../wire/dss.js';
import { emitFastclose } from '../wire/fastclose.js';
import { emitMpCapable, MP_CAPABLE_EXTENSIBILITY, MP_CAPABLE_HMAC_SHA256, MP_CAPABLE_NO_JOIN, MP_CAPABLE_VERSION } from '../wire/mp-capable.js';
import { emitMpJoin } from '../wire/mp-join.js';
import {
  createTcpSegment,
  SEEN_DSS,
  SEEN_MP_CAPABLE,
  SEEN_MP_FASTCLOSE,
  SEEN_MP_JOIN,
  SEEN_MP_PRIO,
  type TcpSegment,
} from '../wire/segment.js';
import { dsnHigh, dsnLow } from '../wire/sequence.js';
import { emitTcpRst } from '../wire/tcp-rst.js';
import type { MptcpConnection } from './connection.js';
import { equalPrefix, joinHmac } from './keys.js';

/** A mapping received: [ssn, ssn + length) is [dsn, dsn + length) of the connection. */
interface ReceivedMapping {
  ssn: number;
  dsn: number;
  length: number;
}

/** Received mappings kept for data that comes without one (RFC 8684, 3.3.1). */
const MAX_RECEIVED_MAPPINGS = 64;
/** DSS with 4-byte DATA_ACK and 8-byte DSN: 22, padded to 24. MP_CAPABLE with data length: 22, the same. */
const DATA_OPTION_BYTES = 24;
/** RFC 8684 (3.6): reasons of MP_TCPRST. */
export const RST_UNSPECIFIED = 0;
export const RST_MPTCP_ERROR = 1;

export type SubflowRole = 'capable-client' | 'capable-server' | 'join-client' | 'join-server';

/** Scratch for emitting: nothing in it outlives a call. */
const scratch = createTcpSegment().mptcp;

export class Subflow extends TcpConnection {
  readonly connection: MptcpConnection;
  readonly role: SubflowRole;
  readonly addressId: number;
  /** The peer asked us to use it as a backup only. */
  remoteBackup = false;
  localNonce = 0;
  remoteNonce = 0;
  /** Data may flow: for a join, the fourth ACK has come (client) or the third (server). */
  confirmed = false;
  /** Its path is known to be silent or gone: not scheduled, what it carried is reinjected. */
  stale = false;
  /** Refreshed by the connection before scheduling. */
  roomBytes = 0;
  resetReason = RST_UNSPECIFIED;
  fastclose = false;
  /** The third ACK of a join is repeated until the fourth comes (RFC 8684, 3.2). */
  thirdAckDeadlineMs = NEVER_MS;
  /** Timeouts in a row that the connection has reacted to. */
  seenTimeoutCount = 0;
  private readonly mappings: ReceivedMapping[] = [];

  constructor(services: TcpHostServices, connection: MptcpConnection, role: SubflowRole, addressId: number, options: TcpConnectionOptions) {
    super(services, options);
    this.connection = connection;
    this.role = role;
    this.addressId = addressId;
    if (role === 'join-client') this.localNonce = services.randomUint32();
  }

  /** May carry new data now, as far as its state and path go. */
  get usable(): boolean {
    return this.confirmed && !this.stale && this.state === 'established';
  }

  /** Smoothed RTT; before a sample, what the path layer knows. */
  get rttMs(): number {
    const srtt = this.recovery.rtt.srttMs;
    return srtt >= 0 ? srtt : this.connection.pathRttMs(this.pathId);
  }

  connect(): void {
    this.setState('active-open');
    this.synDeadlineMs = 0;
  }

  noteSyn(segment: TcpSegment): void {
    acceptSynOptions(this, segment);
    if (this.role === 'capable-server') this.noteCapableFlags(segment.mptcp.mpCapable.flags);
    if (this.role === 'join-server') {
      this.remoteNonce = segment.mptcp.mpJoin.nonce;
      this.remoteBackup = segment.mptcp.mpJoin.backup;
      this.localNonce = this.services.randomUint32();
    }
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

  writeOptions(kind: SegmentKind, out: Uint8Array, at: number, roomBytes: number, record: SegmentRecord | undefined): number {
    if (this.connection.fallback) return 0;
    switch (kind) {
      case 'syn':
        return this.role === 'join-client' ? this.writeMpJoin(12, out, at) : this.writeMpCapable(4, out, at, 0);
      case 'syn-ack':
        return this.role === 'join-server' ? this.writeMpJoin(16, out, at) : this.writeMpCapable(12, out, at, 0);
      case 'third-ack':
        return this.role === 'join-client' ? this.writeMpJoin(24, out, at) : this.writeMpCapable(20, out, at, 0);
      case 'rst':
        return this.writeReset(out, at);
      case 'data':
        return this.writeDataOptions(out, at, record);
      case 'ack':
        return this.writeAckOptions(out, at, roomBytes);
    }
  }

  processOptions(segment: TcpSegment, nowMs: number): boolean {
    const seen = segment.mptcp.seen;
    if (this.connection.fallback) {
      if (this.state !== 'syn-received' || this.role !== 'capable-server') this.connection.noteFallbackAck(this, nowMs);
      return true;
    }
    if (this.state === 'syn-sent' || this.state === 'syn-received') return this.processHandshake(segment, nowMs);
    if (this.role === 'join-client' && !this.confirmed && (seen & SEEN_DSS) !== 0) this.confirm(nowMs);
    if (!this.connection.peerProved && (seen & SEEN_DSS) !== 0) this.connection.notePeerProved();
    if (this.role === 'join-server' && (seen & SEEN_MP_JOIN) !== 0) this.ackNow = true;
    if ((seen & SEEN_MP_FASTCLOSE) !== 0) return this.processFastclose(segment, nowMs);
    if ((seen & SEEN_MP_PRIO) !== 0) this.remoteBackup = segment.mptcp.mpPrio.backup;
    if ((seen & SEEN_MP_CAPABLE) !== 0 && segment.payloadBytes > 0 && segment.mptcp.mpCapable.dataLength > 0) {
      this.addMapping(1, 1, segment.mptcp.mpCapable.dataLength);
    }
    if ((seen & SEEN_DSS) !== 0) return this.processDss(segment, nowMs);
    return this.checkFallback(segment, nowMs);
  }

  onPayload(segment: TcpSegment, offset: number, at: number, length: number, nowMs: number): boolean {
    if (this.connection.fallback) return this.connection.onData(offset, segment.bytes, at, length, nowMs);
    let from = offset;
    const end = offset + length;
    while (from < end) {
      const mapping = this.findMapping(from);
      if (mapping === undefined) {
        this.services.count('mptcp-data-without-mapping');
        return false;
      }
      const n = Math.min(end, mapping.ssn + mapping.length) - from;
      if (!this.connection.onData(mapping.dsn + (from - mapping.ssn), segment.bytes, at + (from - offset), n, nowMs)) return false;
      from += n;
    }
    return true;
  }

  onEstablished(nowMs: number): void {
    switch (this.role) {
      case 'capable-client':
      case 'capable-server':
        this.confirmed = true;
        this.connection.onInitialEstablished(nowMs);
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
    if (this.connection.fallback) this.connection.onDataFin(this.finReceivedOffset, nowMs);
    else this.connection.onSubflowFin(this, nowMs);
  }

  onAcknowledged(): void {
    this.connection.markDirty();
  }

  onClosed(reason: CloseReason, nowMs: number): void {
    this.mappings.length = 0;
    this.connection.onSubflowClosed(this, reason, nowMs);
  }

  private noteCapableFlags(flags: number): void {
    this.connection.remoteDeniesJoin = (flags & MP_CAPABLE_NO_JOIN) !== 0;
  }

  private confirm(nowMs: number): void {
    this.confirmed = true;
    this.thirdAckDeadlineMs = NEVER_MS;
    this.connection.onSubflowConfirmed(this, nowMs);
  }

  private processHandshake(segment: TcpSegment, nowMs: number): boolean {
    const options = segment.mptcp;
    switch (this.role) {
      case 'capable-client': {
        const capable = options.mpCapable;
        const usable = (options.seen & SEEN_MP_CAPABLE) !== 0 && capable.length === 12 && capable.version === MP_CAPABLE_VERSION;
        if (usable && (capable.flags & MP_CAPABLE_HMAC_SHA256) !== 0 && (capable.flags & MP_CAPABLE_EXTENSIBILITY) === 0) {
          this.connection.setRemoteKey(capable.senderKey.slice());
          this.noteCapableFlags(capable.flags);
        } else this.connection.fallBack(this);
        return true;
      }
      case 'capable-server':
        return this.processThirdAck(segment, nowMs);
      case 'join-client': {
        const expected = joinHmac(this.connection.remoteKey, this.connection.local.key, options.mpJoin.nonce, this.localNonce);
        if ((options.seen & SEEN_MP_JOIN) === 0 || options.mpJoin.length !== 16 || !equalPrefix(options.mpJoin.hmac, expected, 8)) {
          return this.refuseJoin('mptcp-join-bad-syn-ack', nowMs);
        }
        this.remoteNonce = options.mpJoin.nonce;
        this.remoteBackup = options.mpJoin.backup;
        return true;
      }
      case 'join-server': {
        const expected = joinHmac(this.connection.remoteKey, this.connection.local.key, this.remoteNonce, this.localNonce);
        if ((options.seen & SEEN_MP_JOIN) === 0 || options.mpJoin.length !== 24 || !equalPrefix(options.mpJoin.hmac, expected, 20)) {
          return this.refuseJoin('mptcp-join-bad-ack', nowMs);
        }
        return true;
      }
    }
  }

  /** RFC 8684 (3.1): the third ACK, or the first data when it was lost, carries both keys; without them it is plain TCP (3.7). */
  private processThirdAck(segment: TcpSegment, nowMs: number): boolean {
    const capable = segment.mptcp.mpCapable;
    if ((segment.mptcp.seen & SEEN_MP_CAPABLE) === 0 || capable.length < 20) {
      this.connection.fallBack(this);
      return true;
    }
    if (!equalPrefix(capable.receiverKey, this.connection.local.key, 8)) {
      this.services.count('mptcp-third-ack-wrong-key');
      this.reset(RST_MPTCP_ERROR, nowMs);
      return false;
    }
    this.connection.setRemoteKey(capable.senderKey.slice());
    this.connection.notePeerProved();
    if (segment.payloadBytes > 0 && capable.dataLength > 0) this.addMapping(1, 1, capable.dataLength);
    this.connection.handleDataAck(1, segment.window * 2 ** this.sendWindowScale);
    return true;
  }

  private refuseJoin(counter: string, nowMs: number): boolean {
    this.services.count(counter);
    this.reset(RST_MPTCP_ERROR, nowMs);
    return false;
  }

  /** RFC 8684 (3.5): only our key makes it valid. */
  private processFastclose(segment: TcpSegment, nowMs: number): boolean {
    if (!equalPrefix(segment.mptcp.fastcloseKey, this.connection.local.key, 8)) {
      this.services.count('mptcp-fastclose-wrong-key');
      return true;
    }
    this.connection.onFastclose(nowMs);
    return false;
  }

  private processDss(segment: TcpSegment, nowMs: number): boolean {
    const dss = segment.mptcp.dss;
    const connection = this.connection;
    if (dss.dataAckBytes !== 0) {
      const ack =
        dss.dataAckBytes === 8 ? connection.sendOffset64(dss.dataAckHigh, dss.dataAckLow) : connection.sendOffset32(dss.dataAckLow);
      if (ack >= 0) connection.handleDataAck(ack, segment.window * 2 ** this.sendWindowScale);
    }
    if (dss.dsnBytes === 0) return true;
    const dsn = dss.dsnBytes === 8 ? connection.receiveOffset64(dss.dsnHigh, dss.dsnLow) : connection.receiveOffset32(dss.dsnLow);
    if (dsn < 0) {
      this.services.count('mptcp-dsn-out-of-range');
      return true;
    }
    const dataLength = dss.dataLength - (dss.dataFin ? 1 : 0);
    if (dataLength > 0) this.addMapping(this.nearSsn(dss.subflowSequenceNumber), dsn, dataLength);
    if (dss.dataFin) {
      this.ackNow = true;
      connection.onDataFin(dsn + dataLength, nowMs);
    }
    return this.closeReason === undefined;
  }

  /** RFC 8684 (3.7): before MPTCP is proved in both directions, data without options means that something strips them. */
  private checkFallback(segment: TcpSegment, nowMs: number): boolean {
    if (this.connection.peerProved || this.role !== 'capable-client') return true;
    if (segment.payloadBytes > 0 || this.recovery.sndUna > 1) {
      this.connection.fallBack(this);
      this.connection.noteFallbackAck(this, nowMs);
    }
    return true;
  }

  /** The wire's 32-bit SSN, unwrapped near what is expected. */
  private nearSsn(ssn: number): number {
    return this.rcvNxt + ((ssn - (this.rcvNxt % 0x1_0000_0000)) | 0);
  }

  private addMapping(ssn: number, dsn: number, length: number): void {
    const mappings = this.mappings;
    for (let i = mappings.length - 1; i >= 0; i--) {
      const known = mappings[i] as ReceivedMapping;
      if (known.ssn === ssn && known.length === length) return;
    }
    // Old ones go first: what lies below rcvNxt is never asked for again.
    while (
      mappings.length > 0 &&
      ((mappings[0] as ReceivedMapping).ssn + (mappings[0] as ReceivedMapping).length <= this.rcvNxt ||
        mappings.length >= MAX_RECEIVED_MAPPINGS)
    ) {
      mappings.shift();
    }
    mappings.push({ ssn, dsn, length });
  }

  private findMapping(ssn: number): ReceivedMapping | undefined {
    for (let i = this.mappings.length - 1; i >= 0; i--) {
      const mapping = this.mappings[i] as ReceivedMapping;
      if (ssn >= mapping.ssn && ssn < mapping.ssn + mapping.length) return mapping;
    }
    return undefined;
  }

  private writeMpCapable(length: number, out: Uint8Array, at: number, dataLength: number): number {
    const option = scratch.mpCapable;
    option.version = MP_CAPABLE_VERSION;
    option.flags = MP_CAPABLE_HMAC_SHA256;
    option.length = length;
    option.senderKey = this.connection.local.key;
    option.receiverKey = this.connection.remoteKey;
    option.dataLength = dataLength;
    return emitMpCapable(out, at, option);
  }

  private writeMpJoin(length: number, out: Uint8Array, at: number): number {
    const option = scratch.mpJoin;
    const connection = this.connection;
    option.length = length;
    option.backup = false;
    option.addressId = this.addressId;
    option.token = connection.remoteToken;
    option.nonce = this.localNonce;
    if (length !== 12) option.hmac = joinHmac(connection.local.key, connection.remoteKey, this.localNonce, this.remoteNonce);
    return emitMpJoin(out, at, option);
  }

  private writeReset(out: Uint8Array, at: number): number {
    if (!this.connection.hasRemoteKey) return 0;
    let n = 0;
    if (this.fastclose) n += emitFastclose(out, at, this.connection.remoteKey);
    return n + emitTcpRst(out, at + n, 0, this.resetReason);
  }

  private writeDataOptions(out: Uint8Array, at: number, record: SegmentRecord | undefined): number {
    const connection = this.connection;
    const mapping = record?.mapping;
    if (this.role === 'capable-client' && !connection.peerProved && mapping !== undefined && mapping.dsn === 1) {
      return this.writeMpCapable(22, out, at, mapping.length);
    }
    const dss = scratch.dss;
    this.putDataAck();
    dss.dataFin = false;
    dss.hasChecksum = false;
    dss.dsnBytes = mapping === undefined ? 0 : 8;
    if (mapping !== undefined) {
      dss.dsnHigh = dsnHigh(connection.local.idsnHigh, connection.local.idsnLow, mapping.dsn);
      dss.dsnLow = dsnLow(connection.local.idsnLow, mapping.dsn);
      dss.subflowSequenceNumber = mapping.ssn % 0x1_0000_0000;
      dss.dataLength = mapping.length;
    }
    return emitDss(out, at, dss);
  }

  private writeAckOptions(out: Uint8Array, at: number, _roomBytes: number): number {
    const connection = this.connection;
    if (this.role === 'capable-client' && !connection.peerProved) return this.writeMpCapable(20, out, at, 0);
    const dss = scratch.dss;
    this.putDataAck();
    dss.hasChecksum = false;
    dss.dataFin = connection.dataFinToSend;
    dss.dsnBytes = 0;
    if (dss.dataFin) {
      // RFC 8684 (3.3.3): alone, a DATA_FIN maps one byte at SSN 0.
      dss.dsnBytes = 8;
      dss.dsnHigh = dsnHigh(connection.local.idsnHigh, connection.local.idsnLow, connection.dataFinOffset);
      dss.dsnLow = dsnLow(connection.local.idsnLow, connection.dataFinOffset);
      dss.subflowSequenceNumber = 0;
      dss.dataLength = 1;
    }
    return emitDss(out, at, dss);
  }

  private putDataAck(): void {
    const dss = scratch.dss;
    dss.dataAckBytes = 4;
    dss.dataAckLow = this.connection.dataAckWire();
  }
}

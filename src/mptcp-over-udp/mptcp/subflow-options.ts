/** The MPTCP options that a subflow writes, by kind of segment (RFC 8684, 3.1-3.7). */

import type { DssMapping, SegmentRecord } from '../tcp/retransmission-queue.js';
import type { SegmentKind } from '../tcp/tcp-connection.js';
import { emitDss } from '../wire/dss.js';
import { emitFastclose } from '../wire/fastclose.js';
import { emitMpCapable, MP_CAPABLE_CHECKSUM_REQUIRED, MP_CAPABLE_HMAC_SHA256, MP_CAPABLE_NO_JOIN } from '../wire/mp-capable.js';
import { emitMpJoin } from '../wire/mp-join.js';
import { createTcpSegment } from '../wire/segment.js';
import { dsnHigh, dsnLow } from '../wire/sequence.js';
import { emitTcpRst } from '../wire/tcp-rst.js';
import { joinHmac } from './keys.js';
import { emitSignal, signalLength } from './path-signals.js';
import { mappingChecksum } from './received-mappings.js';
import type { Subflow } from './subflow.js';

/** DSS with 4-byte DATA_ACK and 8-byte DSN: 22, padded to 24; with a checksum just 24. MP_CAPABLE with data: the same. */
export const DATA_OPTION_BYTES = 24;

/** Scratch for emitting: nothing in it outlives a call. */
const scratch = createTcpSegment().mptcp;
const EMPTY = new Uint8Array(0);

export function writeSubflowOptions(
  s: Subflow,
  kind: SegmentKind,
  out: Uint8Array,
  at: number,
  roomBytes: number,
  record: SegmentRecord | undefined,
): number {
  if (s.connection.fallback) return writeInFallback(s, kind, out, at, record);
  switch (kind) {
    case 'syn':
      if (s.role === 'join-client') return writeMpJoin(s, 12, out, at);
      if (s.synCount > s.connection.host.capableSynCount) return 0;
      // RFC 6824 (3.1): version 0 shows its key at once.
      return writeMpCapable(s, s.connection.version === 0 ? 12 : 4, out, at, 0, 0);
    case 'syn-ack':
      return s.role === 'join-server' ? writeMpJoin(s, 16, out, at) : writeMpCapable(s, 12, out, at, 0, 0);
    case 'third-ack':
      return s.role === 'join-client' ? writeMpJoin(s, 24, out, at) : writeMpCapable(s, 20, out, at, 0, 0);
    case 'rst':
      return writeReset(s, out, at);
    case 'data':
      return writeDataOptions(s, out, at, record);
    case 'ack':
      return writeAckOptions(s, out, at, roomBytes);
  }
}

/**
 * RFC 8684 (3.7): no option any more, but for the infinite mapping, what was mapped before it (the peer may not have it yet), and the MP_FAIL that
 * brought it about.
 */
function writeInFallback(s: Subflow, kind: SegmentKind, out: Uint8Array, at: number, record: SegmentRecord | undefined): number {
  if (kind === 'ack') {
    const signal = s.signals.shift();
    return signal?.kind === 'fail' ? emitSignal(out, at, signal) : 0;
  }
  if (kind !== 'data' || record?.mapping === undefined || !s.connection.fallbackState.keepsMappings) return 0;
  return emitMapping(s, out, at, record.mapping);
}

function writeMpCapable(s: Subflow, length: number, out: Uint8Array, at: number, dataLength: number, checksum: number): number {
  const { connection } = s;
  const option = scratch.mpCapable;
  option.version = connection.version;
  option.flags =
    MP_CAPABLE_HMAC_SHA256 |
    (connection.checksum ? MP_CAPABLE_CHECKSUM_REQUIRED : 0) |
    (connection.host.denyJoinInitial ? MP_CAPABLE_NO_JOIN : 0);
  option.length = length;
  option.senderKey = connection.local.key;
  option.receiverKey = connection.remoteKey;
  option.dataLength = dataLength;
  option.checksum = checksum;
  return emitMpCapable(out, at, option);
}

function writeMpJoin(s: Subflow, length: number, out: Uint8Array, at: number): number {
  const { connection } = s;
  const option = scratch.mpJoin;
  option.length = length;
  option.backup = s.localBackup;
  option.addressId = s.addressId;
  option.token = connection.remoteToken;
  option.nonce = s.localNonce;
  if (length !== 12) option.hmac = joinHmac(connection.local.key, connection.remoteKey, s.localNonce, s.remoteNonce, connection.version);
  return emitMpJoin(out, at, option);
}

function writeReset(s: Subflow, out: Uint8Array, at: number): number {
  const { connection } = s;
  let n = 0;
  for (const signal of s.signals) if (signal.kind === 'fail') n += emitSignal(out, at, signal);
  if (s.fastclose && connection.hasRemoteKey) n += emitFastclose(out, at + n, connection.remoteKey);
  return connection.version === 0 ? n : n + emitTcpRst(out, at + n, 0, s.resetReason);
}

function writeDataOptions(s: Subflow, out: Uint8Array, at: number, record: SegmentRecord | undefined): number {
  const { connection } = s;
  const mapping = record?.mapping;
  const mayShowKeys = s.role === 'capable-client' && !connection.peerProved && connection.version === 1;
  if (mayShowKeys && mapping !== undefined && mapping.dsn === 1) {
    return writeMpCapable(s, connection.checksum ? 24 : 22, out, at, mapping.length, mapping.checksum);
  }
  return emitMapping(s, out, at, mapping);
}

function emitMapping(s: Subflow, out: Uint8Array, at: number, mapping: DssMapping | undefined): number {
  const dss = scratch.dss;
  putDataAck(s);
  dss.dataFin = false;
  dss.dsnBytes = mapping === undefined ? 0 : 8;
  dss.hasChecksum = s.connection.checksum && mapping !== undefined;
  if (mapping !== undefined) {
    putDsn(s, mapping.dsn);
    // RFC 8684 (B.2): what went with the SYN does not count.
    dss.subflowSequenceNumber = (mapping.ssn - s.sentWithSynBytes) % 0x1_0000_0000;
    dss.dataLength = mapping.length;
    dss.checksum = mapping.checksum;
  }
  return emitDss(out, at, dss);
}

function writeAckOptions(s: Subflow, out: Uint8Array, at: number, roomBytes: number): number {
  const { connection } = s;
  // A DATA_FIN takes the place of the repeated keys: a client that sends nothing would wait for ever for a peer that does the same.
  if (s.role === 'capable-client' && !connection.peerProved && !connection.dataFinToSend) return writeMpCapable(s, 20, out, at, 0, 0);
  const signal = s.signals[0];
  const signalBytes = signal === undefined ? 0 : signalLength(signal);
  let n = 0;
  // ADD_ADDR with IPv6 and timestamps leaves no room for a DSS (RFC 8684, 3.4.1).
  if (signalBytes + 8 <= roomBytes) {
    const dss = scratch.dss;
    putDataAck(s);
    dss.hasChecksum = false;
    dss.dataFin = connection.dataFinToSend && signalBytes + DATA_OPTION_BYTES <= roomBytes;
    dss.dsnBytes = 0;
    if (dss.dataFin) putDataFin(s);
    n += emitDss(out, at, dss);
  }
  if (signal !== undefined && n + signalBytes <= roomBytes) {
    n += emitSignal(out, at + n, signal);
    s.signals.shift();
  }
  return n;
}

/** RFC 8684 (3.3.3): alone, a DATA_FIN maps one byte at SSN 0. */
function putDataFin(s: Subflow): void {
  const { connection } = s;
  const dss = scratch.dss;
  dss.dsnBytes = 8;
  putDsn(s, connection.dataFinOffset);
  dss.subflowSequenceNumber = 0;
  dss.dataLength = 1;
  dss.hasChecksum = connection.checksum;
  if (connection.checksum) {
    const { idsnHigh, idsnLow } = connection.local;
    dss.checksum = mappingChecksum(idsnHigh, idsnLow, connection.dataFinOffset, 0, 0, true, EMPTY, 0);
  }
}

function putDsn(s: Subflow, dsn: number): void {
  const { local } = s.connection;
  scratch.dss.dsnHigh = dsnHigh(local.idsnHigh, local.idsnLow, dsn);
  scratch.dss.dsnLow = dsnLow(local.idsnLow, dsn);
}

function putDataAck(s: Subflow): void {
  // A server that was opened fast may send before it knows the client's key.
  scratch.dss.dataAckBytes = s.connection.hasRemoteKey ? 4 : 0;
  scratch.dss.dataAckLow = s.connection.dataAckWire();
}

/** The MPTCP options of a segment that has arrived on a subflow: handshakes (RFC 8684, 3.1, 3.2), DSS (3.3), signals (3.4-3.7). */

import { MP_CAPABLE_CHECKSUM_REQUIRED, MP_CAPABLE_EXTENSIBILITY, MP_CAPABLE_HMAC_SHA256, MP_CAPABLE_NO_JOIN } from '../wire/mp-capable.js';
import {
  ACK,
  RST,
  SEEN_ADD_ADDR,
  SEEN_DSS,
  SEEN_MP_CAPABLE,
  SEEN_MP_FAIL,
  SEEN_MP_FASTCLOSE,
  SEEN_MP_JOIN,
  SEEN_MP_PRIO,
  SEEN_MP_TCPRST,
  SEEN_REMOVE_ADDR,
  type TcpSegment,
} from '../wire/segment.js';
import { equalPrefix, joinHmac } from './keys.js';
import { addAddrHmac } from './path-signals.js';
import { RST_MPTCP_ERROR, type Subflow } from './subflow.js';

/** False: the subflow is gone. */
export function processSubflowOptions(s: Subflow, segment: TcpSegment, nowMs: number): boolean {
  const { connection } = s;
  const { seen } = segment.mptcp;
  if ((segment.flags & RST) !== 0) return processReset(s, segment, nowMs);
  if (connection.fallback) {
    if (s.state !== 'syn-received') connection.fallbackState.noteAck(s);
    return true;
  }
  if (s.state === 'syn-sent' || s.state === 'syn-received') return processHandshake(s, segment, nowMs);
  if (s.role === 'join-client' && !s.confirmed && (seen & SEEN_DSS) !== 0) s.confirm(nowMs);
  if (!connection.peerProved && (seen & SEEN_DSS) !== 0 && provesKeys(s, segment)) connection.notePeerProved();
  if (s.role === 'join-server' && (seen & SEEN_MP_JOIN) !== 0) s.ackNow = true;
  if ((seen & SEEN_MP_FASTCLOSE) !== 0 && !processFastclose(s, segment, nowMs)) return false;
  processSignals(s, segment, nowMs);
  if ((seen & SEEN_MP_CAPABLE) !== 0 && segment.payloadBytes > 0 && segment.mptcp.mpCapable.dataLength > 0) addFirstMapping(s, segment);
  if ((seen & SEEN_DSS) !== 0) {
    connection.dataOptionsSeen = true;
    return processDss(s, segment, nowMs);
  }
  return checkFallback(s, segment);
}

/** RFC 8684 (3.1): a DATA_ACK says that the peer has our key. A server that was opened fast sends data before (errata 6609). */
function provesKeys(s: Subflow, segment: TcpSegment): boolean {
  return s.role !== 'capable-client' || segment.mptcp.dss.dataAckBytes !== 0;
}

function processHandshake(s: Subflow, segment: TcpSegment, nowMs: number): boolean {
  switch (s.role) {
    case 'capable-client':
      // SYNs that cross give no keys in the order that RFC 8684 (3.1) wants: plain TCP.
      if ((segment.flags & ACK) === 0) s.connection.fallbackState.start(s);
      else processCapableSynAck(s, segment);
      return true;
    case 'capable-server':
      return processThirdAck(s, segment, nowMs);
    case 'join-client':
      return processJoinSynAck(s, segment, nowMs);
    case 'join-server':
      return processJoinAck(s, segment, nowMs);
  }
}

function processCapableSynAck(s: Subflow, segment: TcpSegment): void {
  const { connection } = s;
  const { seen, mpCapable } = segment.mptcp;
  const usable = (seen & SEEN_MP_CAPABLE) !== 0 && mpCapable.length === 12 && mpCapable.version === connection.version;
  if (!usable || (mpCapable.flags & MP_CAPABLE_HMAC_SHA256) === 0 || (mpCapable.flags & MP_CAPABLE_EXTENSIBILITY) !== 0) {
    connection.fallbackState.start(s);
    return;
  }
  connection.setRemoteKey(mpCapable.senderKey.slice());
  noteCapableFlags(s, mpCapable.flags);
}

function noteCapableFlags(s: Subflow, flags: number): void {
  if ((flags & MP_CAPABLE_CHECKSUM_REQUIRED) !== 0) s.connection.checksum = true;
  if ((flags & MP_CAPABLE_NO_JOIN) !== 0) s.connection.remoteDeniesJoinInitial = true;
}

/** RFC 8684 (3.1): the third ACK, or the first data when it was lost, carries both keys; without them it is plain TCP (3.7). */
function processThirdAck(s: Subflow, segment: TcpSegment, nowMs: number): boolean {
  const { connection } = s;
  const { mpCapable } = segment.mptcp;
  // RFC 6824 (3.1): version 0 knew the key from the SYN, and a DSS is proof enough.
  const isVersion0Data = connection.version === 0 && (segment.mptcp.seen & SEEN_DSS) !== 0;
  if (isVersion0Data) {
    connection.notePeerProved();
    connection.dataOptionsSeen = true;
    return processDss(s, segment, nowMs);
  }
  if ((segment.mptcp.seen & (SEEN_MP_CAPABLE | SEEN_DSS)) === SEEN_DSS) {
    // Options pass; what carried the keys was lost, and comes again when the SYN/ACK does.
    s.synDeadlineMs = nowMs + s.recovery.rtt.rtoMs;
    return false;
  }
  if ((segment.mptcp.seen & SEEN_MP_CAPABLE) === 0 || mpCapable.length < 20) {
    connection.fallbackState.start(s);
    return true;
  }
  if (!equalPrefix(mpCapable.receiverKey, connection.local.key, 8)) {
    s.services.count('mptcp-third-ack-wrong-key');
    s.reset(RST_MPTCP_ERROR, nowMs);
    return false;
  }
  connection.setRemoteKey(mpCapable.senderKey.slice());
  connection.notePeerProved();
  if (segment.payloadBytes > 0 && mpCapable.dataLength > 0) addFirstMapping(s, segment);
  connection.handleDataAck(1, segment.window * 2 ** s.sendWindowScale);
  return true;
}

function addFirstMapping(s: Subflow, segment: TcpSegment): void {
  const { mpCapable } = segment.mptcp;
  s.connection.dataOptionsSeen = true;
  s.mappings.add(1 + s.receivedWithSynBytes, 1, mpCapable.dataLength, mpCapable.length === 24 ? mpCapable.checksum : -1, false, s.rcvNxt);
}

function processJoinSynAck(s: Subflow, segment: TcpSegment, nowMs: number): boolean {
  const { connection } = s;
  const { seen, mpJoin } = segment.mptcp;
  const expected = joinHmac(connection.remoteKey, connection.local.key, mpJoin.nonce, s.localNonce, connection.version);
  if ((seen & SEEN_MP_JOIN) === 0 || mpJoin.length !== 16 || !equalPrefix(mpJoin.hmac, expected, 8)) {
    return refuseJoin(s, 'mptcp-join-bad-syn-ack', nowMs);
  }
  s.remoteNonce = mpJoin.nonce;
  s.remoteBackup = mpJoin.backup;
  s.remoteAddressId = mpJoin.addressId;
  return true;
}

function processJoinAck(s: Subflow, segment: TcpSegment, nowMs: number): boolean {
  const { connection } = s;
  const { seen, mpJoin } = segment.mptcp;
  const expected = joinHmac(connection.remoteKey, connection.local.key, s.remoteNonce, s.localNonce, connection.version);
  if ((seen & SEEN_MP_JOIN) === 0 || mpJoin.length !== 24 || !equalPrefix(mpJoin.hmac, expected, 20)) {
    return refuseJoin(s, 'mptcp-join-bad-ack', nowMs);
  }
  return true;
}

/** RFC 8684 (3.2): a join never falls back. */
function refuseJoin(s: Subflow, counter: string, nowMs: number): boolean {
  s.services.count(counter);
  s.reset(RST_MPTCP_ERROR, nowMs);
  return false;
}

/** An RST in the window: MP_TCPRST tells why (3.6), FASTCLOSE that the whole connection ends (3.5), MP_FAIL which data was bad (3.7). */
function processReset(s: Subflow, segment: TcpSegment, nowMs: number): boolean {
  const { seen } = segment.mptcp;
  if ((seen & SEEN_MP_TCPRST) !== 0) s.remoteResetReason = segment.mptcp.tcpRst.reason;
  if ((seen & SEEN_MP_FASTCLOSE) !== 0 && !s.connection.fallback) return processFastclose(s, segment, nowMs);
  return true;
}

/** RFC 8684 (3.5): only our key makes it valid. False: the connection is gone. */
function processFastclose(s: Subflow, segment: TcpSegment, nowMs: number): boolean {
  if (!equalPrefix(segment.mptcp.fastcloseKey, s.connection.local.key, 8)) {
    s.services.count('mptcp-fastclose-wrong-key');
    return true;
  }
  s.connection.onFastclose(nowMs, (segment.flags & RST) !== 0 ? s : undefined);
  return false;
}

function processSignals(s: Subflow, segment: TcpSegment, nowMs: number): void {
  const { seen } = segment.mptcp;
  if ((seen & (SEEN_MP_PRIO | SEEN_ADD_ADDR | SEEN_REMOVE_ADDR | SEEN_MP_FAIL)) === 0) return;
  if ((seen & SEEN_MP_PRIO) !== 0) processMpPrio(s, segment, nowMs);
  if ((seen & SEEN_ADD_ADDR) !== 0) processAddAddr(s, segment, nowMs);
  if ((seen & SEEN_REMOVE_ADDR) !== 0) {
    const { removeAddrIds, removeAddrCount } = segment.mptcp;
    s.connection.addresses.onRemoved(removeAddrIds.slice(0, removeAddrCount), nowMs);
  }
  if ((seen & SEEN_MP_FAIL) !== 0) s.connection.fallbackState.onMpFail(s, segment.mptcp.mpFail.dsnHigh, segment.mptcp.mpFail.dsnLow);
}

/** RFC 8684 (3.3.8): asks us to change our sending on this subflow. */
function processMpPrio(s: Subflow, segment: TcpSegment, nowMs: number): void {
  const { backup } = segment.mptcp.mpPrio;
  if (s.remoteBackup === backup) return;
  s.remoteBackup = backup;
  s.connection.host.events?.onPriority?.(s.connection, s, backup, nowMs);
}

/** RFC 8684 (3.4.1): believed only with the HMAC, echoed at once. */
function processAddAddr(s: Subflow, segment: TcpSegment, nowMs: number): void {
  const { connection } = s;
  const option = segment.mptcp.addAddr;
  const address = option.address.slice(0, option.ipVersion === 4 ? 4 : 16);
  const announced = { addressId: option.addressId, address, port: option.port };
  if (connection.version === 0) {
    // RFC 6824 (3.4.1): neither HMAC nor echo.
    if (option.isVersion0) connection.addresses.onAnnounced(announced, nowMs);
    return;
  }
  if (option.isVersion0) return;
  if (option.echo) {
    connection.addresses.onEcho(announced);
    return;
  }
  const expected = addAddrHmac(connection.remoteKey, connection.local.key, option.addressId, address, option.port);
  if (!equalPrefix(option.hmac, expected, 8)) {
    s.services.count('mptcp-add-addr-bad-hmac');
    return;
  }
  s.signal({ kind: 'echo', address: announced });
  connection.addresses.onAnnounced(announced, nowMs);
}

function processDss(s: Subflow, segment: TcpSegment, nowMs: number): boolean {
  const dss = segment.mptcp.dss;
  const connection = s.connection;
  if (dss.dataAckBytes !== 0) {
    const ack = dss.dataAckBytes === 8 ? connection.sendOffset64(dss.dataAckHigh, dss.dataAckLow) : connection.sendOffset32(dss.dataAckLow);
    if (ack >= 0) connection.handleDataAck(ack, segment.window * 2 ** s.sendWindowScale);
  }
  if (dss.dsnBytes === 0) return true;
  const dsn = dss.dsnBytes === 8 ? connection.receiveOffset64(dss.dsnHigh, dss.dsnLow) : connection.receiveOffset32(dss.dsnLow);
  if (dsn < 0) {
    s.services.count('mptcp-dsn-out-of-range');
    return true;
  }
  if (dss.dataLength === 0) return connection.fallbackState.onInfiniteMapping(s, dsn, s.nearSsn(dss.subflowSequenceNumber), nowMs);
  // RFC 8684 (3.3.1): a checksum other than negotiated is an error of the subflow.
  if (dss.hasChecksum !== connection.checksum) {
    s.services.count('mptcp-checksum-not-as-negotiated');
    s.reset(RST_MPTCP_ERROR, nowMs);
    return false;
  }
  const dataLength = dss.dataLength - (dss.dataFin ? 1 : 0);
  const checksum = dss.hasChecksum ? dss.checksum : -1;
  if (dataLength > 0 && !s.mappings.add(s.nearSsn(dss.subflowSequenceNumber), dsn, dataLength, checksum, dss.dataFin, s.rcvNxt)) {
    s.services.count('mptcp-mapping-contradicts');
  }
  if (dss.dataFin) {
    const isNew = connection.remoteDataFinOffset < 0;
    connection.onDataFin(dsn + dataLength, nowMs);
    // While data is missing before it, a repeated one on an ACK is not answered: our ACKs carry our own, and so each would be an answer to the other.
    if (isNew || segment.payloadBytes > 0 || connection.dataAckOffset > dsn + dataLength) s.ackNow = true;
  }
  return s.closeReason === undefined;
}

/** RFC 8684 (3.7): before MPTCP is proved in both directions, data or its acknowledgement without options means that something strips them. */
function checkFallback(s: Subflow, segment: TcpSegment): boolean {
  const { connection } = s;
  if (connection.dataOptionsSeen || (segment.mptcp.seen & SEEN_MP_CAPABLE) !== 0) return true;
  // An ACK that brings another MPTCP option, as the echo of an ADD_ADDR that Linux sends without a DSS, was not stripped.
  if (segment.mptcp.seen !== 0 && segment.payloadBytes === 0) return true;
  if (segment.payloadBytes > 0 || s.recovery.sndUna > 1 + s.sentWithSynBytes) {
    connection.fallbackState.start(s);
    connection.fallbackState.noteAck(s);
  }
  return true;
}

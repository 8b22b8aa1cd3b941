/** The output phase: segments from state (RFC 9293, 3.8 and 3.10.2-5; pacing; RFC 9293 3.8.6.3 for ACKs). */

import { emitFastOpen, FAST_OPEN_REQUEST_LENGTH } from '../wire/fast-open.js';
import { ACK, FIN, PSH, RST, SYN } from '../wire/segment.js';
import { seqAdd } from '../wire/sequence.js';
import { emitMss, emitSack, emitSackPermitted, emitTimestamps, emitWindowScale, OPTION_NOP } from '../wire/tcp-options.js';
import { MAX_OPTION_BYTES } from './header-template.js';
import type { PayloadBlock } from './payload-block.js';
import type { DssMapping, SegmentRecord } from './retransmission-queue.js';
import { NEVER_MS, type SegmentKind, type TcpConnection } from './tcp-connection.js';

const EMPTY = new Uint8Array(0);
/** One super-segment: what an IP packet holds, and what natives cut in one call. */
export const MAX_SUPER_SEGMENT_BYTES = 60_000;
/** What one visit may send of paced data: so much time's worth. Timers tick in about a millisecond. */
const PACING_QUANTUM_MS = 1;
/** A late timer is made up for by this much. */
const PACING_CREDIT_MS = 2;
const PACING_SLACK_MS = 0.05;

/** ACKs in a row that report what changed, when it is more than one can hold. */
const MAX_SACK_ACKS = 15;

const sackEdges = new Float64Array(8);
const sackWire = new Uint32Array(8);

/** Writes the options of a segment into the template; returns where they end. */
function writeAllOptions(c: TcpConnection, kind: SegmentKind, record: SegmentRecord | undefined): number {
  const out = c.template.bytes;
  const start = c.template.optionsAt;
  let at = start;
  if (kind === 'syn' || kind === 'syn-ack') {
    at += emitMss(out, at, c.announcedMssBytes());
    if (kind === 'syn' || c.sackEnabled) at += emitSackPermitted(out, at);
    if (kind === 'syn' || c.scaling) at += emitWindowScale(out, at, c.receiveWindowScale);
  }
  const withTimestamps = kind === 'syn' ? c.timestampsOffered : c.timestamps && (kind !== 'ack' || !c.needsAllOptionSpace());
  if (withTimestamps) at += writeTimestamps(c, out, at);
  at += c.writeOptions(kind, out, at, start + MAX_OPTION_BYTES - at, record);
  // RFC 7413 (4.1.3.1): a SYN that is repeated goes without.
  if (c.fastOpenCookie !== undefined && (kind === 'syn-ack' || (kind === 'syn' && c.synCount === 1))) {
    if (at + FAST_OPEN_REQUEST_LENGTH + c.fastOpenCookie.length <= start + MAX_OPTION_BYTES) at += emitFastOpen(out, at, c.fastOpenCookie);
  }
  if (kind === 'ack' && c.sackEnabled && (c.received.count > 0 || c.duplicateStart >= 0))
    at += writeSack(c, out, at, start + MAX_OPTION_BYTES - at);
  return at;
}

function writeTimestamps(c: TcpConnection, out: Uint8Array, at: number): number {
  out[at] = OPTION_NOP;
  out[at + 1] = OPTION_NOP;
  return 2 + emitTimestamps(out, at + 2, c.timestampNow(), c.timestampRecent);
}

function writeSack(c: TcpConnection, out: Uint8Array, at: number, roomBytes: number): number {
  const blocks = Math.min(4, Math.floor((roomBytes - 2) / 8));
  if (blocks <= 0) return 0;
  let n = 0;
  if (c.duplicateStart >= 0) {
    // RFC 2883 (4): the first block tells what came twice.
    sackEdges[0] = c.duplicateStart;
    sackEdges[1] = c.duplicateEnd;
    c.duplicateStart = -1;
    n = 1 + c.received.report(sackEdges.subarray(2), blocks - 1);
  } else n = c.received.report(sackEdges, blocks);
  for (let i = 0; i < 2 * n; i++) sackWire[i] = seqAdd(c.irs, (sackEdges[i] as number) % 0x1_0000_0000);
  return n === 0 ? 0 : emitSack(out, at, sackWire, n);
}

function windowField(c: TcpConnection, kind: SegmentKind): number {
  const bytes = c.receiveWindowBytes();
  if (kind === 'syn' || kind === 'syn-ack' || !c.scaling) return Math.min(65_535, bytes);
  return Math.min(65_535, Math.floor(bytes / 2 ** c.receiveWindowScale));
}

function emit(
  c: TcpConnection,
  kind: SegmentKind,
  flags: number,
  offset: number,
  record: SegmentRecord | undefined,
  payload: Uint8Array,
  payloadOffset: number,
  payloadBytes: number,
): void {
  const optionsEnd = writeAllOptions(c, kind, record);
  const ack = (flags & ACK) !== 0 ? c.acknowledgmentNumber() : 0;
  const headerBytes = c.template.finish(c.sequenceNumber(offset), ack, flags, windowField(c, kind), optionsEnd);
  const segmentBytes = kind === 'data' && c.pathPayloadBytes > 0 ? c.dataSegmentBytes() : c.mssBytes - (headerBytes - c.template.optionsAt);
  c.services.sink.sendSegments(c.pathId, c.template.bytes, headerBytes, payload, payloadOffset, payloadBytes, segmentBytes);
  if ((flags & ACK) !== 0) {
    c.ackNow = false;
    c.lastAckSent = c.rcvNxt;
    c.ackDeadlineMs = NEVER_MS;
    c.unacknowledgedBytes = 0;
  }
}

export function sendSyn(c: TcpConnection, nowMs: number): void {
  c.synCount++;
  c.synSentMs = nowMs;
  c.synDeadlineMs = nowMs + c.recovery.rtt.rtoMs;
  if (c.state === 'syn-sent') {
    const payload = payloadForSyn(c);
    emit(c, 'syn', SYN, 0, undefined, payload, 0, payload.length);
  } else emit(c, 'syn-ack', SYN | ACK, 0, undefined, EMPTY, 0, 0);
  if (c.recovery.sndNxt < 1) c.recovery.sndNxt = 1;
}

/** RFC 7413 (4.2.1): data goes with a cookie, and with the first SYN only. */
function payloadForSyn(c: TcpConnection): Uint8Array {
  if (c.synCount > 1 || c.fastOpenCookie === undefined || c.fastOpenCookie.length === 0) return EMPTY;
  c.synPayload = c.dataForSyn(Math.min(c.pathMssBytes, c.peerMssBytes) - MAX_OPTION_BYTES);
  return c.synPayload;
}

/** Pure ACKs: one, and more while SACK blocks wait to be reported. */
export function sendAck(c: TcpConnection, kind: SegmentKind = 'ack'): void {
  emit(c, kind, ACK, c.recovery.sndNxt, undefined, EMPTY, 0, 0);
  for (let i = 0; i < MAX_SACK_ACKS && c.sackEnabled && c.received.hasUnreported; i++)
    emit(c, 'ack', ACK, c.recovery.sndNxt, undefined, EMPTY, 0, 0);
}

/** A segment below the window: the peer answers it with an ACK that tells its window (keepalive, zero-window probe). */
export function sendWindowProbe(c: TcpConnection): void {
  emit(c, 'ack', ACK, c.recovery.sndNxt - 1, undefined, EMPTY, 0, 0);
}

/** RFC 9293 (3.10.5): nothing goes to a peer that has not been heard of. */
export function sendReset(c: TcpConnection): void {
  if (c.state === 'syn-sent' && c.rcvNxt === 0) return;
  emit(c, 'rst', RST | ACK, c.recovery.sndNxt, undefined, EMPTY, 0, 0);
}

/** Bytes that congestion control, pacing and the path's limit let go now, in whole segments (at least one when nothing is in flight). */
export function sendRoomBytes(c: TcpConnection, nowMs: number): number {
  const room = ownRoomBytes(c, nowMs);
  return c.turns === undefined || room <= 0 ? room : c.turns.roomBytes(c, room, c.dataSegmentBytes(), nowMs);
}

function ownRoomBytes(c: TcpConnection, nowMs: number): number {
  const recovery = c.recovery;
  const segmentBytes = c.dataSegmentBytes();
  if (c.paced && c.nextSendMs > nowMs + PACING_SLACK_MS) {
    c.pacingBlocked = true;
    return 0;
  }
  const window = recovery.congestion.cwndBytes - recovery.inflightBytes;
  if (window < segmentBytes) {
    recovery.cwndLimited = true;
    return recovery.inflightBytes === 0 ? segmentBytes : 0;
  }
  const quantum = c.paced
    ? Math.max(2 * segmentBytes, (pacingRate(c) * PACING_QUANTUM_MS) / 1000, recovery.congestion.burstBytes ?? 0)
    : MAX_SUPER_SEGMENT_BYTES;
  const room = Math.min(window, quantum, MAX_SUPER_SEGMENT_BYTES);
  return Math.floor(room / segmentBytes) * segmentBytes;
}

function pacingRate(c: TcpConnection): number {
  const congestion = c.recovery.congestion;
  const rate = congestion.pacingRateBytesPerSec;
  if (rate !== Number.POSITIVE_INFINITY) return Math.max(rate, 1);
  const srttMs = c.recovery.rtt.srttMs;
  if (srttMs <= 0) return Number.POSITIVE_INFINITY;
  const gain = congestion.cwndBytes < congestion.ssthreshBytes / 2 ? 2 : 1.2;
  return (gain * congestion.cwndBytes * 1000) / srttMs;
}

function spendPacing(c: TcpConnection, bytes: number, nowMs: number): void {
  if (!c.paced) return;
  const base = Math.max(c.nextSendMs, nowMs - PACING_CREDIT_MS);
  c.nextSendMs = base + (bytes * 1000) / pacingRate(c);
}

/** New data at sndNxt; takes over the reference of `block`. */
export function sendData(
  c: TcpConnection,
  block: PayloadBlock,
  blockOffset: number,
  payloadBytes: number,
  mapping: DssMapping | undefined,
  push: boolean,
  nowMs: number,
): SegmentRecord {
  const record = c.recovery.queue.push(c.recovery.sndNxt, payloadBytes, false, block, blockOffset, mapping);
  transmit(c, record, push, nowMs);
  return record;
}

export function sendFin(c: TcpConnection, nowMs: number): void {
  c.finSent = true;
  c.finOffset = c.recovery.sndNxt;
  const record = c.recovery.queue.push(c.finOffset, 0, true, undefined, 0, undefined);
  c.setState('fin-sent');
  transmit(c, record, false, nowMs);
}

function transmit(c: TcpConnection, record: SegmentRecord, push: boolean, nowMs: number): void {
  const flags = ACK | (push ? PSH : 0) | (record.isFin ? FIN : 0);
  emit(c, 'data', flags, record.start, record, record.block?.bytes ?? EMPTY, record.blockOffset, record.payloadBytes);
  c.recovery.onSent(record, nowMs);
  spendPacing(c, record.payloadBytes, nowMs);
}

/** What is deemed lost goes first, under the same limits as new data. True: all of it has left. */
export function sendRetransmissions(c: TcpConnection, nowMs: number): boolean {
  c.mtuSearch?.onLosses(c);
  for (;;) {
    const record = c.recovery.nextLost();
    if (record === undefined) return true;
    if (record.payloadBytes > 0) {
      const room = sendRoomBytes(c, nowMs);
      if (room <= 0) return false;
      if (record.payloadBytes > room) c.recovery.queue.split(record, record.start + room);
    }
    transmit(c, record, false, nowMs);
  }
}

/** RFC 8985 (7.3): a segment of new data, whatever congestion window and pacing say; without any, the last one again. */
export function sendProbe(c: TcpConnection, nowMs: number): void {
  const segmentBytes = c.dataSegmentBytes();
  if (!c.canSend || !c.probeWithNewData(segmentBytes, nowMs)) {
    const record = c.recovery.probeRecord(segmentBytes);
    if (record !== undefined) transmit(c, record, true, nowMs);
  }
  c.recovery.noteProbeSent(nowMs);
}

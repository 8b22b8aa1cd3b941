/** What a connection sends, and on which subflow: reinjections, new data, DATA_FIN, acknowledgements (RFC 8684, 3.3). */

import { fastestRegular, mayCarry, onlyBackupsUsable } from '../scheduler/candidates.js';
import type { PayloadBlock } from '../tcp/payload-block.js';
import type { DssMapping } from '../tcp/retransmission-queue.js';
import type { Piece } from '../tcp/send-buffer.js';
import { NEVER_MS } from '../tcp/tcp-connection.js';
import { sendAck, sendData, sendFin, sendRetransmissions, sendRoomBytes, sendWindowProbe } from '../tcp/tcp-output.js';
import { MAX_SEND_BUFFER_BYTES, type MptcpConnection } from './connection.js';
import type { DataRecord, Reinjection } from './data-send-queue.js';
import { updateTooDear } from './path-cost.js';
import { mappingChecksum } from './received-mappings.js';
import type { Subflow } from './subflow.js';

/** A mapping's length is 16 bits, and so is that of an IP packet. */
const MAX_MAPPING_BYTES = 60_000;
const MAX_PROBE_INTERVAL_MS = 60_000;
/** DATA_FIN is repeated at least so far apart. */
const MIN_DATA_FIN_INTERVAL_MS = 200;
const MAX_DATA_FIN_COUNT = 12;
/** Data-level retransmission: far above what a DATA_ACK may come behind its ACK. */
const MIN_DATA_TIMEOUT_MS = 1_000;

/** Each signal needs an ACK of its own. */
const MAX_SIGNALS_AT_ONCE = 8;
/** How far from the head of line late data is looked for: while the window is closed nothing else can be done; else only the tail counts. */
const WINDOW_LIMITED_RECORDS = 64;
const IDLE_RECORDS = 4;

/** A loss is repaired on a subflow whose round trip is shorter than this part of its own; of what is sent this part may go twice. */
const REPAIR_RTT_RATIO = 0.6;
const REPAIR_PART = 0.04;
const MAX_REPAIR_BYTES = 128 << 10;
/** Where the other is quicker by far, a burst of losses may be repaired too: a long path that was overrun once would stop the stream for a second. */
const FAR_RTT_RATIO = 0.25;
const BURST_PART = 0.01;
const MAX_BURST_BYTES = 4 << 20;

const piece: Piece = { block: undefined, offset: 0, length: 0 };

/** Absolute time of the next data-level deadline. */
export function nextDataDeadlineMs(c: MptcpConnection): number {
  return Math.min(c.dataFinDeadlineMs, c.probeDeadlineMs, c.dataTimeoutDeadlineMs);
}

export function outputConnection(c: MptcpConnection, nowMs: number): void {
  for (let i = 0; i < c.subflows.length; i++) outputSubflow(c, c.subflows[i] as Subflow, nowMs);
  if (c.peerProved && c.joins.isDue(nowMs)) c.host.startJoins(c, nowMs);
  checkDataTimeout(c, nowMs);
  watchHarm(c, nowMs);
  outputData(c, nowMs);
  c.notifyWritable(nowMs);
  if (c.closed) return;
  // What the writer added in answer goes out in the same visit.
  if (c.sendBuffer.queuedBytes > 0) outputData(c, nowMs);
  if (c.finishing) outputFinish(c, nowMs);
  outputAcks(c);
}

function watchHarm(c: MptcpConnection, nowMs: number): void {
  if (c.subflows.length < 2 || c.fallback || c.scheduler.duplicates) return;
  const harm = c.harmWatch.look(c.subflows, c.dataUna, c.sendQueue.first?.subflow, nowMs);
  if (harm !== undefined) c.host.paths.bench(harm, nowMs);
}

/**
 * RFC 8684 (3.3.6): data that every subflow has acknowledged and the connection has not was lost above TCP: it goes again, under new mappings. While a
 * subflow still carries something, its own retransmissions have the word.
 */
function checkDataTimeout(c: MptcpConnection, nowMs: number): void {
  if (c.dataUna !== c.dataTimeoutUna) {
    c.dataTimeoutUna = c.dataUna;
    c.dataTimeoutCount = 0;
    c.dataTimeoutDeadlineMs = NEVER_MS;
  }
  if (c.fallback || c.dataUna >= c.dataNxt || isCarrying(c)) {
    c.dataTimeoutDeadlineMs = NEVER_MS;
    return;
  }
  if (nowMs >= c.dataTimeoutDeadlineMs) {
    c.dataTimeoutCount++;
    c.host.count('mptcp-data-timeouts');
    for (const record of c.sendQueue.outstanding()) c.sendQueue.reinject(record);
    c.dataTimeoutDeadlineMs = NEVER_MS;
  }
  if (c.dataTimeoutDeadlineMs === NEVER_MS) {
    c.dataTimeoutDeadlineMs = nowMs + Math.min(MAX_PROBE_INTERVAL_MS, MIN_DATA_TIMEOUT_MS * 2 ** Math.min(c.dataTimeoutCount, 8));
  }
}

function isCarrying(c: MptcpConnection): boolean {
  for (let i = 0; i < c.subflows.length; i++) if ((c.subflows[i] as Subflow).recovery.queue.head !== undefined) return true;
  return false;
}

function outputSubflow(c: MptcpConnection, subflow: Subflow, nowMs: number): void {
  if (!subflow.mayTransmit) return;
  if (nowMs >= subflow.thirdAckDeadlineMs) {
    subflow.recovery.rtt.backOff();
    subflow.thirdAckDeadlineMs = nowMs + subflow.recovery.rtt.rtoMs;
    sendAck(subflow, 'third-ack');
  }
  // RFC 8684 (3.2): the fourth ACK goes ahead of data. Where data stood for it and its first segment was lost or overtaken, Linux would reset the join.
  if (subflow.ackNow && subflow.role === 'join-server' && subflow.state === 'established' && subflow.recovery.sndNxt === 1)
    sendAck(subflow);
  noteTimeouts(c, subflow);
  if (subflow.recovery.queue.lostBytes > 0) repairLosses(c, subflow);
  sendRetransmissions(subflow, nowMs);
  // In fallback the FIN is the application's: half-close stays open.
  if (subflow.state === 'close-wait' && !c.fallback && subflow.recovery.queue.head === undefined) sendFin(subflow, nowMs);
}

/**
 * What a slow subflow has lost holds up all that follows for a round trip more; a much faster one brings a copy sooner. Each loss once, and no more than a
 * small part of what is sent: after a burst of losses the rate is needed for what is new.
 */
function repairLosses(c: MptcpConnection, slow: Subflow): void {
  if (c.fallback || c.scheduler.duplicates || c.subflows.length < 2) return;
  const fast = fastestRegular(c.subflows);
  if (fast === undefined) return;
  const ratio = fast.rttMs / slow.rttMs;
  if (!(ratio < REPAIR_RTT_RATIO)) return;
  const isFar = ratio < FAR_RTT_RATIO;
  for (let record = slow.recovery.queue.head; record !== undefined; record = record.next) {
    if (!record.lost || record.start < slow.repairedTo || record.mapping === undefined) continue;
    const fits = c.repairBudgetBytes >= record.payloadBytes;
    if (!fits && !(isFar && c.burstBudgetBytes >= record.payloadBytes)) return;
    slow.repairedTo = record.end;
    if (!c.sendQueue.repair(record.mapping.dsn + record.start - record.mapping.ssn, record.payloadBytes)) continue;
    if (fits) c.repairBudgetBytes -= record.payloadBytes;
    else c.burstBudgetBytes -= record.payloadBytes;
    c.host.count('mptcp-repairs');
  }
}

/** A subflow that timed out keeps trying, but its data no longer waits for it. */
function noteTimeouts(c: MptcpConnection, subflow: Subflow): void {
  const count = subflow.recovery.timeoutCount;
  if (count > 0 && subflow.seenTimeoutCount === 0) c.sendQueue.reinjectFrom(subflow, c.dataUna);
  subflow.seenTimeoutCount = count;
}

function refreshRoom(c: MptcpConnection, nowMs: number): void {
  for (let i = 0; i < c.subflows.length; i++) {
    const subflow = c.subflows[i] as Subflow;
    subflow.roomBytes = subflow.usable && subflow.recovery.queue.lostBytes === 0 ? sendRoomBytes(subflow, nowMs) : 0;
  }
}

function outputData(c: MptcpConnection, nowMs: number): void {
  const reinjection = c.sendQueue.nextReinjection(c.dataUna);
  if (c.scheduler.duplicates && !c.fallback) {
    outputDuplicates(c, nowMs);
    return;
  }
  const repair = c.sendQueue.nextRepair(c.dataUna);
  if (c.sendBuffer.queuedBytes === 0 && reinjection === undefined && repair === undefined) {
    noteIdle(c, nowMs);
    return;
  }
  if (c.host.paths.haveCosts) updateTooDear(c, nowMs);
  refreshRoom(c, nowMs);
  if (reinjection !== undefined) outputReinjections(c, nowMs);
  if (repair !== undefined) outputRepairs(c, nowMs);
  while (c.sendBuffer.queuedBytes > 0) {
    const window = c.peerWindowEdge - c.dataNxt;
    if (window <= 0) {
      outputWindowLimited(c, nowMs);
      return;
    }
    const subflow = selectSubflow(c, false, nowMs);
    if (subflow === undefined) {
      if (c.backlogSinceMs === NEVER_MS) c.backlogSinceMs = nowMs;
      return;
    }
    if (!sendNew(c, subflow, window, nowMs)) return;
  }
  noteIdle(c, nowMs);
}

function selectSubflow(c: MptcpConnection, urgent: boolean, nowMs: number): Subflow | undefined {
  const view = c.schedulerView;
  view.nowMs = nowMs;
  view.queuedBytes = c.sendBuffer.queuedBytes;
  view.moreToCome = c.writeBlocked;
  view.sendWindowBytes = Math.min(c.peerWindowEdge - c.dataUna, MAX_SEND_BUFFER_BYTES);
  view.urgent = urgent;
  return c.scheduler.select(c.subflows, view);
}

function sendNew(c: MptcpConnection, subflow: Subflow, windowBytes: number, nowMs: number): boolean {
  const { mtuSearch } = subflow;
  const probeBytes = mtuSearch?.probePayloadBytes(subflow, subflow.roomBytes, Math.min(windowBytes, c.sendBuffer.queuedBytes), nowMs) ?? 0;
  const roomBytes = probeBytes > 0 ? probeBytes : subflow.roomBytes;
  const segmentBytes = probeBytes > 0 ? 0 : subflow.dataSegmentBytes();
  const wantedBytes = Math.min(roomBytes, windowBytes, MAX_MAPPING_BYTES);
  if (c.sendBuffer.take(wantedBytes, piece, segmentBytes) === 0 || piece.block === undefined) return false;
  c.sendQueue.push(c.dataNxt, piece.length, piece.block, piece.offset, subflow, nowMs);
  const mapping = newMapping(c, subflow, piece.length, piece.block, piece.offset, nowMs);
  c.dataNxt += piece.length;
  c.repairBudgetBytes = Math.min(MAX_REPAIR_BYTES, c.repairBudgetBytes + REPAIR_PART * piece.length);
  c.burstBudgetBytes = Math.min(MAX_BURST_BYTES, c.burstBudgetBytes + BURST_PART * piece.length);
  const isProbe = mtuSearch !== undefined && probeBytes > 0 && piece.length === probeBytes;
  const mssBytes = isProbe ? mtuSearch.beginProbe(subflow) : 0;
  const record = sendData(subflow, piece.block, piece.offset, piece.length, mapping, c.sendBuffer.queuedBytes === 0, nowMs);
  if (isProbe) mtuSearch.endProbe(subflow, record, mssBytes);
  subflow.roomBytes = sendRoomBytes(subflow, nowMs);
  return true;
}

/** RFC 8985 (7.3): new data as the loss probe of a subflow. A backup, or one whose path is away, repeats its tail: other subflows carry the new data. */
export function sendNewAsProbe(c: MptcpConnection, subflow: Subflow, segmentBytes: number, nowMs: number): boolean {
  const windowBytes = c.peerWindowEdge - c.dataNxt;
  if (windowBytes <= 0 || !mayCarry(subflow, false) || c.scheduler.duplicates) return false;
  subflow.roomBytes = segmentBytes;
  return sendNew(c, subflow, windowBytes, nowMs);
}

/** A duplicating scheduler: each subflow carries all data that has no DATA_ACK, in order and at its own pace; reinjection has nothing to add. */
function outputDuplicates(c: MptcpConnection, nowMs: number): void {
  refreshRoom(c, nowMs);
  const onlyBackups = onlyBackupsUsable(c.subflows);
  for (let i = 0; i < c.subflows.length; i++) {
    const subflow = c.subflows[i] as Subflow;
    if (!mayCarry(subflow, onlyBackups)) continue;
    while (subflow.roomBytes > 0 && sendNextDuplicate(c, subflow, nowMs));
  }
  if (c.sendBuffer.queuedBytes === 0) noteIdle(c, nowMs);
  else if (c.peerWindowEdge <= c.dataNxt) outputWindowLimited(c, nowMs);
}

/** What this subflow has not carried yet: first what others have, then new data. False: nothing. */
function sendNextDuplicate(c: MptcpConnection, subflow: Subflow, nowMs: number): boolean {
  const dsn = Math.max(subflow.duplicateNxt, c.dataUna);
  const record = c.sendQueue.find(dsn);
  if (record === undefined) {
    const windowBytes = c.peerWindowEdge - c.dataNxt;
    if (windowBytes <= 0 || !sendNew(c, subflow, windowBytes, nowMs)) return false;
    subflow.duplicateNxt = c.dataNxt;
    return true;
  }
  const offset = record.blockOffset + dsn - record.dsn;
  const length = Math.min(subflow.roomBytes, record.dsn + record.length - dsn, MAX_MAPPING_BYTES);
  record.block.referenceCount++;
  sendData(subflow, record.block, offset, length, mappingFor(c, subflow, dsn, length, record.block, offset), false, nowMs);
  subflow.duplicateNxt = dsn + length;
  c.host.count('mptcp-duplicates');
  subflow.roomBytes = sendRoomBytes(subflow, nowMs);
  return true;
}

/** In fallback there is none, but for the infinite one that begins it (RFC 8684, 3.7): that needs one subflow, and all before it in order. */
function newMapping(
  c: MptcpConnection,
  subflow: Subflow,
  length: number,
  block: PayloadBlock,
  offset: number,
  nowMs: number,
): DssMapping | undefined {
  if (c.fallback) return undefined;
  if (!c.fallbackState.infinitePending || c.subflows.length > 1 || c.sendQueue.nextReinjection(c.dataUna) !== undefined) {
    return mappingFor(c, subflow, c.dataNxt, length, block, offset);
  }
  c.fallbackState.startInfiniteMapping(subflow, nowMs);
  return { dsn: c.dataNxt, ssn: subflow.recovery.sndNxt, length: 0, checksum: 0 };
}

function mappingFor(c: MptcpConnection, subflow: Subflow, dsn: number, length: number, block: PayloadBlock, offset: number): DssMapping {
  const ssn = subflow.recovery.sndNxt;
  if (!c.checksum) return { dsn, ssn, length, checksum: 0 };
  const { idsnHigh, idsnLow } = c.local;
  const checksum = mappingChecksum(idsnHigh, idsnLow, dsn, ssn - subflow.sentWithSynBytes, length, false, block.bytes, offset);
  return { dsn, ssn, length, checksum };
}

/** RFC 8684 (3.3.6): the same DSN on another subflow, under a new mapping. */
function outputReinjections(c: MptcpConnection, nowMs: number): void {
  // MP_CAPABLE with data knows no second mapping (RFC 8684, 3.1): until the peer has answered the subflow's own retransmissions have to do.
  if (!c.peerProved) return;
  for (let next = c.sendQueue.nextReinjection(c.dataUna); next !== undefined; next = c.sendQueue.nextReinjection(c.dataUna)) {
    const subflow = selectOther(c, next.record.subflow, nowMs);
    if (subflow === undefined) {
      // Its own subflow is the only one: that repeats it by itself, and what waits behind it must not wait for another.
      if (!isAloneUsable(c, next.record.subflow)) return;
      c.sendQueue.dropReinjection();
      continue;
    }
    sendAgain(c, next, subflow, nowMs);
  }
}

function outputRepairs(c: MptcpConnection, nowMs: number): void {
  for (let next = c.sendQueue.nextRepair(c.dataUna); next !== undefined; next = c.sendQueue.nextRepair(c.dataUna)) {
    const subflow = selectOther(c, next.record.subflow, nowMs);
    if (subflow === undefined) return;
    sendAgain(c, next, subflow, nowMs);
  }
}

function isAloneUsable(c: MptcpConnection, subflow: Subflow): boolean {
  for (let i = 0; i < c.subflows.length; i++) if (c.subflows[i] !== subflow && (c.subflows[i] as Subflow).usable) return false;
  return subflow.usable;
}

function sendAgain(c: MptcpConnection, next: Reinjection, subflow: Subflow, nowMs: number): void {
  const { record } = next;
  const length = Math.min(subflow.roomBytes, next.end - next.done, MAX_MAPPING_BYTES);
  const mapping = mappingFor(c, subflow, record.dsn + next.done, length, record.block, record.blockOffset + next.done);
  record.block.referenceCount++;
  sendData(subflow, record.block, record.blockOffset + next.done, length, mapping, false, nowMs);
  next.done += length;
  if (next.done === record.length && record.queued) {
    record.subflow = subflow;
    record.subflowEnd = subflow.recovery.sndNxt;
    record.sentMs = nowMs;
  }
  c.host.count('mptcp-reinjections');
  subflow.roomBytes = sendRoomBytes(subflow, nowMs);
}

/** The best subflow with room but this one, while it retransmits by itself what it carries. */
function selectOther(c: MptcpConnection, avoid: Subflow, nowMs: number): Subflow | undefined {
  const room = avoid.roomBytes;
  if (avoid.recovery.queue.head !== undefined || !avoid.usable) avoid.roomBytes = 0;
  const chosen = selectSubflow(c, true, nowMs);
  avoid.roomBytes = room;
  return chosen;
}

/** The peer's window is closed: the head of line may sit on a slow subflow, or the reader is slow. */
function outputWindowLimited(c: MptcpConnection, nowMs: number): void {
  c.backlogSinceMs = NEVER_MS;
  c.schedulerView.blockedCount++;
  reinjectHeadOfLine(c, nowMs, WINDOW_LIMITED_RECORDS);
  if (c.dataUna < c.dataNxt) return;
  if (c.probeDeadlineMs === NEVER_MS || nowMs >= c.probeDeadlineMs) {
    const subflow = bestForControl(c);
    if (subflow === undefined) return;
    if (nowMs >= c.probeDeadlineMs) {
      sendWindowProbe(subflow);
      c.probeCount++;
    }
    c.probeDeadlineMs = nowMs + Math.min(MAX_PROBE_INTERVAL_MS, subflow.recovery.rtt.rtoMs * 2 ** Math.min(c.probeCount, 8));
  }
}

/** Nothing new to send: what the subflows carry now measures the application, and a slow tail may be overtaken. */
function noteIdle(c: MptcpConnection, nowMs: number): void {
  c.backlogSinceMs = NEVER_MS;
  for (let i = 0; i < c.subflows.length; i++) {
    const { recovery } = c.subflows[i] as Subflow;
    if (recovery.inflightBytes < recovery.congestion.cwndBytes && recovery.queue.lostBytes === 0)
      recovery.rate.markAppLimited(recovery.inflightBytes);
  }
  reinjectHeadOfLine(c, nowMs, IDLE_RECORDS);
}

/**
 * Opportunistic reinjection (Raiciu et al., NSDI 2012, 4.2): the oldest unacknowledged data on slower subflows goes again on the fastest, when a
 * round trip of the fastest from now is sooner than its own acknowledgement can come. Once per record.
 */
function reinjectHeadOfLine(c: MptcpConnection, nowMs: number, maxRecords: number): void {
  if (c.subflows.length < 2 || c.sendQueue.first === undefined || c.scheduler.duplicates) return;
  const fast = fastestRegular(c.subflows);
  if (fast === undefined || fast.recovery.queue.lostBytes > 0) return;
  fast.roomBytes = sendRoomBytes(fast, nowMs);
  for (let i = 0; i < maxRecords && fast.roomBytes > 0; i++) {
    const record = c.sendQueue.at(i);
    if (record === undefined) return;
    if (record.reinjected || record.subflow === fast || !isLate(record, fast, nowMs)) continue;
    c.sendQueue.reinject(record);
    const next = c.sendQueue.nextReinjection(c.dataUna);
    if (next === undefined || next.record !== record) return;
    while (next.done < next.end && fast.roomBytes > 0) sendAgain(c, next, fast, nowMs);
  }
}

/** Its acknowledgement is overdue, or due later than the fast subflow could bring one. */
function isLate(record: DataRecord, fast: Subflow, nowMs: number): boolean {
  if (nowMs - record.sentMs < 2 * fast.rttMs) return false;
  const dueMs = record.sentMs + record.subflow.rttMs;
  return dueMs < nowMs || dueMs > nowMs + fast.rttMs;
}

/** RFC 8684 (3.3.3): DATA_FIN, repeated until it has its DATA_ACK; then each subflow's FIN. */
function outputFinish(c: MptcpConnection, nowMs: number): void {
  if (c.fallback) {
    const subflow = c.subflows[0];
    if (subflow !== undefined && c.sendBuffer.queuedBytes === 0 && subflow.canSend && !subflow.finSent) {
      c.subflowsClosing = true;
      sendFin(subflow, nowMs);
    }
    return;
  }
  if (c.dataFinOffset < 0) {
    if (c.sendBuffer.queuedBytes > 0 || !c.hasRemoteKey) return;
    c.dataFinOffset = c.dataNxt;
    c.dataFinDeadlineMs = nowMs;
  }
  if (!c.dataFinAcked && nowMs >= c.dataFinDeadlineMs) outputDataFin(c, nowMs);
  if (c.finishedBothWays) closeSubflows(c, nowMs);
}

function outputDataFin(c: MptcpConnection, nowMs: number): void {
  const subflow = bestForControl(c);
  if (subflow === undefined) {
    c.dataFinDeadlineMs = nowMs + MIN_DATA_FIN_INTERVAL_MS;
    return;
  }
  if (c.dataFinCount >= MAX_DATA_FIN_COUNT) {
    c.abort(nowMs);
    return;
  }
  // The third ACK may have been lost, and with it the keys: they go once more, in front.
  if (!c.peerProved && subflow.role === 'capable-client') sendAck(subflow, 'third-ack');
  subflow.ackNow = true;
  c.dataFinCount++;
  const intervalMs = Math.max(MIN_DATA_FIN_INTERVAL_MS, subflow.recovery.rtt.rtoMs) * 2 ** Math.min(c.dataFinCount - 1, 6);
  // While data is on its way its acknowledgements come first: the clock of the DATA_FIN is that of the data.
  c.dataFinDeadlineMs = nowMs + intervalMs;
  if (c.dataUna < c.dataNxt) c.dataFinCount = Math.min(c.dataFinCount, 3);
}

function closeSubflows(c: MptcpConnection, nowMs: number): void {
  c.subflowsClosing = true;
  for (let i = 0; i < c.subflows.length; i++) {
    const subflow = c.subflows[i] as Subflow;
    if (subflow.canSend && !subflow.finSent && subflow.recovery.nextLost() === undefined) sendFin(subflow, nowMs);
  }
  c.notifyFinished(nowMs);
}

function bestForControl(c: MptcpConnection): Subflow | undefined {
  let best: Subflow | undefined;
  for (let i = 0; i < c.subflows.length; i++) {
    const subflow = c.subflows[i] as Subflow;
    if (!subflow.usable) continue;
    if (best === undefined || subflow.rttMs < best.rttMs) best = subflow;
  }
  if (best !== undefined) return best;
  const only = c.subflows[0];
  return only?.isSynchronized ? only : undefined;
}

function outputAcks(c: MptcpConnection): void {
  for (let i = 0; i < c.subflows.length; i++) {
    const subflow = c.subflows[i] as Subflow;
    if (!subflow.isSynchronized) continue;
    if (subflow.ackNow) sendAck(subflow);
    for (let i = 0; i < MAX_SIGNALS_AT_ONCE && subflow.signals.length > 0; i++) sendAck(subflow);
  }
}

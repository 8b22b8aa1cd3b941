/** A segment arrives (RFC 9293, 3.10.7), with RFC 5961's answers to blind attacks. Functions are named for the RFC's steps. */

import { ACK, ECE, FIN, RST, SYN, type TcpSegment } from '../wire/segment.js';
import { unwrapOffset } from '../wire/sequence.js';
import { ACK_ADVANCED } from './loss-recovery.js';
import { sendStatelessReset } from './stateless-reset.js';
import { type CloseReason, NEVER_MS, NO_PAYLOAD, type TcpConnection } from './tcp-connection.js';
import { sendAck } from './tcp-output.js';

/** DEVIATION RFC 9293 (3.6.1): 2 MSL is short; what could come late is at most a round trip away inside the tunnel. */
const TIME_WAIT_MS = 1_000;
/** RFC 9293 (3.8.6.3) asks for less than 500 ms. */
const DELAYED_ACK_MS = 25;
/** RFC 5961 (7): at most 10 challenge ACKs in 5 s. */
const CHALLENGE_INTERVAL_MS = 5_000;
const MAX_CHALLENGE_COUNT = 10;

/** One parsed segment for this connection. */
export function handleSegment(c: TcpConnection, segment: TcpSegment, nowMs: number): void {
  switch (c.state) {
    case 'closed':
      return;
    case 'syn-sent':
      handleInSynSent(c, segment, nowMs);
      return;
    default:
      handleInOtherStates(c, segment, nowMs);
  }
}

export function closeConnection(c: TcpConnection, reason: CloseReason, nowMs: number): void {
  if (c.state === 'closed') return;
  c.setState(reason === 'finished' ? (c.state === 'time-wait' ? 'timeout' : 'reset') : 'reset');
  finishClose(c, reason, nowMs);
}

function finishClose(c: TcpConnection, reason: CloseReason, nowMs: number): void {
  c.closeReason = reason;
  c.recovery.queue.clear();
  c.received.clear();
  c.onClosed(reason, nowMs);
}

/** 3.10.7.3 */
function handleInSynSent(c: TcpConnection, segment: TcpSegment, nowMs: number): void {
  // RFC 7413 (4.2.2): the SYN's data may be acknowledged in part, or not.
  const acceptedBytes = ((segment.acknowledgmentNumber - c.iss) >>> 0) - 1;
  const acceptable = (segment.flags & ACK) !== 0 && acceptedBytes >= 0 && acceptedBytes <= c.synPayload.length;
  if ((segment.flags & RST) !== 0) {
    if (!acceptable) return;
    c.processOptions(segment, nowMs);
    closeConnection(c, 'refused', nowMs);
    return;
  }
  if ((segment.flags & (SYN | ACK)) === SYN) {
    handleSynCrossing(c, segment, nowMs);
    return;
  }
  if (!acceptable || (segment.flags & SYN) === 0) {
    c.services.count('tcp-unacceptable-in-syn-sent');
    if (!acceptable && (segment.flags & ACK) !== 0) sendStatelessReset(c.services.sink, c.pathId, segment, 0);
    return;
  }
  acceptSynOptions(c, segment);
  noteSynAcked(c, segment, acceptedBytes, nowMs);
  c.sendWindowEdge = 1 + acceptedBytes + segment.window;
  if (!c.processOptions(segment, nowMs)) return;
  c.setState('syn-acked');
  c.lastReceivedMs = nowMs;
  sendAck(c, 'third-ack');
  c.onEstablished(nowMs);
}

/** What the SYN carried counts as sent only if it was taken. */
function noteSynAcked(c: TcpConnection, segment: TcpSegment, acceptedBytes: number, nowMs: number): void {
  const { recovery } = c;
  recovery.sndUna = 1 + acceptedBytes;
  if (recovery.sndNxt < recovery.sndUna) recovery.sndNxt = recovery.sndUna;
  if (c.synCount === 1) recovery.rtt.addSample(Math.max(0.01, nowMs - c.synSentMs), nowMs);
  c.synDeadlineMs = NEVER_MS;
  c.sentWithSynBytes = acceptedBytes;
  c.onSynAnswered(segment, nowMs);
  c.synPayload = NO_PAYLOAD;
}

/** RFC 9293 (MUST-10): both sides opened at the same time. */
function handleSynCrossing(c: TcpConnection, segment: TcpSegment, nowMs: number): void {
  acceptSynOptions(c, segment);
  if (!c.processOptions(segment, nowMs)) return;
  c.synsCrossed = true;
  c.setState('syn-crossed');
  c.lastReceivedMs = nowMs;
  c.synDeadlineMs = 0;
}

/** What a SYN or SYN/ACK tells: sequence number, MSS, scaling, SACK. */
export function acceptSynOptions(c: TcpConnection, segment: TcpSegment): void {
  c.irs = segment.sequenceNumber;
  c.rcvNxt = 1;
  // RFC 9293 (3.7.1): 536 when the peer names none.
  c.peerMssBytes = segment.mss > 0 ? segment.mss : segment.ipVersion === 4 ? 536 : 1_220;
  c.mssBytes = c.mssLimitBytes;
  c.timestamps = c.timestampsOffered && segment.hasTimestamps;
  if (c.timestamps) c.timestampRecent = segment.timestampValue;
  c.scaling = segment.windowScale >= 0;
  c.sendWindowScale = c.scaling ? Math.min(14, segment.windowScale) : 0;
  c.sackEnabled = segment.sackPermitted;
  c.advertisedEdge = 1 + Math.min(65_535, c.receiveWindowBytes());
  c.mtuSearch?.noteMss(c);
}

/** 3.10.7.4 */
function handleInOtherStates(c: TcpConnection, segment: TcpSegment, nowMs: number): void {
  const offset = unwrapOffset(segment.sequenceNumber, c.irs, c.rcvNxt);
  if ((segment.flags & SYN) !== 0) {
    if (c.synsCrossed && c.state === 'syn-received' && offset === 0 && (segment.flags & ACK) !== 0) checkAck(c, segment, nowMs);
    else handleSyn(c, offset, nowMs);
    return;
  }
  if (!checkTimestamp(c, segment)) return;
  if (!checkSequenceNumber(c, segment, offset, nowMs)) return;
  if ((segment.flags & RST) !== 0) {
    handleReset(c, segment, offset, nowMs);
    return;
  }
  if ((segment.flags & ACK) === 0) return;
  c.lastReceivedMs = nowMs;
  c.keepaliveCount = 0;
  if (!checkAck(c, segment, nowMs)) return;
  if (!c.processOptions(segment, nowMs)) return;
  if (segment.payloadBytes > 0) handlePayload(c, segment, offset, nowMs);
  if (c.closeReason !== undefined) return;
  if ((segment.flags & FIN) !== 0) noteFin(c, offset + segment.payloadBytes);
  handleFinInOrder(c, nowMs);
}

/** RFC 5961 (4.2): a SYN in a synchronised state gets a challenge ACK; a repeated SYN in syn-received gets the SYN/ACK again. */
function handleSyn(c: TcpConnection, offset: number, nowMs: number): void {
  if (c.state === 'syn-received' && offset === 0) c.synDeadlineMs = 0;
  else challenge(c, nowMs);
}

/** RFC 5961 (7): challenge ACKs are bounded, lest whoever forges segments make us a source of traffic. */
function challenge(c: TcpConnection, nowMs: number): void {
  if (nowMs - c.challengeStartMs >= CHALLENGE_INTERVAL_MS) {
    c.challengeStartMs = nowMs;
    c.challengeCount = 0;
  }
  if (c.challengeCount >= MAX_CHALLENGE_COUNT) {
    c.services.count('tcp-challenge-limited');
    return;
  }
  c.challengeCount++;
  c.ackNow = true;
}

/** RFC 7323 (5.3, R1): an older timestamp than the last valid one is from an earlier wrap of the sequence space. */
function checkTimestamp(c: TcpConnection, segment: TcpSegment): boolean {
  if (!c.timestamps || !segment.hasTimestamps) return true;
  if (((segment.timestampValue - c.timestampRecent) | 0) >= 0 || (segment.flags & RST) !== 0) return true;
  c.services.count('tcp-paws');
  c.ackNow = true;
  return false;
}

/** RFC 7323 (5.3, R3; 4.3): of acceptable segments the one that spans the last ACK moves TS.Recent, so that a delayed ACK echoes the earliest. */
function noteTimestamp(c: TcpConnection, segment: TcpSegment, offset: number): void {
  if (!c.timestamps || !segment.hasTimestamps || offset > c.lastAckSent) return;
  if (((segment.timestampValue - c.timestampRecent) | 0) > 0) c.timestampRecent = segment.timestampValue;
}

/** First: check sequence number. */
function checkSequenceNumber(c: TcpConnection, segment: TcpSegment, offset: number, nowMs: number): boolean {
  const end = offset + segment.payloadBytes + ((segment.flags & FIN) !== 0 ? 1 : 0);
  const edge = c.acceptanceEdge();
  const acceptable = end === offset ? offset >= c.rcvNxt && offset <= Math.max(edge, c.rcvNxt) : end > c.rcvNxt && offset < edge;
  if (acceptable) {
    noteTimestamp(c, segment, offset);
    return true;
  }
  if ((segment.flags & RST) !== 0) return false;
  c.services.count('tcp-out-of-window');
  // An old segment still carries a valid ACK and, for MPTCP, a DATA_ACK: a keepalive or window probe, or a retransmission that crossed ours.
  c.ackNow = true;
  if (segment.payloadBytes > 0 && end <= c.rcvNxt) noteDuplicate(c, offset, offset + segment.payloadBytes);
  if (c.state === 'time-wait' && (segment.flags & FIN) !== 0) c.timeWaitDeadlineMs = nowMs + TIME_WAIT_MS;
  return end <= c.rcvNxt && end > c.rcvNxt - 0x4000_0000 && (segment.flags & ACK) !== 0 && c.isSynchronized;
}

function noteDuplicate(c: TcpConnection, start: number, end: number): void {
  c.duplicateStart = start;
  c.duplicateEnd = end;
}

/** Second: check the RST bit (RFC 5961, 3.2). */
function handleReset(c: TcpConnection, segment: TcpSegment, offset: number, nowMs: number): void {
  if (offset !== c.rcvNxt) {
    challenge(c, nowMs);
    return;
  }
  // RFC 1337: all was said in both directions, and no RST unsays it.
  if (c.state === 'time-wait') return;
  c.processOptions(segment, nowMs);
  closeConnection(c, c.state === 'syn-received' && !c.fastOpened ? 'refused' : 'reset', nowMs);
}

/** Fifth: check the ACK field. */
function checkAck(c: TcpConnection, segment: TcpSegment, nowMs: number): boolean {
  const recovery = c.recovery;
  const ackOffset = unwrapOffset(segment.acknowledgmentNumber, c.iss, recovery.sndUna);
  if (c.state === 'syn-received') {
    // RFC 7413 (4.2.2): our data may have gone before the third ACK, and be acknowledged by it.
    if (ackOffset < 1 || recovery.sndNxt < 1 || ackOffset > Math.max(recovery.sndNxt, 1 + c.synPayload.length)) {
      sendStatelessReset(c.services.sink, c.pathId, segment, 0);
      return false;
    }
    noteSynAcked(c, segment, c.fastOpened ? 0 : ackOffset - 1, nowMs);
    // RFC 7323 (2.2): the window of a SYN/ACK is not scaled.
    c.sendWindowEdge = ackOffset + segment.window * ((segment.flags & SYN) !== 0 ? 1 : 2 ** c.sendWindowScale);
    if (!c.processOptions(segment, nowMs)) return false;
    c.setState('syn-acked');
    c.onEstablished(nowMs);
    if ((c.state as string) === 'closed') return false;
    if (ackOffset === recovery.sndUna) return true;
  }
  // RFC 5961 (5.2)
  if (ackOffset > recovery.sndNxt) {
    challenge(c, nowMs);
    return false;
  }
  if (ackOffset < recovery.sndUna) return true;
  const edge = ackOffset + segment.window * 2 ** c.sendWindowScale;
  // RFC 5681 (2): a duplicate ACK brings nothing and changes nothing.
  const isDuplicate = ackOffset === recovery.sndUna && segment.payloadBytes === 0 && edge === c.sendWindowEdge;
  if (!c.sackEnabled) {
    recovery.sacklessSegmentBytes = c.dataSegmentBytes();
    if (isDuplicate && (segment.flags & FIN) === 0) recovery.noteDuplicateAck(nowMs);
  }
  if (edge > c.sendWindowEdge) {
    c.sendWindowEdge = edge;
    c.persistDeadlineMs = NEVER_MS;
    c.persistCount = 0;
  }
  const echoedMs = c.timestamps && segment.hasTimestamps ? (c.timestampNow() - segment.timestampEcho) | 0 : -1;
  const bits = recovery.handleAck(ackOffset, segment.sack, segment.sackCount, c.iss, (segment.flags & ECE) !== 0, echoedMs, nowMs);
  if ((bits & ACK_ADVANCED) !== 0 && c.finSent && ackOffset > c.finOffset) handleFinAcknowledged(c, nowMs);
  if (c.closeReason !== undefined) return false;
  c.onAcknowledged(nowMs);
  return c.closeReason === undefined;
}

function handleFinAcknowledged(c: TcpConnection, nowMs: number): void {
  const before = c.state;
  if (before !== 'fin-wait-1' && before !== 'closing' && before !== 'last-ack') return;
  c.setState('fin-acked');
  if (c.state === 'time-wait') c.timeWaitDeadlineMs = nowMs + TIME_WAIT_MS;
  if (c.state === 'closed') finishClose(c, 'finished', nowMs);
}

/** Seventh: process the segment text. */
function handlePayload(c: TcpConnection, segment: TcpSegment, offset: number, nowMs: number): void {
  if (c.state !== 'established' && c.state !== 'fin-wait-1' && c.state !== 'fin-wait-2') return;
  const edge = c.acceptanceEdge();
  const start = Math.max(offset, c.rcvNxt);
  const end = Math.min(offset + segment.payloadBytes, edge);
  if (start >= end || (start > c.rcvNxt && c.received.contains(start, end))) {
    if (start < end) {
      noteDuplicate(c, start, end);
      // Its block is the next to be reported (RFC 2883, 4).
      c.received.add(start, end);
    }
    c.ackNow = true;
    return;
  }
  if (!c.onPayload(segment, start, segment.payloadOffset + (start - offset), end - start, nowMs)) return;
  if (start === c.rcvNxt) {
    const before = c.received.count;
    c.rcvNxt = before === 0 ? end : c.received.advance(end);
    // RFC 5681 (4.2): acknowledge at once what fills a gap.
    if (before > 0) c.ackNow = true;
  } else {
    c.received.add(start, end);
    c.ackNow = true;
  }
  c.unacknowledgedBytes += end - start;
  if (c.unacknowledgedBytes >= 2 * (c.mssBytes - 40)) c.ackNow = true;
  else if (c.ackDeadlineMs === NEVER_MS) c.ackDeadlineMs = nowMs + DELAYED_ACK_MS;
}

/** Eighth: check the FIN bit. It may come before the data that precedes it. */
function noteFin(c: TcpConnection, finOffset: number): void {
  if (c.finReceivedOffset < 0) c.finReceivedOffset = finOffset;
  c.ackNow = true;
}

function handleFinInOrder(c: TcpConnection, nowMs: number): void {
  if (c.finReceivedOffset < 0 || c.rcvNxt !== c.finReceivedOffset) return;
  if (c.state !== 'established' && c.state !== 'fin-wait-1' && c.state !== 'fin-wait-2') return;
  c.rcvNxt = c.finReceivedOffset + 1;
  c.setState('fin-received');
  c.ackNow = true;
  if ((c.state as string) === 'time-wait') c.timeWaitDeadlineMs = nowMs + TIME_WAIT_MS;
  c.onFinReceived(nowMs);
}

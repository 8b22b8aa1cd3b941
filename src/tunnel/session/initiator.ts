/** The initiator's half: one initiation raced on all routes, renewed until a response verifies; cookies; the tie-break's loser yields. */

import { NoiseInitiator } from '../../crypto/noise.js';
import { importPrivateKey } from '../../crypto/x25519.js';
import { openCookieReply, verifyMac1, writeMac1, writeMac2 } from './cookie.js';
import { allocateIndex, featuresFor, randomBelow, type SessionCore } from './core.js';
import { installEpoch } from './epochs.js';
import {
  emitHeader,
  emitHello,
  INITIATION_BYTES,
  MESSAGE_HEADER_BYTES,
  MESSAGE_INITIATION,
  messageIndex,
  PROTOCOL_VERSION,
  parseChoice,
  withoutMacs,
} from './messages.js';
import type { Attempt, Peer, PendingHandshake } from './peer.js';
import { makePrologue } from './prologue.js';

/** Begins to try, at once unless we just answered the other side's own initiation. Sending is left to `pollAttempt`. */
export function startAttempt(core: SessionCore, peer: Peer, nowMs: number): void {
  if (peer.attempt !== undefined || !peer.initiator || peer.routes.length === 0) return;
  const yieldUntilMs = peer.next === undefined ? nowMs : peer.next.createdMs + core.constants.yieldMs;
  peer.attempt = {
    startedMs: nowMs,
    sendCount: 0,
    nextSendMs: Math.max(nowMs, yieldUntilMs),
    pending: undefined,
    answerFault: '',
  };
}

export function cancelAttempt(core: SessionCore, peer: Peer): void {
  if (peer.attempt === undefined) return;
  dropPending(core, peer.attempt);
  peer.attempt = undefined;
}

function dropPending(core: SessionCore, attempt: Attempt): void {
  if (attempt.pending !== undefined) core.peersByIndex.delete(attempt.pending.localIndex);
  attempt.pending = undefined;
}

/** We answered the other side's initiation: ours is held back, so that one handshake comes out of two. */
export function yieldAttempt(core: SessionCore, peer: Peer, nowMs: number): void {
  if (peer.attempt === undefined) return;
  dropPending(core, peer.attempt);
  peer.attempt.nextSendMs = nowMs + core.constants.yieldMs + randomBelow(core, core.constants.retryJitterMs);
}

/** Sends a fresh initiation when it is time. */
export function pollAttempt(core: SessionCore, peer: Peer, nowMs: number): void {
  const attempt = peer.attempt;
  if (attempt === undefined || nowMs < attempt.nextSendMs) return;
  dropPending(core, attempt);
  attempt.pending = makePending(core, peer, nowMs);
  for (const route of peer.routes) sendInitiation(core, peer, attempt.pending, route, nowMs);
  attempt.nextSendMs = nowMs + retryDelay(core, attempt.sendCount++);
}

function retryDelay(core: SessionCore, sendCount: number): number {
  const { retryMs, retryJitterMs } = core.constants;
  if (sendCount < retryMs.length - 1) return retryMs[sendCount]!;
  return retryMs[retryMs.length - 1]! + randomBelow(core, retryJitterMs);
}

function makePending(core: SessionCore, peer: Peer, nowMs: number): PendingHandshake {
  const localIndex = allocateIndex(core, peer);
  const initiation = new Uint8Array(INITIATION_BYTES);
  emitHeader(initiation, MESSAGE_INITIATION, localIndex);
  const noise = new NoiseInitiator({
    prologue: makePrologue(initiation),
    staticKey: core.staticKey,
    ephemeralKey: importPrivateKey(core.randomBytes(32)),
    remoteStatic: peer.publicKey,
    presharedKey: peer.presharedKey,
    staticStatic: peer.staticStatic,
  });
  const features = featuresFor(core, localIndex);
  const hello = { timestamp: core.timestamps.next(nowMs), version: PROTOCOL_VERSION, features, costs: core.aeadCosts };
  initiation.set(noise.writeInitiation(emitHello(hello)), MESSAGE_HEADER_BYTES);
  writeMac1(initiation, peer.mac1Key);
  return { localIndex, noise, initiation, features, createdMs: nowMs, sentRoutes: new Set(), cookieRoutes: new Set(), responseFailures: 0 };
}

function sendInitiation(core: SessionCore, peer: Peer, pending: PendingHandshake, route: number, nowMs: number): void {
  const copy = Uint8Array.from(pending.initiation);
  const cookie = peer.cookies.get(route);
  writeMac2(copy, cookie !== undefined && nowMs < cookie.untilMs ? cookie.value : undefined);
  pending.sentRoutes.add(route);
  core.counters.initiationsSent++;
  core.transmit(route, copy, peer);
}

/** New routes join the race at once. */
export function raceNewRoutes(core: SessionCore, peer: Peer, nowMs: number): void {
  const pending = peer.attempt?.pending;
  if (pending === undefined) return;
  for (const route of peer.routes) {
    if (!pending.sentRoutes.has(route)) sendInitiation(core, peer, pending, route, nowMs);
  }
}

/** First valid response wins; later copies find no handshake that waits. */
export function handleResponse(core: SessionCore, bytes: Uint8Array, route: number, nowMs: number): Peer | undefined {
  const { counters } = core;
  if (!verifyMac1(bytes, core.ownMac1Key)) {
    counters.mac1Invalid++;
    return undefined;
  }
  const peer = core.peersByIndex.get(messageIndex(bytes));
  const attempt = peer?.attempt;
  const pending = attempt?.pending;
  if (peer === undefined || attempt === undefined || pending === undefined || pending.localIndex !== messageIndex(bytes)) {
    counters.responseUnexpected++;
    return undefined;
  }
  const fault = completeHandshake(core, peer, pending, bytes, route, nowMs);
  if (fault === undefined) return peer;
  counters[fault]++;
  pending.responseFailures++;
  if (fault === 'responseInvalid') attempt.answerFault = 'invalid';
  else if (fault === 'unsupportedVersion') attempt.answerFault = 'version';
  return undefined;
}

type ResponseFault = 'responseInvalid' | 'unsupportedVersion' | 'noCommonAead';

function completeHandshake(
  core: SessionCore,
  peer: Peer,
  pending: PendingHandshake,
  bytes: Uint8Array,
  route: number,
  nowMs: number,
): ResponseFault | undefined {
  if (pending.responseFailures >= core.constants.maxResponseFailures) return 'responseInvalid';
  const result = pending.noise.readResponse(withoutMacs(bytes).subarray(MESSAGE_HEADER_BYTES));
  if (result === undefined) return 'responseInvalid';
  const choice = parseChoice(result.payload);
  if (typeof choice === 'string') return 'responseInvalid';
  if (choice.version !== PROTOCOL_VERSION) return 'unsupportedVersion';
  if (core.aeadCosts[choice.aead] === 0) return 'noCommonAead';
  // The index lives on as the epoch's.
  peer.attempt = undefined;
  core.counters.handshakesInitiated++;
  const { localIndex } = pending;
  const { senderIndex: remoteIndex, aead } = choice;
  const features = pending.features & choice.features;
  installEpoch(core, peer, { localIndex, remoteIndex, aead, features, split: result.split, initiator: true, route }, nowMs);
  return undefined;
}

/** The responder is under load: the same initiation goes again on that route, with its cookie, once. */
export function handleCookieReply(core: SessionCore, bytes: Uint8Array, route: number, nowMs: number): void {
  const index = messageIndex(bytes);
  const peer = core.peersByIndex.get(index);
  const pending = peer?.attempt?.pending;
  if (peer === undefined || pending === undefined || pending.localIndex !== index || !pending.sentRoutes.has(route)) {
    core.counters.cookieUnexpected++;
    return;
  }
  const value = openCookieReply(bytes, pending.initiation, peer.cookieReplyKey);
  if (value === undefined) {
    core.counters.cookieInvalid++;
    return;
  }
  if (!peer.routes.includes(route)) return;
  peer.cookies.set(route, { value, untilMs: nowMs + core.constants.cookieFreshMs });
  if (pending.cookieRoutes.has(route)) return;
  pending.cookieRoutes.add(route);
  sendInitiation(core, peer, pending, route, nowMs);
}

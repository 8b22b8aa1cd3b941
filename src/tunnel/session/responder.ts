/**
 * The responder's half. The order is that of cost: MAC (4 µs), cached answer, budget or cookie, one X25519, known key, timestamp, and only then
 * an answer. A stranger gets silence and leaves no trace but a count.
 */

import { NoiseResponder } from '../../crypto/noise.js';
import { importPrivateKey } from '../../crypto/x25519.js';
import type { AeadName } from '../../tun/native.js';
import { verifyMac1, writeMac1, writeMac2 } from './cookie.js';
import { allocateIndex, featuresFor, type SessionCore } from './core.js';
import { installEpoch } from './epochs.js';
import { yieldAttempt } from './initiator.js';
import {
  chooseAead,
  emitChoice,
  emitHeader,
  type Hello,
  MAC_BYTES,
  MESSAGE_HEADER_BYTES,
  MESSAGE_RESPONSE,
  messageIndex,
  PROTOCOL_VERSION,
  parseHello,
  RESPONSE_BYTES,
  withoutMacs,
} from './messages.js';
import { type Peer, tableKey } from './peer.js';
import { makePrologue } from './prologue.js';
import { compareTimestamps } from './timestamp.js';

interface Arrival {
  bytes: Uint8Array;
  route: number;
  sourceAddress: Uint8Array;
  nowMs: number;
}

/** The peer whose state changed, if any. */
export function handleInitiation(core: SessionCore, arrival: Arrival): Peer | undefined {
  const { bytes } = arrival;
  if (!verifyMac1(bytes, core.ownMac1Key)) {
    core.counters.mac1Invalid++;
    return undefined;
  }
  // mac2 differs by route, everything before it is the same in all copies.
  const initiationKey = tableKey(bytes.subarray(0, bytes.length - MAC_BYTES));
  const answered = core.peersByAnswer.get(initiationKey);
  if (answered !== undefined) {
    repeatAnswer(core, answered, arrival);
    return undefined;
  }
  if (!admit(core, arrival)) return undefined;
  return readInitiation(core, arrival, initiationKey);
}

/** A copy on another route, while fresh and not yet confirmed, gets the same response there: the first one may be lost. */
function repeatAnswer(core: SessionCore, peer: Peer, { route, sourceAddress, nowMs }: Arrival): void {
  core.counters.initiationRepeated++;
  const answer = peer.answer;
  if (answer === undefined || nowMs - answer.createdMs > core.constants.initiationFreshMs) return;
  if (peer.next?.localIndex !== answer.localIndex) return;
  if (answer.routes.has(route) || answer.routes.size >= core.constants.maxRoutes) return;
  const source = tableKey(sourceAddress);
  const count = answer.sources.get(source) ?? 0;
  if (count >= core.constants.maxAnswersPerSource) return;
  answer.routes.add(route);
  answer.sources.set(source, count + 1);
  core.counters.responsesSent++;
  core.transmit(route, Uint8Array.from(answer.response), peer);
}

/** Under load only senders with a cookie are computed for; the others are told how to get one. */
function admit(core: SessionCore, { bytes, route, sourceAddress, nowMs }: Arrival): boolean {
  if (core.budget.take(nowMs)) return true;
  if (core.cookieJar.verifyMac2(bytes, sourceAddress, nowMs)) {
    if (core.budget.takeWithCookie(sourceAddress, nowMs)) return true;
    core.counters.overBudget++;
    return false;
  }
  core.counters.cookieRepliesSent++;
  core.transmit(route, core.cookieJar.reply(bytes, messageIndex(bytes), sourceAddress, nowMs), undefined);
  return false;
}

function readInitiation(core: SessionCore, arrival: Arrival, initiationKey: string): Peer | undefined {
  const { counters } = core;
  const { bytes, nowMs } = arrival;
  const noise = new NoiseResponder({ prologue: makePrologue(bytes), staticKey: core.staticKey });
  const message = withoutMacs(bytes).subarray(MESSAGE_HEADER_BYTES);
  const claimedKey = noise.readStatic(message);
  if (claimedKey === undefined) {
    counters.initiationInvalid++;
    return undefined;
  }
  const peer = core.peersByKey.get(tableKey(claimedKey));
  if (peer === undefined) {
    counters.unknownPeer++;
    return undefined;
  }
  const payload = noise.readPayload(message, peer.publicKey, peer.staticStatic);
  const hello = payload === undefined ? 'hello does not verify' : parseHello(payload);
  if (typeof hello === 'string') {
    counters.initiationInvalid++;
    return undefined;
  }
  if (peer.newestTimestamp !== undefined && compareTimestamps(hello.timestamp, peer.newestTimestamp) <= 0) {
    counters.initiationReplayed++;
    return undefined;
  }
  if (isOursHeard(core, peer, nowMs)) {
    counters.tieBreakIgnored++;
    return undefined;
  }
  const aead = negotiate(core, hello);
  if (aead === undefined) return undefined;
  return respond(core, peer, { arrival, initiationKey, noise, hello, aead });
}

/** Both began at once: the winner of the tie-break goes on with its own for a moment. After that any handshake is better than none. */
function isOursHeard(core: SessionCore, peer: Peer, nowMs: number): boolean {
  const attempt = peer.attempt;
  if (attempt?.pending === undefined || !peer.winsTieBreak) return false;
  return nowMs - attempt.startedMs < core.constants.tieBreakMs;
}

function negotiate(core: SessionCore, hello: Hello): AeadName | undefined {
  if (hello.version < PROTOCOL_VERSION) {
    core.counters.unsupportedVersion++;
    return undefined;
  }
  const aead = chooseAead(core.aeadPreference, core.aeadCosts, hello.costs);
  if (aead === undefined) core.counters.noCommonAead++;
  return aead;
}

interface Accepted {
  arrival: Arrival;
  initiationKey: string;
  noise: NoiseResponder;
  hello: Hello;
  aead: AeadName;
}

function respond(core: SessionCore, peer: Peer, accepted: Accepted): Peer | undefined {
  const { arrival, aead, noise, hello, initiationKey } = accepted;
  const { nowMs, route } = arrival;
  const localIndex = allocateIndex(core, peer);
  const ownFeatures = featuresFor(core, localIndex);
  const choice = emitChoice({ senderIndex: localIndex, version: PROTOCOL_VERSION, aead, features: ownFeatures });
  const written = noise.writeResponse(importPrivateKey(core.randomBytes(32)), peer.presharedKey, choice);
  if (written === undefined) {
    core.peersByIndex.delete(localIndex);
    core.counters.initiationInvalid++;
    return undefined;
  }
  const response = new Uint8Array(RESPONSE_BYTES);
  const remoteIndex = messageIndex(arrival.bytes);
  emitHeader(response, MESSAGE_RESPONSE, remoteIndex);
  response.set(written.message, MESSAGE_HEADER_BYTES);
  writeMac1(response, peer.mac1Key);
  writeMac2(response, undefined);

  peer.newestTimestamp = hello.timestamp;
  forgetAnswer(core, peer);
  const sources = new Map([[tableKey(arrival.sourceAddress), 1]]);
  peer.answer = { initiationKey, response, localIndex, createdMs: nowMs, routes: new Set([route]), sources };
  core.peersByAnswer.set(initiationKey, peer);
  yieldAttempt(core, peer, nowMs);
  core.counters.handshakesResponded++;
  core.counters.responsesSent++;
  const features = ownFeatures & hello.features;
  installEpoch(core, peer, { localIndex, remoteIndex, aead, features, split: written.split, initiator: false, route }, nowMs);
  core.transmit(route, Uint8Array.from(response), peer);
  return peer;
}

export function forgetAnswer(core: SessionCore, peer: Peer): void {
  if (peer.answer !== undefined) core.peersByAnswer.delete(peer.answer.initiationKey);
  peer.answer = undefined;
}

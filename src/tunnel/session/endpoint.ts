/** Composition of the session's parts, and its clockwork: one timeout per peer, the earliest of them for all. */

import { importPrivateKey } from '../../crypto/x25519.js';
import { SESSION_DEFAULTS, type SessionConstants } from './constants.js';
import { CookieJar, mac1Key } from './cookie.js';
import { createCounters, type SessionCore, type SessionCounters } from './core.js';
import { confirmNext, expireEpochs, findEpoch, retireEpoch } from './epochs.js';
import { HandshakeBudget } from './handshake-budget.js';
import { cancelAttempt, handleCookieReply, handleResponse, pollAttempt, raceNewRoutes, startAttempt } from './initiator.js';
import { LocalIndices } from './local-indices.js';
import { aeadCosts, FEATURES, MESSAGE_COOKIE_REPLY, MESSAGE_INITIATION, MESSAGE_RESPONSE, messageType } from './messages.js';
import { type AnswerFault, Peer, tableKey } from './peer.js';
import { forgetAnswer, handleInitiation } from './responder.js';
import type { SessionEndpoint, SessionEndpointOptions, SessionEvent, SessionPeerConfig } from './session.js';
import { TimestampClock } from './timestamp.js';

export const NO_ANSWER = 'no answer from the server: wrong endpoint, firewall, or wrong keys';
export const INVALID_ANSWER = 'the server answers, but its answer does not verify: the preshared keys differ';
export const OLD_VERSION = 'the server answers, but speaks another version of the protocol: upgrade mptunnel on the side that is older';
export const SESSION_EXPIRED = 'the session expired: no new handshake came from the peer';

/**
 * Buffers in `options` are copied. `overrides` shrinks times and limits for tests. Throws RangeError for keys that are not 32 bytes, two peers with one
 * id or key, a key that is our own or weak, and an empty list of AEADs.
 */
const ANSWER_FAULTS: Readonly<Record<AnswerFault, string>> = { '': NO_ANSWER, invalid: INVALID_ANSWER, version: OLD_VERSION };

export function createSessionEndpoint(options: SessionEndpointOptions, overrides: Partial<SessionConstants> = {}): SessionEndpoint {
  return new Endpoint(options, { ...SESSION_DEFAULTS, ...overrides });
}

interface Transmission {
  route: number;
  bytes: Uint8Array;
  peer: Peer | undefined;
}

class Endpoint implements SessionEndpoint {
  readonly counters: SessionCounters = createCounters();
  readonly #core: SessionCore;
  readonly #peers = new Map<number, Peer>();
  #transmissions: Transmission[] = [];
  readonly #events: SessionEvent[] = [];
  /** Never later than the earliest timeout of a peer; may be earlier, which costs one look. */
  #timeoutMs = Number.POSITIVE_INFINITY;

  constructor(options: SessionEndpointOptions, constants: SessionConstants) {
    if (options.aeads.length === 0) throw new RangeError('aeads is empty');
    const { randomBytes, nowMs } = options;
    const staticKey = importPrivateKey(options.privateKey);
    this.#core = {
      constants,
      counters: this.counters,
      randomBytes,
      staticKey,
      ownMac1Key: mac1Key(staticKey.publicKey),
      aeadPreference: options.aeads.map((aead) => aead.name),
      aeadCosts: aeadCosts(options.aeads),
      features: options.features ?? FEATURES,
      timestamps: new TimestampClock(options.wallClockMs, nowMs),
      cookieJar: new CookieJar({ publicKey: staticKey.publicKey, secretMs: constants.cookieSecretMs, randomBytes }),
      budget: new HandshakeBudget(constants, nowMs),
      peersByKey: new Map(),
      peersByIndex: new LocalIndices(),
      peersByAnswer: new Map(),
      transmit: (route, bytes, peer) => this.#queue({ route, bytes, peer }),
      emit: (event) => void this.#events.push(event),
    };
    for (const peer of options.peers) this.addPeer(peer);
  }

  addPeer(config: SessionPeerConfig): void {
    if (this.#peers.has(config.peerId)) throw new RangeError(`peerId ${config.peerId} is taken`);
    const peer = new Peer(config, this.#core.staticKey);
    const key = tableKey(peer.publicKey.bytes);
    if (this.#core.peersByKey.has(key)) throw new RangeError('publicKey is that of another peer');
    this.#peers.set(peer.id, peer);
    this.#core.peersByKey.set(key, peer);
  }

  removePeer(peerId: number): void {
    const peer = this.#peers.get(peerId);
    if (peer === undefined) return;
    const core = this.#core;
    cancelAttempt(core, peer);
    forgetAnswer(core, peer);
    for (const epoch of [peer.previous, peer.current, peer.next]) retireEpoch(core, peer, epoch);
    this.#unqueue(peer);
    core.peersByKey.delete(tableKey(peer.publicKey.bytes));
    this.#peers.delete(peerId);
    peer.presharedKey.fill(0);
    peer.staticStatic.fill(0);
  }

  handleDatagram(bytes: Uint8Array, route: number, sourceAddress: Uint8Array, nowMs: number): void {
    const core = this.#core;
    let changed: Peer | undefined;
    switch (messageType(bytes)) {
      case MESSAGE_INITIATION:
        changed = handleInitiation(core, { bytes, route, sourceAddress, nowMs });
        break;
      case MESSAGE_RESPONSE:
        changed = handleResponse(core, bytes, route, nowMs);
        break;
      case MESSAGE_COOKIE_REPLY:
        handleCookieReply(core, bytes, route, nowMs);
        break;
      default:
        this.counters.malformed++;
    }
    if (changed !== undefined) this.#schedule(changed);
  }

  handleDataReceived(localIndex: number, nowMs: number): void {
    const peer = this.#core.peersByIndex.get(localIndex);
    if (peer === undefined || findEpoch(peer, localIndex) === undefined) {
      this.counters.unknownEpoch++;
      return;
    }
    peer.heardMs = nowMs;
    peer.unansweredSinceMs = Number.POSITIVE_INFINITY;
    if (peer.next?.localIndex !== localIndex) return;
    cancelAttempt(this.#core, peer);
    confirmNext(this.#core, peer, nowMs);
    this.#schedule(peer);
  }

  handleDataSent(localIndex: number, datagrams: number, nowMs: number): void {
    const peer = this.#core.peersByIndex.get(localIndex);
    const epoch = peer === undefined ? undefined : findEpoch(peer, localIndex);
    if (peer === undefined || epoch === undefined) {
      this.counters.unknownEpoch++;
      return;
    }
    epoch.datagramsSent += datagrams;
    const worn = epoch.datagramsSent >= this.#core.constants.rekeyAfterDatagrams[epoch.aead];
    const first = peer.unansweredSinceMs === Number.POSITIVE_INFINITY;
    if (first) peer.unansweredSinceMs = nowMs;
    if (!first && !worn) return;
    if (epoch.datagramsSent >= this.#core.constants.rejectAfterDatagrams) epoch.expiresAtMs = nowMs;
    // Only marks what is due: the caller is amid sending, and its timer brings it to handleTimeout.
    if (worn && epoch === peer.current) startAttempt(this.#core, peer, nowMs);
    this.#schedule(peer);
  }

  setRoutes(peerId: number, routes: readonly number[], nowMs: number): void {
    const peer = this.#peers.get(peerId);
    if (peer === undefined) throw new RangeError(`peerId ${peerId} is unknown`);
    const unique = [...new Set(routes)];
    if (unique.length > this.#core.constants.maxRoutes) throw new RangeError(`routes holds more than ${this.#core.constants.maxRoutes}`);
    peer.routes = unique;
    for (const route of peer.cookies.keys()) {
      if (!unique.includes(route)) peer.cookies.delete(route);
    }
    if (unique.length === 0) {
      cancelAttempt(this.#core, peer);
      this.#unqueue(peer);
    } else if (peer.attempt !== undefined) raceNewRoutes(this.#core, peer, nowMs);
    else if (peer.current === undefined) startAttempt(this.#core, peer, nowMs);
    this.#service(peer, nowMs);
    this.#schedule(peer);
  }

  pollTransmit(out: Uint8Array, _nowMs: number): { route: number; length: number } | undefined {
    const transmission = this.#transmissions[0];
    if (transmission === undefined) return undefined;
    if (out.length < transmission.bytes.length) throw new RangeError(`out is shorter than ${transmission.bytes.length} bytes`);
    this.#transmissions.shift();
    out.set(transmission.bytes);
    return { route: transmission.route, length: transmission.bytes.length };
  }

  pollEvent(): SessionEvent | undefined {
    return this.#events.shift();
  }

  nextTimeoutMs(): number {
    return this.#timeoutMs;
  }

  handleTimeout(nowMs: number): void {
    if (nowMs < this.#timeoutMs) return;
    this.#timeoutMs = Number.POSITIVE_INFINITY;
    for (const peer of this.#peers.values()) {
      if (peer.timeoutMs <= nowMs) this.#service(peer, nowMs);
      this.#schedule(peer);
    }
  }

  #queue(transmission: Transmission): void {
    if (this.#transmissions.length >= this.#core.constants.maxTransmitQueue) this.counters.transmitQueueFull++;
    else this.#transmissions.push(transmission);
  }

  #unqueue(peer: Peer): void {
    this.#transmissions = this.#transmissions.filter((transmission) => transmission.peer !== peer);
  }

  /** Does for this peer what is due by now. */
  #service(peer: Peer, nowMs: number): void {
    const core = this.#core;
    const expired = expireEpochs(core, peer, nowMs);
    if (expired) this.#reportUnreachable(peer, peer.initiator ? NO_ANSWER : SESSION_EXPIRED);
    if (expired || nowMs >= rekeyDueMs(core.constants, peer)) startAttempt(core, peer, nowMs);
    pollAttempt(core, peer, nowMs);
    if (peer.attempt !== undefined && nowMs >= unreachableDueMs(core.constants, peer)) {
      this.#reportUnreachable(peer, ANSWER_FAULTS[peer.attempt.answerFault]);
    }
  }

  #reportUnreachable(peer: Peer, reason: string): void {
    if (peer.unreachableReported) return;
    peer.unreachableReported = true;
    this.#core.emit({ type: 'peer-unreachable', peerId: peer.id, reason });
  }

  #schedule(peer: Peer): void {
    peer.timeoutMs = Math.min(
      peer.previous?.expiresAtMs ?? Number.POSITIVE_INFINITY,
      peer.current?.expiresAtMs ?? Number.POSITIVE_INFINITY,
      peer.next?.expiresAtMs ?? Number.POSITIVE_INFINITY,
      peer.attempt?.nextSendMs ?? Number.POSITIVE_INFINITY,
      rekeyDueMs(this.#core.constants, peer),
      unreachableDueMs(this.#core.constants, peer),
    );
    this.#timeoutMs = Math.min(this.#timeoutMs, peer.timeoutMs);
  }
}

/** When new keys are wanted: the current ones are old, or the peer went silent while we sent (it may have restarted). */
function rekeyDueMs(constants: SessionConstants, peer: Peer): number {
  if (peer.attempt !== undefined || !peer.initiator || peer.routes.length === 0 || peer.current === undefined)
    return Number.POSITIVE_INFINITY;
  return Math.min(peer.current.rekeyAtMs, peer.unansweredSinceMs + constants.silenceMs);
}

/** While data arrives, a handshake that fails is no reason for alarm. */
function unreachableDueMs(constants: SessionConstants, peer: Peer): number {
  if (peer.attempt === undefined || peer.unreachableReported) return Number.POSITIVE_INFINITY;
  const sinceMs = peer.current === undefined ? peer.attempt.startedMs : Math.max(peer.attempt.startedMs, peer.heardMs);
  return sinceMs + constants.unreachableAfterMs;
}

/**
 * Control frames of the paths: challenges and responses prove addresses, probes and replies prove liveness, acknowledgements measure. What is a proof for the
 * state of a path is decided here: only an answer to something of ours.
 */

import { BASE_STORED, type OpenTableHandle } from '../../tun/native.js';
import {
  CLOSE_SHUTDOWN,
  type ControlFrame,
  emitClose,
  emitHeaderBaseStored,
  emitHeaderBaseUnknown,
  emitPathAck,
  emitPathChallenge,
  emitPathProbe,
  emitPathProbeReply,
  emitPathResponse,
  emitSlow,
  type HeaderBaseFrame,
  type PathAckFrame,
  type PathChallengeFrame,
  parseFrames,
} from '../session/frames.js';
import { isPeerMessage, type PeerMessage, type SlowControl } from '../session/slow-control.js';
import { bestPathIn } from '../steering/best-path.js';
import { formatRemote } from './address-record.js';
import type { AddressValidation } from './address-validation.js';
import { candidateAddress } from './candidate-addresses.js';
import type { DirectWay } from './direct-way.js';
import type { Epoch } from './epoch.js';
import type { LinkContext } from './link-context.js';
import { MtuProber } from './mtu-prober.js';
import type { Candidate, Path } from './path.js';
import type { Peer } from './peer.js';
import type { SessionDriver } from './session-driver.js';

/** An address that does not answer its challenges for so long was none. */
const CANDIDATE_MS = 5000;
/** The peer is told so often that a base is unknown: what it sent before it heard comes for a round trip. */
const UNKNOWN_BASE_EVERY_MS = 20;

/** (Server) a path that is down for so long while others are not is forgotten; should it come back, it is a new one. */
const FORGET_AFTER_MS = 15 * 60_000;

type PathStateMessage = Extract<SlowControl, { kind: 'path-state' }>;
type PathsMessage = Extract<SlowControl, { kind: 'paths' }>;

/** Where frames came from. */
interface Origin {
  path: Path;
  epoch: Epoch;
  packetNumber: number;
  candidate: Candidate | undefined;
  nowMs: number;
}

export class PathControl {
  readonly #context: LinkContext;
  readonly #driver: SessionDriver;
  readonly #table: OpenTableHandle;
  readonly #mtu: MtuProber;

  constructor(context: LinkContext, driver: SessionDriver, table: OpenTableHandle) {
    this.#context = context;
    this.#driver = driver;
    this.#table = table;
    this.#mtu = new MtuProber(context);
  }

  /** What is due on `path` by now; staged, the caller flushes. */
  handleTimeout(path: Path, nowMs: number): void {
    if (path.machine.handleTimeout(nowMs)) this.#context.pathChanged(path, nowMs);
    path.delivery.update(nowMs);
    if (path.machine.pollProbe(nowMs)) this.#sendProbe(path, nowMs);
    this.#pursueHello(path, nowMs);
    this.#mtu.pursue(path, nowMs);
    if (path.acks !== undefined && path.acks.dueMs() <= nowMs) this.sendAck(path, nowMs);
    this.#pursueCandidate(path, nowMs);
    this.#pursueDirect(path, nowMs);
    const { peer } = path;
    if (!peer.initiator && peer.state === 'up' && path.machine.downForMs(nowMs) > FORGET_AFTER_MS) this.#context.removePath(path, nowMs);
  }

  /** (Client) what the peer shall know of the path, and which paths there are, is told until it answers. */
  introduce(path: Path, nowMs: number): void {
    if (path.validated) path.validation = this.#driver.newValidation(nowMs);
    path.helloPending = true;
    path.machine.probeSoon();
    this.#context.arm(path.nextTimeoutMs(nowMs));
  }

  /** The frames of one control datagram. `candidate`: it came from an address that is not the path's. */
  handleFrames(
    path: Path,
    epoch: Epoch,
    packetNumber: number,
    candidate: Candidate | undefined,
    bytes: Uint8Array,
    offset: number,
    length: number,
    nowMs: number,
  ): void {
    const frames = parseFrames(bytes, offset, length);
    if (typeof frames === 'string') {
      this.#context.counters.rxBadFrames++;
      return;
    }
    const from: Origin = { path, epoch, packetNumber, candidate, nowMs };
    for (const frame of frames) this.#handleFrame(from, frame);
  }

  /** The acknowledgement that is owed, under the epoch in which the data came. */
  sendAck(path: Path, nowMs: number): void {
    const { acks, receiveEpoch: epoch } = path;
    if (acks === undefined || epoch === undefined) return;
    const out = this.#context.control;
    const length = emitPathAck(out, 0, acks.largest, nowMs - acks.largestReceivedMs, acks.receivedDatagrams, acks.receivedBytes, nowMs);
    path.sendControl(epoch, out, length, false);
    acks.handleAckSent(nowMs);
  }

  /** Goodbye, on every path that may still carry it; staged. */
  sendClose(peer: Peer): void {
    const out = this.#context.control;
    if (peer.sendEpoch === undefined) return;
    for (const path of peer.paths) {
      if (path.state === 'up' || path.state === 'suspect') path.sendControl(peer.sendEpoch, out, emitClose(out, 0, CLOSE_SHUTDOWN), false);
    }
  }

  /** On the best path that is up; staged. False: there is none, or no session. Lost datagrams are the caller's to send again. */
  sendMessage(peer: Peer, message: PeerMessage): boolean {
    const path = bestPathIn('up', peer.paths);
    if (peer.sendEpoch === undefined || path === undefined) return false;
    const out = this.#context.control;
    return (path as Path).sendControl(peer.sendEpoch, out, emitSlow(out, 0, message), false);
  }

  /** `lost` is down by what we see on our side: the peer hears of it on all paths that work, a silence sooner than by itself. Staged. */
  tellDown(lost: Path): void {
    const { peer } = lost;
    if (peer.sendEpoch === undefined) return;
    const out = this.#context.control;
    const length = emitSlow(out, 0, { kind: 'path-state', pathId: lost.id, state: 'down', priority: 0, backup: false });
    for (const path of peer.paths) if (path !== lost && path.state === 'up') path.sendControl(peer.sendEpoch, out, length, false);
  }

  /** A compressed segment named a base that we don't have. Staged. */
  handleUnknownBase(path: Path, epoch: Epoch, id: number, nowMs: number): void {
    if (id < 0 || nowMs - path.unknownBaseToldMs < UNKNOWN_BASE_EVERY_MS) return;
    path.unknownBaseToldMs = nowMs;
    const out = this.#context.control;
    path.sendControl(epoch, out, emitHeaderBaseUnknown(out, 0, id), false);
  }

  #handleFrame(from: Origin, frame: ControlFrame): void {
    switch (frame.type) {
      case 'path-challenge':
        this.#handleChallenge(from, frame);
        return;
      case 'path-response':
        this.#handleResponse(from, frame.token);
        return;
      case 'path-probe': {
        const out = this.#context.control;
        const length = emitPathProbeReply(out, 0, frame.sequence, frame.timeMs);
        from.path.sendControl(from.epoch, out, length, false, from.candidate);
        return;
      }
      case 'path-probe-reply':
        this.#handleProbeReply(from, frame.sequence);
        return;
      case 'path-ack':
        this.#handleAck(from, frame);
        return;
      case 'close':
        this.#handleClose(from);
        return;
      case 'header-base':
        this.#handleBase(from, frame);
        return;
      case 'header-base-stored': {
        const sender = from.epoch.existingSender(from.path);
        if (sender !== undefined) this.#context.native.confirmBase(sender, frame.id, frame.serial);
        return;
      }
      case 'header-base-unknown': {
        const sender = from.epoch.existingSender(from.path);
        if (sender !== undefined) this.#context.native.loseBase(sender, frame.id);
        this.#context.counters.rxBaseUnknown++;
        return;
      }
      case 'slow':
        if (frame.message.kind === 'path-state') this.#handlePathState(from, frame.message);
        else if (frame.message.kind === 'seen-address') this.#handleSeen(from, frame.message.endpoint);
        else if (frame.message.kind === 'candidates') this.#handleCandidates(from, frame.message.endpoints);
        else if (frame.message.kind === 'paths') this.#handlePaths(from, frame.message);
        else if (isPeerMessage(frame.message)) this.#context.observer.onMessage?.(from.path.peer, frame.message, from.nowMs);
        else this.#context.counters.rxSlowIgnored++;
        return;
    }
  }

  /**
   * The peer knows of an event on its side that we could only find out by silence; probes go on, and bring the path back. The client also tells
   * what its configuration says of a path, on the path itself.
   */
  #handlePathState({ path: carrier, nowMs }: Origin, message: PathStateMessage): void {
    const path = carrier.peer.paths.find((candidate) => candidate.id === message.pathId);
    if (path === carrier && !path.peer.initiator) {
      const { priority, backup, cost = 0 } = message;
      const changed = path.priority !== priority || path.backup !== backup || path.cost !== cost;
      path.priority = priority;
      path.backup = backup;
      path.cost = cost;
      if (path.setLimit(message.limitBytesPerSec ?? 0) || changed) this.#context.pathChanged(path, nowMs);
      return;
    }
    if (message.state !== 'down' || path === undefined || path === carrier) return;
    if (path.machine.handleSendRefused(nowMs, 'the peer says that its link is down')) this.#context.pathChanged(path, nowMs);
  }

  /** The client says which paths it has. One that came up after it said so is in a newer list, which it brought along. */
  #handlePaths({ path: via, epoch, nowMs }: Origin, { serial, ids }: PathsMessage): void {
    const { peer } = via;
    if (peer.initiator || epoch !== peer.sendEpoch || !ids.includes(via.id)) return;
    if (peer.pathsEpoch === epoch && serial <= peer.pathsSerial) return;
    peer.pathsEpoch = epoch;
    peer.pathsSerial = serial;
    for (const path of peer.paths) {
      if (ids.includes(path.id)) continue;
      peer.noteRemoved(path.id, this.#context.newestEpochSerial);
      this.#context.removePath(path, nowMs);
    }
  }

  #handleChallenge({ path, epoch, candidate, nowMs }: Origin, frame: PathChallengeFrame): void {
    const out = this.#context.control;
    let length = emitPathResponse(out, 0, frame.token);
    if (!path.peer.initiator)
      length = emitSlow(out, length, { kind: 'seen-address', endpoint: formatRemote(candidate?.address ?? path.target) });
    path.sendControl(epoch, out, length, false, candidate);
    let changed = path.setPeerInnerMtu(frame.innerMtuBytes);
    // The client names its paths.
    if (!path.peer.initiator && frame.name !== '' && frame.name !== path.name) {
      path.name = frame.name;
      changed = true;
    }
    if (changed) this.#context.pathChanged(path, nowMs);
  }

  #handleResponse({ path, nowMs }: Origin, token: Uint8Array): void {
    const candidate = path.candidate?.validation.matches(token) === true ? path.candidate : this.#directAnswer(path, token, nowMs);
    const moved = candidate !== undefined;
    if (moved) this.#move(path, candidate);
    const { validation } = path;
    if (validation.challengeCount === 0 || !validation.matches(token)) {
      this.#context.counters.rxStaleAnswers++;
      return;
    }
    path.validated = true;
    path.helloPending = moved && path.peer.initiator;
    // Which one of several is answered is not known (Karn), but a path longer than their distance would stay unmeasured: at most it is this.
    if (validation.challengeCount === 1) this.#sampleRtt(path, nowMs - validation.lastChallengeMs, 0, nowMs);
    else path.rtt.assume(nowMs - validation.firstChallengeMs);
    if (!this.#prove(path, validation.lastChallengeMs, nowMs) && moved) this.#context.pathChanged(path, nowMs);
  }

  /** The place past the relay that has answered, where the path shall lead from now on. */
  #directAnswer(path: Path, token: Uint8Array, nowMs: number): Candidate | undefined {
    if (!path.isRelayed) return undefined;
    const way = path.directWay(this.#newValidation, nowMs);
    const candidate = way?.match(token);
    if (candidate === undefined) return undefined;
    way!.handleDirect(nowMs);
    path.seenAs = '';
    this.#context.counters.directMoves++;
    return candidate;
  }

  #handleSeen({ path }: Origin, endpoint: string): void {
    // By a relay the peer sees that alone.
    if (path.peer.initiator && !path.isRelayed) path.seenAs = endpoint;
  }

  #handleCandidates({ path, epoch, nowMs }: Origin, endpoints: readonly string[]): void {
    const way = path.directWay(this.#newValidation, nowMs);
    if (way === undefined) {
      this.#context.counters.rxSlowIgnored++;
      return;
    }
    const { relay } = way.carrier;
    const places = endpoints.flatMap((text) => candidateAddress(text, path.target) ?? []).filter((place) => !relay!.isAt(place, 0));
    way.handleTold(places, nowMs);
    // We send directly already: the peer has yet to find out that it may too.
    if (!path.isRelayed && way.pollTell(nowMs)) this.#tellPlaces(path, epoch, way.relayed);
    this.#context.arm(nowMs);
  }

  readonly #newValidation = (nowMs: number) => this.#driver.newValidation(nowMs);

  #handleProbeReply({ path, nowMs }: Origin, sequence: number): void {
    const sentMs = path.probes.redeem(sequence);
    if (sentMs < 0) {
      this.#context.counters.rxStaleAnswers++;
      return;
    }
    this.#sampleRtt(path, nowMs - sentMs, 0, nowMs);
    this.#prove(path, sentMs, nowMs);
    this.#mtu.handleReply(path, sequence, nowMs);
  }

  #handleAck({ path, epoch, nowMs }: Origin, frame: PathAckFrame): void {
    // Packet numbers are of the epoch that the acknowledgement came under; stamps exist for the current one.
    if (epoch !== path.peer.sendEpoch) return;
    const highest = frame.highestPacketNumber;
    const isNews = highest > path.delivery.largestAcked;
    const sentMs = path.stamps.find(highest);
    // A number that was never sent, or a total above it, is a broken peer's.
    if (highest > path.stamps.lastNumber || frame.datagrams > highest + 1) return;
    if (!path.delivery.handleAck(highest, frame.datagrams, frame.bytes, nowMs)) return;
    path.notePassed(highest);
    path.compression.noteAcked(highest);
    path.returnDelay.handleSample(frame.sentMs, nowMs);
    if (!isNews || sentMs < 0) return;
    this.#sampleRtt(path, nowMs - sentMs, frame.ackDelayMs, nowMs);
    this.#prove(path, sentMs, nowMs);
  }

  #handleBase({ path, epoch, packetNumber, candidate }: Origin, { serial, id, body }: HeaderBaseFrame): void {
    const { native, control: out, counters } = this.#context;
    counters.rxBases++;
    if (native.installBase(this.#table, epoch.localIndex, path.id, packetNumber, body, 0, body.length) !== BASE_STORED) return;
    path.sendControl(epoch, out, emitHeaderBaseStored(out, 0, serial, id), false, candidate);
  }

  #handleClose({ path, epoch, nowMs }: Origin): void {
    const { peer } = path;
    // One that was overtaken by a new session is about the old one.
    if (peer.sendEpoch !== undefined && peer.sendEpoch !== epoch) return;
    peer.lastError = `${peer.name} said goodbye`;
    this.#driver.forget(peer, nowMs);
  }

  #sampleRtt(path: Path, rttMs: number, ackDelayMs: number, nowMs: number): void {
    path.rtt.handleSample(rttMs, ackDelayMs, nowMs);
    path.machine.setRoundTrip(path.rtt.srttMs, path.rtt.rttvarMs);
  }

  /** True when the path's state changed, and all were told. */
  #prove(path: Path, sentMs: number, nowMs: number): boolean {
    // A server's path carries nothing before its address is proven.
    if (!path.validated || !path.machine.handleProof(sentMs, nowMs)) return false;
    this.#context.pathChanged(path, nowMs);
    return true;
  }

  /** The peer proved that it is at the new address: send there from now on. */
  #move(path: Path, candidate: Candidate): void {
    if (path.peer.initiator) {
      path.formerCarrier = path.carrier;
      // What fits may be another size.
      path.helloPending = true;
    }
    path.carrier = candidate.carrier;
    path.target = candidate.address;
    path.validation = candidate.validation;
    path.candidate = undefined;
    path.retarget(this.#context.epochs.values());
    this.#context.counters.roamingMoves++;
    const epoch = path.peer.sendEpoch;
    if (path.peer.initiator || epoch === undefined) return;
    // A client behind a NAT cannot see that it has moved.
    const out = this.#context.control;
    path.sendControl(epoch, out, emitSlow(out, 0, { kind: 'seen-address', endpoint: formatRemote(path.target) }), false);
  }

  /** A path that is not proven, or that the peer may not know under these keys, is challenged; others are probed. */
  #sendProbe(path: Path, nowMs: number): void {
    const epoch = path.peer.sendEpoch;
    if (epoch === undefined) return;
    if (!path.validated || path.helloPending) {
      this.#sendChallenge(path, epoch, path.validation, undefined, nowMs);
      return;
    }
    const out = this.#context.control;
    path.sendControl(epoch, out, emitPathProbe(out, 0, path.probes.issue(nowMs), Math.floor(nowMs)), true);
  }

  #sendChallenge(path: Path, epoch: Epoch, validation: AddressValidation, to: Candidate | undefined, nowMs: number): void {
    const out = this.#context.control;
    const name = path.peer.initiator ? path.name : '';
    let length = emitPathChallenge(out, 0, validation.token, name, path.backup && path.peer.initiator, path.ownInnerMtuBytes);
    if (path.peer.initiator) {
      const { id: pathId, priority, backup, cost, peer, peerLimitBytesPerSec: limitBytesPerSec } = path;
      const more = { ...(limitBytesPerSec > 0 ? { limitBytesPerSec } : {}), ...(cost > 0 ? { cost } : {}) };
      length = emitSlow(out, length, { kind: 'path-state', pathId, state: 'up', priority, backup, ...more });
      length = emitSlow(out, length, { kind: 'paths', serial: this.#context.pathsSerial, ids: peer.paths.map(({ id }) => id) });
    }
    if (path.sendControl(epoch, out, length, to === undefined, to)) validation.handleChallengeSent(nowMs);
  }

  /** An up path that carries data proves itself and is never probed: what the peer shall know has a clock of its own. */
  #pursueHello(path: Path, nowMs: number): void {
    const epoch = path.peer.sendEpoch;
    if (epoch === undefined || path.helloDueMs() > nowMs) return;
    const { validation } = path;
    this.#sendChallenge(path, epoch, validation, undefined, nowMs);
    // There was no socket: wait as if it had been sent.
    if (validation.lastChallengeMs < nowMs) validation.handleChallengeSent(nowMs);
  }

  /** Looks for a way past the path's relay; one that has become silent is left for the relay. */
  #pursueDirect(path: Path, nowMs: number): void {
    const way = path.directWay(this.#newValidation, nowMs);
    const epoch = path.peer.sendEpoch;
    if (way === undefined || epoch === undefined || path.machine.linkLost) return;
    if (!path.isRelayed) {
      if (path.state === 'suspect' || path.state === 'down') this.#goRelayed(path, way, nowMs);
      return;
    }
    // Before the first answer by the relay there is nobody to meet.
    if (path.state === 'probing') return;
    if (path.state === 'down') way.hurry(nowMs);
    way.pollRound(nowMs);
    if (way.pollTell(nowMs)) this.#tellPlaces(path, epoch);
    for (let place = way.pollChallenge(nowMs); place !== undefined; place = way.pollChallenge(nowMs)) {
      const { validation } = place;
      this.#sendChallenge(path, epoch, validation, place, nowMs);
      // Out of allowance: wait as if it had been sent.
      if (validation.lastChallengeMs < nowMs) validation.handleChallengeSent(nowMs);
    }
  }

  #tellPlaces(path: Path, epoch: Epoch, to?: Candidate): void {
    const endpoints = [...new Set([path.local, path.carrier?.relay?.seenAs ?? ''])].filter((place) => place !== '');
    const out = this.#context.control;
    path.sendControl(epoch, out, emitSlow(out, 0, { kind: 'candidates', endpoints }), false, to);
  }

  #goRelayed(path: Path, way: DirectWay, nowMs: number): void {
    const relay = way.carrier.relay!;
    path.target = relay.address.slice();
    path.validation = this.#driver.newValidation(nowMs);
    // A place of our own choice.
    path.validated = true;
    path.seenAs = relay.seenAs;
    path.retarget(this.#context.epochs.values());
    way.handleLost(nowMs);
    path.machine.probeSoon();
    this.#context.counters.relayedMoves++;
    this.#context.pathChanged(path, nowMs);
  }

  #pursueCandidate(path: Path, nowMs: number): void {
    const { candidate } = path;
    const epoch = path.peer.sendEpoch;
    if (candidate === undefined || epoch === undefined) return;
    const { validation } = candidate;
    if (nowMs - validation.startedMs > CANDIDATE_MS) {
      path.candidate = undefined;
      return;
    }
    if (validation.nextChallengeMs() > nowMs) return;
    this.#sendChallenge(path, epoch, validation, candidate, nowMs);
    // Out of allowance: wait as if it had been sent.
    if (validation.lastChallengeMs < nowMs) validation.handleChallengeSent(nowMs);
  }
}

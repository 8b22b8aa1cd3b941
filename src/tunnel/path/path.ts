/**
 * One path to one peer: a socket and a remote address, the sender of the current epoch, and what is known of the way. The hot path (`sendSegments`,
 * `sendPacket`) seals and stages; liveness and estimates are fed by `path-control.ts` and the receive loop.
 */

import { type SenderHandle, TYPE_CONTROL, TYPE_DATAGRAM, TYPE_STREAM } from '../../tun/native.js';
import type { Carrier, CarrierKind } from '../carrier/carrier.js';
import type { PathLink, PathState } from '../link.js';
import type { AckSchedule } from './ack-schedule.js';
import { formatEndpoint, formatLocalAddress, formatRemote } from './address-record.js';
import type { AddressValidation } from './address-validation.js';
import { cutSuperPacket } from './cut-super-packet.js';
import { DeliveryEstimator } from './delivery-estimator.js';
import { DirectWay } from './direct-way.js';
import type { Epoch } from './epoch.js';
import { HeaderCompression } from './header-compression.js';
import type { LinkContext } from './link-context.js';
import { ipPacketBytes, tapPacketHeaderBytes } from './packet-header.js';
import type { MtuPath } from './path-mtu.js';
import { PathShaper } from './path-shaper.js';
import { MAX_UDP_PAYLOAD_BYTES, PathSize, SEAL_OVERHEAD_BYTES } from './path-size.js';
import { PathStateMachine } from './path-state.js';
import type { Peer } from './peer.js';
import { ProbeLedger } from './probe-ledger.js';
import { RateLimit } from './rate-limit.js';
import { ReturnDelay } from './return-delay.js';
import { RttEstimator } from './rtt-estimator.js';
import { SendStamps } from './send-stamps.js';

const UDP_HEADER_BYTES = 8;
const IPV4_HEADER_BYTES = 20;
const IPV6_HEADER_BYTES = 40;

/** An address that the peer may have moved to, on its way to being proven. */
export interface Candidate {
  carrier: Carrier;
  readonly address: Uint8Array;
  validation: AddressValidation;
}

export interface PathOptions {
  id: number;
  name: string;
  peer: Peer;
  carrier: Carrier | undefined;
  /** Address record, owned by the path from now on. */
  target: Uint8Array;
  validation: AddressValidation;
  /** The peer chose the address: until it is proven, at most three times what came from it is sent there. */
  guarded: boolean;
  localAddress: string;
  outerMtuBytes: number;
  nowMs: number;
}

export class Path implements PathLink, MtuPath {
  readonly id: number;
  readonly peer: Peer;
  readonly machine: PathStateMachine;
  readonly rtt = new RttEstimator();
  readonly returnDelay = new ReturnDelay();
  readonly delivery = new DeliveryEstimator();
  readonly stamps = new SendStamps();
  readonly probes = new ProbeLedger();
  readonly compression: HeaderCompression;
  readonly size: PathSize;
  name: string;
  carrier: Carrier | undefined;
  target: Uint8Array;
  /** Of the current target; its token is renewed with every epoch on the client. */
  validation: AddressValidation;
  validated = false;
  /** The next probe shall be a challenge: it tells the peer our name and MTU under new keys. */
  helloPending = true;
  candidate: Candidate | undefined;
  /** (Client) over which it went before: what was under way there may still come. */
  formerCarrier: Carrier | undefined;
  carrierProblem = '';
  /** Of a bound socket, when known. */
  localAddress: string;
  /** What the peer sees as our address: behind a NAT another than ours. */
  seenAs = '';
  /** What arrived under which epoch, for the acknowledgement that is owed. */
  receiveEpoch: Epoch | undefined;
  acks: AckSchedule | undefined;
  rxBytes = 0;
  txBytes = 0;
  rxDatagrams = 0;
  txDatagrams = 0;
  priority = 0;
  backup = false;
  cost = 0;
  /** (Client) the most that the peer may send here, 0: no limit. It is told. */
  peerLimitBytesPerSec = 0;
  /** Of the planes' packets: sent, and sent no later than the newest that was acknowledged. */
  #dataBytes = 0;
  #passedBytes = 0;
  /** Staged since the last flush; kept by LinkContext. */
  dirty = false;
  /** When the peer was told last that it named a base that we don't have. */
  unknownBaseToldMs = -Infinity;
  /** Received from in this batch; kept by the receive loop. */
  touched = false;
  readonly #context: LinkContext;
  readonly #guarded: boolean;
  #sender: SenderHandle | undefined;
  #shaper: PathShaper | undefined;
  #eliciting = false;
  #direct: DirectWay | undefined;

  constructor(context: LinkContext, options: PathOptions) {
    this.#context = context;
    this.compression = new HeaderCompression(context.native);
    this.id = options.id;
    this.name = options.name;
    this.peer = options.peer;
    this.carrier = options.carrier;
    this.target = options.target;
    this.validation = options.validation;
    this.#guarded = options.guarded;
    this.localAddress = options.localAddress;
    this.size = new PathSize(options.outerMtuBytes);
    this.machine = new PathStateMachine(options.nowMs);
  }

  get state(): PathState {
    return this.machine.state;
  }

  get stateReason(): string {
    return this.machine.reason;
  }

  get doubtful(): boolean {
    return this.machine.doubtful;
  }

  get rttMs(): number {
    return this.rtt.srttMs;
  }

  get minRttMs(): number {
    return this.rtt.minRttMs;
  }

  get rttvarMs(): number {
    return this.rtt.rttvarMs;
  }

  get returnQueueMs(): number {
    return this.returnDelay.excessMs;
  }

  get deliveredBytes(): number {
    return this.delivery.deliveredBytes;
  }

  get inflightBytes(): number {
    return this.#dataBytes - this.#passedBytes;
  }

  get dataBytes(): number {
    return this.#dataBytes;
  }

  get lostDatagrams(): number {
    return this.delivery.lostDatagrams;
  }

  get provenSentMs(): number {
    return this.machine.provenSentMs;
  }

  get lossRatio(): number {
    return this.delivery.lossRatio;
  }

  get deliveryRateBytesPerSec(): number {
    return this.delivery.rateBytesPerSec;
  }

  get limit(): RateLimit | undefined {
    return this.#shaper?.limit;
  }

  get peerObeysPolicy(): boolean {
    return this.peer.sendEpoch?.obeysPolicy ?? true;
  }

  get heldMs(): number {
    return this.#shaper === undefined ? 0 : this.#shaper.heldMs;
  }

  get carriedBytes(): number {
    return this.rxBytes + this.txBytes + (this.rxDatagrams + this.txDatagrams) * this.outerHeaderBytes;
  }

  /** Headers of IP and UDP around each datagram. */
  get outerHeaderBytes(): number {
    return (this.target[0] === 4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES) + UDP_HEADER_BYTES;
  }

  get innerMtuBytes(): number {
    return this.size.innerBytes(this.outerHeaderBytes, this.carrier);
  }

  get reducedMtuBytes(): number {
    return this.size.reducedBytes(this.carrier);
  }

  get segmentPayloadBytes(): number {
    return this.compression.segmentPayloadBytes;
  }

  /** What our side of the path allows. */
  get ownInnerMtuBytes(): number {
    return this.size.ownInnerBytes(this.outerHeaderBytes, this.carrier);
  }

  get carrierKind(): CarrierKind | '' {
    return this.carrier?.kind ?? '';
  }

  get carrierProtocol(): string {
    return this.carrier?.protocol ?? '';
  }

  /** It leads to a relay, which passes it on. */
  get isRelayed(): boolean {
    return this.carrier?.relay?.isAt(this.target, 0) === true;
  }

  /** The search for a way past the relay; undefined where there is none. */
  directWay(newValidation: (nowMs: number) => AddressValidation, nowMs: number): DirectWay | undefined {
    const { carrier } = this;
    if (carrier?.relay === undefined) return undefined;
    if (this.#direct?.carrier !== carrier) this.#direct = new DirectWay(carrier, newValidation, nowMs);
    return this.#direct;
  }

  get via(): string {
    return this.carrier?.relay?.endpoint ?? '';
  }

  get viaProblem(): string {
    return this.carrier?.relay?.problem ?? '';
  }

  get local(): string {
    if (this.carrier === undefined || this.carrier.port === 0) return '';
    const address = formatLocalAddress(this.target) || this.localAddress;
    return address === '' ? '' : formatEndpoint(address, this.carrier.port);
  }

  get remote(): string {
    return formatRemote(this.target);
  }

  sendSegments(
    header: Uint8Array,
    headerBytes: number,
    payload: Uint8Array,
    payloadOffset: number,
    payloadBytes: number,
    segmentBytes: number,
  ): void {
    const sender = this.#sender;
    if (sender === undefined || !this.#maySend(headerBytes + payloadBytes + SEAL_OVERHEAD_BYTES)) {
      this.#context.counters.txDroppedPackets++;
      return;
    }
    const { compression } = this;
    const context = this.#context;
    const datagrams = context.native.sealSegments(
      sender,
      TYPE_STREAM,
      header,
      headerBytes,
      payload,
      payloadOffset,
      payloadBytes,
      segmentBytes,
    );
    const basesWait = compression.noteSealed(datagrams);
    const overheadBytes = compression.active ? compression.overheadBytes : headerBytes + SEAL_OVERHEAD_BYTES;
    if (context.tap !== undefined) {
      const cutBytes = compression.active ? compression.segmentBytes : segmentBytes;
      context.tap.onPacket('out', this, 'stream', header, 0, headerBytes, payload, payloadOffset, payloadBytes, cutBytes);
    }
    const wireBytes = payloadBytes + datagrams * overheadBytes;
    this.#shaper?.limit.chargeStream(wireBytes + datagrams * this.outerHeaderBytes);
    this.#noteData(datagrams, wireBytes);
    if (basesWait) this.#sendBases();
  }

  sendPacket(
    packet: Uint8Array,
    offset: number,
    length: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
  ): boolean {
    const shaper = this.#shaper;
    if (shaper === undefined) return this.emitPacket(packet, offset, length, gsoType, gsoSize, csumStart, csumOffset);
    const nowMs = performance.now();
    if (gsoSize > 0 && shaper.isLong(length)) {
      let sent = false;
      const isCut = cutSuperPacket(packet, offset, length, gsoType, gsoSize, csumStart, csumOffset, (piece, bytes, start, at) => {
        if (this.sendPacket(piece, 0, bytes, 0, 0, start, at)) sent = true;
      });
      if (isCut) return sent;
    }
    if (!shaper.isClosed(nowMs)) return this.emitPacket(packet, offset, length, gsoType, gsoSize, csumStart, csumOffset);
    if (shaper.hold(packet, offset, length, gsoType, gsoSize, csumStart, csumOffset, nowMs)) return true;
    this.#context.counters.txLimitDrops += gsoSize > 0 ? Math.ceil(length / gsoSize) : 1;
    return false;
  }

  /** As sendPacket, at once. */
  emitPacket(
    packet: Uint8Array,
    offset: number,
    length: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
  ): boolean {
    const sender = this.#sender;
    if (sender === undefined || !this.#maySend(length + SEAL_OVERHEAD_BYTES)) {
      this.#context.counters.txDroppedPackets++;
      return false;
    }
    const context = this.#context;
    const tap = context.tap;
    if (tap !== undefined) {
      const bytes = gsoType === 0 ? ipPacketBytes(packet, offset, length) : length;
      const headerBytes = gsoType === 0 ? bytes : tapPacketHeaderBytes(packet, offset, length);
      const segmentBytes = gsoType === 0 ? 0 : gsoSize;
      tap.onPacket('out', this, 'datagram', packet, offset, headerBytes, packet, offset + headerBytes, bytes - headerBytes, segmentBytes);
    }
    const datagrams = context.native.sealPacket(sender, TYPE_DATAGRAM, packet, offset, length, gsoType, gsoSize, csumStart, csumOffset);
    if (datagrams <= 0) return false;
    const wireBytes = length + datagrams * SEAL_OVERHEAD_BYTES;
    this.#shaper?.limit.chargeDatagram(wireBytes + datagrams * this.outerHeaderBytes);
    this.#noteData(datagrams, wireBytes);
    return true;
  }

  /** From now on what is sent here stays below the limit; undefined: there is none. The limit may be that of other paths too. */
  useLimit(limit: RateLimit | undefined): void {
    if (limit === this.limit) return;
    this.#shaper?.flush(this);
    this.#shaper = limit === undefined ? undefined : new PathShaper(limit);
    this.#context.noteLimited(this);
  }

  /** (Server) a limit of its own; 0: none. True when that is news. */
  setLimit(bytesPerSec: number): boolean {
    if (bytesPerSec === (this.limit?.bytesPerSec ?? 0)) return false;
    if (bytesPerSec > 0 && this.limit !== undefined) this.limit.setRate(bytesPerSec);
    else this.useLimit(bytesPerSec > 0 ? new RateLimit(bytesPerSec) : undefined);
    return true;
  }

  /** Of what waits for the limit, what may leave by now. Staged. */
  drainHeld(nowMs: number): void {
    this.#shaper?.drain(this, nowMs);
  }

  /** Infinity while nothing waits. */
  heldDueMs(nowMs: number): number {
    return this.#shaper === undefined ? Infinity : this.#shaper.nextTimeoutMs(nowMs);
  }

  /**
   * Seals `bytes[0 .. length)` as a control datagram under `epoch` and stages it. `to`: an address other than the path's own, for validation.
   * False when there are no keys or no socket, or the address may not be sent so much yet.
   */
  sendControl(epoch: Epoch, bytes: Uint8Array, length: number, eliciting: boolean, to?: Candidate): boolean {
    const sender = epoch.confirmed && !epoch.retired ? epoch.senderFor(this) : undefined;
    const own = this.carrier?.handle;
    if (sender === undefined || (own === undefined && to === undefined)) return false;
    const native = this.#context.native;
    const wireBytes = length + SEAL_OVERHEAD_BYTES;
    if (to === undefined) {
      if (!this.#maySend(wireBytes)) return false;
      native.sealPacket(sender, TYPE_CONTROL, bytes, 0, length, 0, 0, 0, 0);
    } else {
      if (to.carrier.handle === undefined || !to.validation.trySpend(wireBytes)) {
        this.#context.counters.amplificationDrops++;
        return false;
      }
      native.senderSetTarget(sender, to.carrier.handle, to.address);
      native.sealPacket(sender, TYPE_CONTROL, bytes, 0, length, 0, 0, 0, 0);
      if (own !== undefined) native.senderSetTarget(sender, own, this.target);
      this.#context.markDirty(this, to.carrier);
    }
    this.#shaper?.limit.charge(wireBytes + this.outerHeaderBytes);
    this.#noteStaged(epoch, 1, wireBytes, eliciting);
    return true;
  }

  /** The session sends under another epoch now, or under none. */
  useEpoch(epoch: Epoch | undefined): void {
    this.#setSender(epoch?.senderFor(this));
    this.stamps.startEpoch();
    this.delivery.startEpoch();
    this.#passedBytes = this.#dataBytes;
  }

  /** It is gone for good: whoever still holds it sends into the void. */
  drop(nowMs: number): void {
    this.machine.handleLinkLost(nowMs);
    this.candidate = undefined;
    this.formerCarrier = undefined;
    this.acks = undefined;
    this.carrier = undefined;
    this.useEpoch(undefined);
    this.useLimit(undefined);
  }

  /** The peer has packet `number` of the current epoch, and none above it. */
  notePassed(number: number): void {
    this.#passedBytes = Math.max(this.#passedBytes, this.stamps.sentBytes(number));
  }

  /** The path's socket or target changed. `epochs`: all that are alive for the peer. */
  retarget(epochs: Iterable<Epoch>): void {
    for (const epoch of epochs) if (epoch.peer === this.peer) epoch.retarget(this);
    // Another carrier may take less, and another way carry less.
    this.size.mtu.restart();
    this.noteSize();
    this.#setSender(this.carrier?.handle === undefined ? undefined : this.peer.sendEpoch?.senderFor(this));
  }

  /** The batch leaves now. */
  noteFlushed(nowMs: number): void {
    this.dirty = false;
    if (this.compression.updateSize(nowMs, this.rttMs)) this.#context.pathChanged(this, nowMs);
    if (this.#sender !== undefined) this.stamps.push(this.#context.native.senderPacketNumber(this.#sender) - 1, nowMs, this.#dataBytes);
    if (this.#eliciting) {
      this.#eliciting = false;
      this.machine.noteElicitingSent(nowMs);
      this.#context.arm(this.machine.nextTimeoutMs(nowMs));
    }
  }

  setOuterMtu(bytes: number): boolean {
    return this.size.setOuter(bytes) && this.noteSize();
  }

  setPeerInnerMtu(bytes: number): boolean {
    return this.size.setPeerInner(bytes) && this.noteSize();
  }

  /** A datagram was too long for the interface: a probe, or else it takes less than was thought. False when that changes nothing. */
  handleTooLong(nowMs: number): boolean {
    return this.size.mtu.handleRefused(nowMs) ? this.noteSize() : this.reduceMtu();
  }

  reduceMtu(): boolean {
    if (!this.size.reduce()) return false;
    this.helloPending = true;
    this.#context.counters.mtuReductions++;
    return this.noteSize();
  }

  /** What fits is another size, or may be. True. */
  noteSize(): boolean {
    this.size.noteChanged(this.outerHeaderBytes);
    this.compression.setMaxDatagram(this.#maxDatagramBytes);
    return true;
  }

  /** Probes of its size may leave. */
  get probesMtu(): boolean {
    return this.validated && this.machine.state === 'up' && this.peer.sendEpoch !== undefined && this.size.isProbed(this.carrier);
  }

  /** When the next challenge of an up path is due, which tells the peer what is new; Infinity: nothing is. */
  helloDueMs(): number {
    return this.helloPending && this.machine.state === 'up' ? this.validation.nextChallengeMs() : Infinity;
  }

  nextTimeoutMs(nowMs: number): number {
    let nextMs = this.machine.nextTimeoutMs(nowMs);
    if (this.peer.sendEpoch !== undefined) nextMs = Math.min(nextMs, this.helloDueMs());
    if (this.acks !== undefined) nextMs = Math.min(nextMs, this.acks.dueMs());
    if (this.#direct !== undefined && this.#direct.carrier === this.carrier && this.peer.sendEpoch !== undefined)
      nextMs = Math.min(nextMs, this.#direct.nextTimeoutMs(this.isRelayed, nowMs));
    if (this.candidate !== undefined) nextMs = Math.min(nextMs, this.candidate.validation.nextChallengeMs());
    if (this.probesMtu) nextMs = Math.min(nextMs, this.size.mtu.nextTimeoutMs(this.rttMs));
    return nextMs;
  }

  get #maxDatagramBytes(): number {
    return Math.min(this.innerMtuBytes + SEAL_OVERHEAD_BYTES, MAX_UDP_PAYLOAD_BYTES);
  }

  #setSender(sender: SenderHandle | undefined): void {
    this.#sender = sender;
    this.compression.use(this.peer.sendEpoch?.compressed === true ? sender : undefined, this.#maxDatagramBytes);
  }

  #sendBases(): void {
    const epoch = this.peer.sendEpoch;
    const out = this.#context.control;
    const length = this.compression.emitBases(out, this.rtt.srttMs, performance.now());
    if (length === 0 || epoch === undefined) return;
    this.#context.counters.txBases++;
    this.sendControl(epoch, out, length, false);
  }

  #maySend(bytes: number): boolean {
    if (this.carrier?.handle === undefined) return false;
    if (this.validated || !this.#guarded) return true;
    if (this.validation.trySpend(bytes)) return true;
    this.#context.counters.amplificationDrops++;
    return false;
  }

  #noteData(datagrams: number, wireBytes: number): void {
    this.#dataBytes += wireBytes;
    this.#noteStaged(this.peer.sendEpoch!, datagrams, wireBytes, true);
  }

  #noteStaged(epoch: Epoch, datagrams: number, wireBytes: number, eliciting: boolean): void {
    this.txBytes += wireBytes;
    this.txDatagrams += datagrams;
    epoch.unreportedDatagrams += datagrams;
    if (eliciting) this.#eliciting = true;
    if (this.carrier !== undefined) this.#context.markDirty(this, this.carrier);
    this.#context.markEpoch(epoch);
  }
}

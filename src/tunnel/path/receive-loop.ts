/**
 * The way in: batches from a socket, opened natively, handed to the session, the control frames, or the planes. At the end of a batch the session hears
 * of it, acknowledgements that are due leave, the planes send what they hold, and every socket is flushed.
 */

import {
  ADDRESS_BYTES,
  MAX_PATHS,
  type OpenTableHandle,
  RX_ADDRESS,
  RX_COMPRESSED,
  RX_DATAGRAMS,
  RX_DESCRIPTOR_INTS,
  RX_HEADER_LENGTH,
  RX_KIND,
  RX_KIND_RAW,
  RX_KIND_UNKNOWN_BASE,
  RX_LENGTH,
  RX_OFFSET,
  RX_PACKET_NUMBER_HIGH,
  RX_PACKET_NUMBER_LOW,
  RX_PATH_ID,
  RX_RECEIVER_INDEX,
  RX_SEGMENT_BYTES,
  RX_TYPE,
  RX_UNKNOWN_BASE_ID,
  RX_WIRE_BYTES,
  TYPE_CONTROL,
  TYPE_DATAGRAM,
  TYPE_STREAM,
} from '../../tun/native.js';
import type { Carrier, RelayWay } from '../carrier/carrier.js';
import { errnoName } from '../carrier/errno-names.js';
import { formatLocalAddress, sameAddress, sameRemote } from './address-record.js';
import type { Epoch } from './epoch.js';
import type { LinkContext } from './link-context.js';
import { finishTcpChecksum, ipPacketBytes, tapPacketHeaderBytes } from './packet-header.js';
import { type Candidate, Path } from './path.js';
import type { PathControl } from './path-control.js';
import { DEFAULT_OUTER_MTU_BYTES } from './path-size.js';
import type { Peer } from './peer.js';
import type { SessionDriver } from './session-driver.js';

const ARENA_BYTES = 2 * 1024 * 1024;
const MAX_DESCRIPTORS = 2048;
const MAX_ADDRESSES = 256;
const ROUNDS = 2;
/** Receive calls in one turn of the event loop; what is left waits for the next. Of large messages a call takes four. */
const MAX_CALLS = 16;
const TWO_32 = 2 ** 32;
const NO_PATHS: readonly Path[] = [];

export class ReceiveLoop {
  readonly #context: LinkContext;
  readonly #driver: SessionDriver;
  readonly #control: PathControl;
  readonly #table: OpenTableHandle;
  readonly #arena = new Uint8Array(ARENA_BYTES);
  readonly #descriptors = new Int32Array(MAX_DESCRIPTORS * RX_DESCRIPTOR_INTS);
  readonly #addresses = new Uint8Array(MAX_ADDRESSES * ADDRESS_BYTES);
  readonly #touchedEpochs: Epoch[] = [];
  readonly #touchedPaths: Path[] = [];

  constructor(context: LinkContext, driver: SessionDriver, control: PathControl, table: OpenTableHandle) {
    this.#context = context;
    this.#driver = driver;
    this.#control = control;
    this.#table = table;
  }

  readonly receive = (carrier: Carrier): void => {
    const context = this.#context;
    let nowMs = performance.now();
    let count = 0;
    for (let call = 0; call < MAX_CALLS; call++) {
      // A callback may close or replace the socket in between.
      const handle = carrier.handle;
      if (handle === undefined || context.closed) return;
      count = context.native.receive(handle, this.#table, this.#arena, this.#descriptors, this.#addresses, ROUNDS);
      if (count <= 0) break;
      // Read after the packets: a time before their arrival makes round trips too short, and BBR would believe the shortest for ten seconds.
      nowMs = performance.now();
      for (let i = 0; i < count; i++) this.#dispatch(carrier, i * RX_DESCRIPTOR_INTS, nowMs);
    }
    if (count < 0) {
      context.counters.receiveErrors++;
      context.handleSendError(carrier, errnoName(count), NO_PATHS, nowMs);
    }
    this.#endBatch(nowMs);
  };

  #dispatch(carrier: Carrier, base: number, nowMs: number): void {
    const descriptors = this.#descriptors;
    const context = this.#context;
    if (context.closed) return;
    const offset = descriptors[base + RX_OFFSET]!;
    const length = descriptors[base + RX_LENGTH]!;
    const address = descriptors[base + RX_ADDRESS]!;
    if (descriptors[base + RX_KIND] === RX_KIND_RAW) {
      context.counters.rxRawDatagrams++;
      const bytes = this.#arena.subarray(offset, offset + length);
      if (carrier.relay?.handleRaw(bytes, this.#addresses, address, nowMs) === true) return;
      this.#driver.handleRaw(carrier, bytes, this.#addresses, address, nowMs);
      return;
    }
    const epoch = context.epochs.get(descriptors[base + RX_RECEIVER_INDEX]! >>> 0);
    if (epoch === undefined) {
      context.counters.rxUnknownEpoch++;
      return;
    }
    this.#touchEpoch(epoch, nowMs);
    const path = this.#pathOf(carrier, epoch, base, nowMs);
    if (path === undefined) return;
    this.#touchPath(path);
    const wireBytes = descriptors[base + RX_WIRE_BYTES]!;
    path.rxBytes += wireBytes;
    path.rxDatagrams += descriptors[base + RX_DATAGRAMS]!;
    if (path.machine.handleReceived(nowMs)) context.arm(nowMs);
    if (path.localAddress === '' && path.peer.initiator) this.#learnLocalAddress(path, base, nowMs);
    const candidate = this.#placeOf(carrier, path, epoch, base, nowMs);
    this.#noteReceived(path, epoch, base, nowMs);
    if (descriptors[base + RX_KIND] === RX_KIND_UNKNOWN_BASE) {
      this.#control.handleUnknownBase(path, epoch, descriptors[base + RX_UNKNOWN_BASE_ID]!, nowMs);
      return;
    }
    this.#deliver(path, epoch, candidate, base, nowMs);
  }

  #touchEpoch(epoch: Epoch, nowMs: number): void {
    if (!epoch.confirmed) {
      // The responder may send from now on, and needs to: the first datagram is a challenge.
      this.#driver.handleDataReceived(epoch, nowMs);
      return;
    }
    if (epoch.touched) return;
    epoch.touched = true;
    this.#touchedEpochs.push(epoch);
  }

  #touchPath(path: Path): void {
    if (path.touched) return;
    path.touched = true;
    this.#touchedPaths.push(path);
  }

  #pathOf(carrier: Carrier, epoch: Epoch, base: number, nowMs: number): Path | undefined {
    const { peer } = epoch;
    const id = this.#descriptors[base + RX_PATH_ID]!;
    const path = peer.path(id);
    if (path === undefined) {
      if (!peer.initiator && id < MAX_PATHS && !peer.wasRemovedIn(id, epoch)) return this.#createPath(carrier, peer, id, base, nowMs);
      this.#context.counters.rxUnknownPath++;
      return undefined;
    }
    // A client's path is its carrier, that which it is about to take, and that which it has just left; what comes in over another one is not on that path.
    if (peer.initiator && path.carrier !== carrier && path.candidate?.carrier !== carrier && path.formerCarrier !== carrier) {
      this.#context.counters.rxWrongSocket++;
      return undefined;
    }
    return path;
  }

  /** (Server) the client uses a path that we have not seen. */
  #createPath(carrier: Carrier, peer: Peer, id: number, base: number, nowMs: number): Path {
    const path = new Path(this.#context, {
      id,
      name: `path${id}`,
      peer,
      carrier,
      target: this.#addressOf(base),
      validation: this.#driver.newValidation(nowMs),
      guarded: true,
      localAddress: '',
      outerMtuBytes: DEFAULT_OUTER_MTU_BYTES,
      nowMs,
    });
    peer.addPath(path);
    path.useEpoch(peer.sendEpoch);
    this.#context.arm(nowMs);
    this.#context.observer.onPathChange(peer, path, nowMs);
    return path;
  }

  /** A client that is bound to nothing sees here which address the kernel chose. */
  #learnLocalAddress(path: Path, base: number, nowMs: number): void {
    path.localAddress = formatLocalAddress(this.#addressOf(base));
    if (path.localAddress !== '') this.#context.pathChanged(path, nowMs);
  }

  #addressOf(base: number): Uint8Array {
    const index = this.#descriptors[base + RX_ADDRESS]!;
    return this.#addresses.slice(index * ADDRESS_BYTES, (index + 1) * ADDRESS_BYTES);
  }

  /** Undefined when the datagram came from where the path leads; otherwise the new address, on its way to being proven. */
  #placeOf(carrier: Carrier, path: Path, epoch: Epoch, base: number, nowMs: number): Candidate | undefined {
    if (carrier.relay !== undefined && path.carrier === carrier) return this.#placeByRelay(carrier.relay, path, base, nowMs);
    if (path.peer.initiator) return path.carrier === carrier || path.candidate?.carrier !== carrier ? undefined : path.candidate;
    const address = this.#descriptors[base + RX_ADDRESS]!;
    const wireBytes = this.#descriptors[base + RX_WIRE_BYTES]!;
    if (path.carrier === carrier && sameAddress(path.target, this.#addresses, address)) {
      if (!path.validated) path.validation.handleReceived(wireBytes);
      return undefined;
    }
    const candidate = path.candidate;
    if (candidate !== undefined && candidate.carrier === carrier && sameAddress(candidate.address, this.#addresses, address)) {
      candidate.validation.handleReceived(wireBytes);
      return candidate;
    }
    const fresh: Candidate = { carrier, address: this.#addressOf(base), validation: this.#driver.newValidation(nowMs) };
    fresh.validation.handleReceived(wireBytes);
    // RFC 9000, 9.3: only the newest packet moves a path, or reordering would move it back.
    if (this.#packetNumber(base) > epoch.acksFor(path.id).largest) {
      path.candidate = fresh;
      this.#context.counters.roamingChallenges++;
      this.#context.arm(nowMs);
    }
    return fresh;
  }

  /** Beside a relay a path does not follow the peer's packets: each side finds out for itself where it may send. */
  #placeByRelay(relay: RelayWay, path: Path, base: number, nowMs: number): Candidate | undefined {
    const address = this.#descriptors[base + RX_ADDRESS]!;
    const wireBytes = this.#descriptors[base + RX_WIRE_BYTES]!;
    if (path.localAddress === '') path.localAddress = formatLocalAddress(this.#addressOf(base));
    if (sameRemote(path.target, this.#addresses, address)) {
      if (!path.validated) path.validation.handleReceived(wireBytes);
      return undefined;
    }
    const way = path.directWay(this.#newValidation, nowMs)!;
    return relay.isAt(this.#addresses, address) ? way.relayed : way.noteSource(this.#addresses, address, wireBytes, nowMs);
  }

  readonly #newValidation = (nowMs: number) => this.#driver.newValidation(nowMs);

  #packetNumber(base: number): number {
    return this.#descriptors[base + RX_PACKET_NUMBER_HIGH]! * TWO_32 + (this.#descriptors[base + RX_PACKET_NUMBER_LOW]! >>> 0);
  }

  #noteReceived(path: Path, epoch: Epoch, base: number, nowMs: number): void {
    if (path.receiveEpoch !== epoch) {
      // Acknowledge what is owed under the old epoch before turning to the new one.
      if (path.acks !== undefined && path.acks.dueMs() < Infinity) this.#control.sendAck(path, nowMs);
      path.receiveEpoch = epoch;
      path.acks = epoch.acksFor(path.id);
    }
    const isData = this.#descriptors[base + RX_TYPE] !== TYPE_CONTROL;
    const datagrams = this.#descriptors[base + RX_DATAGRAMS]!;
    path.acks!.handleReceived(this.#packetNumber(base), datagrams, this.#descriptors[base + RX_WIRE_BYTES]!, isData, nowMs);
  }

  #deliver(path: Path, epoch: Epoch, candidate: Candidate | undefined, base: number, nowMs: number): void {
    const context = this.#context;
    const descriptors = this.#descriptors;
    const offset = descriptors[base + RX_OFFSET]!;
    const length = descriptors[base + RX_LENGTH]!;
    switch (descriptors[base + RX_TYPE]) {
      case TYPE_STREAM: {
        const segmentBytes = descriptors[base + RX_SEGMENT_BYTES]!;
        this.#noteData(path.peer, nowMs);
        if (context.tap !== undefined) {
          // Nobody needs the checksum that compression leaves out, but a capture shall show it.
          if (descriptors[base + RX_COMPRESSED] === 1 && segmentBytes === 0) finishTcpChecksum(this.#arena, offset, length);
          this.#tapIn(path, 'stream', offset, length, segmentBytes, descriptors[base + RX_HEADER_LENGTH]!);
        }
        context.observer.onStreamPacket(path.peer, path, this.#arena, offset, length, segmentBytes, nowMs);
        return;
      }
      case TYPE_DATAGRAM: {
        const segmentBytes = descriptors[base + RX_SEGMENT_BYTES]!;
        this.#noteData(path.peer, nowMs);
        if (context.tap !== undefined) {
          const headerLength = descriptors[base + RX_HEADER_LENGTH]!;
          this.#tapIn(path, 'datagram', offset, ipPacketBytes(this.#arena, offset, length), segmentBytes, headerLength);
        }
        context.observer.onDatagramPacket(path.peer, path, this.#arena, offset, length, nowMs, segmentBytes);
        return;
      }
      case TYPE_CONTROL:
        this.#control.handleFrames(path, epoch, this.#packetNumber(base), candidate, this.#arena, offset, length, nowMs);
        return;
    }
  }

  #noteData(peer: Peer, nowMs: number): void {
    if (!peer.noteBusy(nowMs)) return;
    for (const path of peer.paths) this.#context.arm(path.nextTimeoutMs(nowMs));
  }

  #tapIn(path: Path, plane: 'stream' | 'datagram', offset: number, length: number, segmentBytes: number, headerLength: number): void {
    const singleBytes = plane === 'stream' ? tapPacketHeaderBytes(this.#arena, offset, length) : length;
    const headerBytes = headerLength > 0 ? headerLength : singleBytes;
    this.#context.tap!.onPacket(
      'in',
      path,
      plane,
      this.#arena,
      offset,
      headerBytes,
      this.#arena,
      offset + headerBytes,
      length - headerBytes,
      segmentBytes,
    );
  }

  #endBatch(nowMs: number): void {
    const context = this.#context;
    if (context.closed) return;
    for (const epoch of this.#touchedEpochs) {
      epoch.touched = false;
      if (!epoch.retired) this.#driver.handleDataReceived(epoch, nowMs);
    }
    this.#touchedEpochs.length = 0;
    for (const path of this.#touchedPaths) {
      path.touched = false;
      if (path.acks !== undefined && path.acks.dueMs() <= nowMs) this.#control.sendAck(path, nowMs);
    }
    context.observer.onBatchEnd(nowMs);
    context.flush();
    for (const path of this.#touchedPaths) context.arm(path.nextTimeoutMs(nowMs));
    this.#touchedPaths.length = 0;
    this.#driver.drain(nowMs);
  }
}

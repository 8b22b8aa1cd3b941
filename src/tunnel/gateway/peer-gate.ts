/**
 * One direction of a peer's traffic, over all of its paths, kept below a limit. Streams are held back where they are spliced, one turn after another, so that their senders slow
 * down without a loss; datagrams, whose senders cannot be told to wait, wait in a short queue, and beyond that are dropped. Both have their share (path/rate-limit.ts).
 */

import { PathTurns, type TurnTaker } from '../../mptcp-over-udp/path-limit.js';
import type { PacketOutlet } from '../path/held-packets.js';
import { PathShaper } from '../path/path-shaper.js';
import { RateLimit } from '../path/rate-limit.js';
import type { StreamGate } from '../planes/splice.js';

/** What streams may take in one go is counted in these, so that a turn is not cut into crumbs. */
const PIECE_BYTES = 1448;

/** On a gateway at work for others a turn comes late; no link's queue hangs on a burst here, as it does on a path's limit. */
const CREDIT_MS = 25;

export class PeerGate implements PacketOutlet, StreamGate {
  /** Packets of datagrams that found too many waiting. */
  droppedPackets = 0;
  readonly #limit: RateLimit;
  readonly #turns: PathTurns;
  readonly #shaper: PathShaper;
  readonly #outlet: PacketOutlet;
  readonly #onWaiting: (gate: PeerGate) => void;
  readonly #clock: () => number;
  #isWaiting = false;

  /** `outlet`: where packets that waited go on. `onWaiting`: `poll` is wanted from now on, until it says false. `clock`: monotonic milliseconds. */
  constructor(bytesPerSec: number, outlet: PacketOutlet, onWaiting: (gate: PeerGate) => void, clock: () => number) {
    this.#limit = new RateLimit(bytesPerSec, CREDIT_MS);
    this.#turns = new PathTurns(this.#limit);
    this.#shaper = new PathShaper(this.#limit);
    this.#outlet = outlet;
    this.#onWaiting = onWaiting;
    this.#clock = clock;
  }

  get bytesPerSec(): number {
    return this.#limit.bytesPerSec;
  }

  setRate(bytesPerSec: number): void {
    this.#limit.setRate(bytesPerSec);
  }

  /** How many of `wantedBytes` of a stream may pass now; 0: `taker` is called when it is its turn. What did pass is told by `chargeStream`. */
  streamRoomBytes(taker: TurnTaker, wantedBytes: number): number {
    const room = this.#turns.roomBytes(taker, wantedBytes, PIECE_BYTES, this.#clock());
    if (room === 0) this.#wait();
    return room;
  }

  chargeStream(bytes: number): void {
    this.#limit.chargeStream(bytes);
  }

  /** True: the packet passes now. False: it waits (it was copied), or is dropped. */
  admitPacket(
    packet: Uint8Array,
    offset: number,
    length: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
    nowMs: number,
  ): boolean {
    if (!this.#shaper.isClosed(nowMs)) {
      this.#limit.chargeDatagram(length);
      return true;
    }
    if (this.#shaper.hold(packet, offset, length, gsoType, gsoSize, csumStart, csumOffset, nowMs)) this.#wait();
    else this.droppedPackets++;
    return false;
  }

  /** For the shaper: a packet that waited goes on. */
  emitPacket(
    packet: Uint8Array,
    offset: number,
    length: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
  ): boolean {
    this.#limit.chargeDatagram(length);
    return this.#outlet.emitPacket(packet, offset, length, gsoType, gsoSize, csumStart, csumOffset);
  }

  /** What may pass by now does. False: nothing waits any more. */
  poll(nowMs: number): boolean {
    // Streams first: the limit gives them no room while they are ahead of datagrams that wait. One that does not use its turn leaves the room to the next.
    while (this.#turns.nextTimeoutMs(nowMs) <= nowMs && this.#limit.streamRoomBytes(nowMs) > 0) this.#turns.call(nowMs);
    this.#shaper.drain(this, nowMs);
    this.#isWaiting = this.nextTimeoutMs(nowMs) !== Number.POSITIVE_INFINITY;
    return this.#isWaiting;
  }

  /** Infinity while nothing waits. */
  nextTimeoutMs(nowMs: number): number {
    return Math.min(this.#shaper.nextTimeoutMs(nowMs), this.#turns.nextTimeoutMs(nowMs));
  }

  /** There is no limit any more: whatever waits goes on. */
  open(): void {
    this.#shaper.flush(this);
    this.#turns.release();
  }

  #wait(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#onWaiting(this);
  }
}

/** The packets of a TUN: (super-)packets in, batch by batch; whole packets and templates out. Counts what the device refuses. */

import {
  type NativeAddon,
  TUN_CSUM_OFFSET,
  TUN_CSUM_START,
  TUN_DESCRIPTOR_INTS,
  TUN_GSO_SIZE,
  TUN_GSO_TYPE,
  TUN_LENGTH,
  TUN_OFFSET,
  type TunHandle,
  type Watcher,
} from './native.js';

/** Holds a packet of 64 KB; a multiple of the cache line. */
const SLOT_BYTES = 66_048;
const SLOT_COUNT = 8;
/** Reads of a full batch in one turn of the event loop: then others have their turn. */
const MAX_ROUNDS = 2;

/** One packet, borrowed until return. gsoSize > 0: a super-packet. csumStart > 0: its transport checksum is to be finished from there. */
export type TunPacketHandler = (
  bytes: Uint8Array,
  offset: number,
  length: number,
  gsoType: number,
  gsoSize: number,
  csumStart: number,
  csumOffset: number,
  nowMs: number,
) => void;

export interface TunReadHandlers {
  onPacket: TunPacketHandler;
  /** After the packets of one turn of the event loop. */
  onBatchEnd(nowMs: number): void;
  /** Once, after what was read before: the device failed, or was removed. */
  onFailure(errno: number): void;
}

export class TunPackets {
  readonly counters = { rxPackets: 0, txPackets: 0, readErrors: 0, writeErrors: 0 };
  private readonly native: NativeAddon;
  private readonly tun: TunHandle;
  private readonly arena = new Uint8Array(SLOT_BYTES * SLOT_COUNT);
  private readonly descriptors = new Int32Array(TUN_DESCRIPTOR_INTS * SLOT_COUNT);
  private watcher: Watcher | undefined;

  constructor(native: NativeAddon, tun: TunHandle) {
    this.native = native;
    this.tun = tun;
  }

  start(handlers: TunReadHandlers): void {
    this.watcher = this.native.watchReadable(this.tun, () => this.read(handlers));
  }

  /** Its checksums are complete. */
  writePacket(packet: Uint8Array, offset: number, length: number): void {
    this.noteWritten(this.native.tunWritePacket(this.tun, packet, offset, length, 0, 0, 0, 0));
  }

  /** Arguments as in `SegmentSink.sendSegments`. */
  writeSegments(
    header: Uint8Array,
    headerBytes: number,
    payload: Uint8Array,
    payloadOffset: number,
    payloadBytes: number,
    segmentBytes: number,
  ): void {
    const size = segmentBytes > 0 ? segmentBytes : Math.max(1, payloadBytes);
    this.noteWritten(this.native.tunWriteSegments(this.tun, header, headerBytes, payload, payloadOffset, payloadBytes, size));
  }

  close(): void {
    this.watcher?.close();
    this.native.tunClose(this.tun);
  }

  private read(handlers: TunReadHandlers): void {
    const nowMs = performance.now();
    let count = SLOT_COUNT;
    for (let round = 0; round < MAX_ROUNDS && count === SLOT_COUNT; round++) {
      count = this.native.tunRead(this.tun, this.arena, SLOT_BYTES, SLOT_COUNT, this.descriptors);
      for (let i = 0; i < count; i++) this.dispatch(i * TUN_DESCRIPTOR_INTS, handlers.onPacket, nowMs);
      if (count > 0) this.counters.rxPackets += count;
    }
    handlers.onBatchEnd(nowMs);
    if (count >= 0) return;
    this.counters.readErrors++;
    handlers.onFailure(-count);
  }

  private dispatch(base: number, onPacket: TunPacketHandler, nowMs: number): void {
    const d = this.descriptors;
    onPacket(
      this.arena,
      d[base + TUN_OFFSET] as number,
      d[base + TUN_LENGTH] as number,
      d[base + TUN_GSO_TYPE] as number,
      d[base + TUN_GSO_SIZE] as number,
      d[base + TUN_CSUM_START] as number,
      d[base + TUN_CSUM_OFFSET] as number,
      nowMs,
    );
  }

  private noteWritten(result: number): void {
    if (result < 0) this.counters.writeErrors++;
    else this.counters.txPackets++;
  }
}

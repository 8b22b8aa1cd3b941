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

/** Of one turn of the event loop: then others have theirs. Seven packets of 64 KB at least. */
const ARENA_BYTES = 512 * 1024;
const MAX_PACKETS = 256;

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
  private readonly arena = new Uint8Array(ARENA_BYTES);
  private readonly descriptors = new Int32Array(TUN_DESCRIPTOR_INTS * MAX_PACKETS);
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

  /** A joined packet of the link layer; it is changed in place. */
  writeJoined(packet: Uint8Array, offset: number, length: number, segmentBytes: number): void {
    this.noteWritten(this.native.tunWriteJoined(this.tun, packet, offset, length, segmentBytes));
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
    const count = this.native.tunReadBatch(this.tun, this.arena, this.descriptors);
    for (let i = 0; i < count; i++) this.dispatch(i * TUN_DESCRIPTOR_INTS, handlers.onPacket, nowMs);
    if (count > 0) this.counters.rxPackets += count;
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

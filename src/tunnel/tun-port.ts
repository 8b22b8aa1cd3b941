/** The TUN as the planes see it: batches of (super-)packets in, templates and whole packets out. Counts what the device refuses. */

import type { SegmentSink } from '../mptcp-over-udp/segment-sink.js';
import {
  type NativeAddon,
  TUN_CSUM_OFFSET,
  TUN_CSUM_START,
  TUN_DESCRIPTOR_INTS,
  TUN_FLAGS,
  TUN_GSO_SIZE,
  TUN_GSO_TYPE,
  TUN_LENGTH,
  TUN_OFFSET,
  type TunHandle,
  VNET_NEEDS_CSUM,
  type Watcher,
} from '../tun/native.js';

const SLOT_BYTES = 66_048;
const SLOT_COUNT = 8;
/** Reads of a full batch in one turn of the event loop. */
const MAX_ROUNDS = 2;

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

export class TunPort implements SegmentSink {
  readonly counters = { tunRxPackets: 0, tunTxPackets: 0, tunWriteErrors: 0, tunReadErrors: 0 };
  private readonly native: NativeAddon;
  private readonly tun: TunHandle;
  private readonly arena = new Uint8Array(SLOT_BYTES * SLOT_COUNT);
  private readonly descriptors = new Int32Array(TUN_DESCRIPTOR_INTS * SLOT_COUNT);
  private watcher: Watcher | undefined;

  constructor(native: NativeAddon, tun: TunHandle) {
    this.native = native;
    this.tun = tun;
  }

  /** Calls `onPacket` for each packet (borrowed until return) and `onBatchEnd` after each batch. */
  start(onPacket: TunPacketHandler, onBatchEnd: (nowMs: number) => void, onFailure: (errno: number) => void): void {
    this.watcher = this.native.watchReadable(this.tun, () => {
      const nowMs = performance.now();
      for (let round = 0; round < MAX_ROUNDS; round++) {
        const n = this.native.tunRead(this.tun, this.arena, SLOT_BYTES, SLOT_COUNT, this.descriptors);
        if (n < 0) {
          this.counters.tunReadErrors++;
          onFailure(-n);
          return;
        }
        for (let i = 0; i < n; i++) this.dispatch(i * TUN_DESCRIPTOR_INTS, onPacket, nowMs);
        this.counters.tunRxPackets += n;
        if (n < SLOT_COUNT) break;
      }
      onBatchEnd(nowMs);
    });
  }

  sendSegments(
    _pathId: number,
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

  readonly writePacket = (packet: Uint8Array, offset: number, length: number): void => {
    this.noteWritten(this.native.tunWritePacket(this.tun, packet, offset, length, 0, 0, 0, 0));
  };

  close(): void {
    this.watcher?.close();
    this.native.tunClose(this.tun);
  }

  private noteWritten(result: number): void {
    if (result < 0) this.counters.tunWriteErrors++;
    else this.counters.tunTxPackets++;
  }

  private dispatch(base: number, onPacket: TunPacketHandler, nowMs: number): void {
    const d = this.descriptors;
    const needsCsum = ((d[base + TUN_FLAGS] as number) & VNET_NEEDS_CSUM) !== 0;
    onPacket(
      this.arena,
      d[base + TUN_OFFSET] as number,
      d[base + TUN_LENGTH] as number,
      d[base + TUN_GSO_TYPE] as number,
      d[base + TUN_GSO_SIZE] as number,
      needsCsum ? (d[base + TUN_CSUM_START] as number) : 0,
      needsCsum ? (d[base + TUN_CSUM_OFFSET] as number) : 0,
      nowMs,
    );
  }
}

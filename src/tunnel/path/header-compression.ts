/**
 * Compression of stream headers on one path, under the epoch that we send under (docs/header-compression.md): what the addon needs to know of the path, the bases
 * that it wants the peer to have, and how large the payload of a segment may be. The addon decides for each super-segment whether it can be
 * compressed, and cuts smaller what would not fit; so a payload size that is too large costs a datagram now and then, nothing else.
 */

import {
  AEAD_TAG_BYTES,
  BASE_MAX_BYTES,
  COMPRESSED_HEADER_BYTES,
  CUT_COMPRESSED,
  CUT_INTS,
  CUT_OVERHEAD_BYTES,
  CUT_PENDING_BASES,
  CUT_SEGMENT_BYTES,
  type NativeAddon,
  type SenderHandle,
} from '../../tun/native.js';
import { emitHeaderBase, FRAME_HEADER_BYTES } from '../session/frames.js';

/** The shortest header of a segment with data: id 1, sequence number 3, place in the mapping 1. */
const LEAST_OVERHEAD_BYTES = COMPRESSED_HEADER_BYTES + AEAD_TAG_BYTES + 5;
/** Longer by so much it does not get: a long packet number, 34 bytes. */
const OVERHEADS = 31;
/** The payload size is thought over so often, and sooner when so many super-segments did not fit. */
const OVERHEAD_WINDOW_MS = 2000;
const MANY_EXCEEDED = 16;
/** What a super-segment costs that has to be cut into one datagram more: outer headers, tag, ours. */
const EXTRA_DATAGRAM_BYTES = 70;
/** A base is repeated after the round trip and this. */
const REPEAT_EXTRA_MS = 30;
const UNKNOWN_RTT_MS = 200;

export class HeaderCompression {
  readonly #native: NativeAddon;
  readonly #cut = new Int32Array(CUT_INTS);
  #sender: SenderHandle | undefined;
  #maxDatagramBytes = 0;
  /** What of a datagram is not payload, as the payload size allows for it. */
  #overheadBytes = LEAST_OVERHEAD_BYTES;
  /** Super-segments in this window by overhead, less the least one; and datagrams. */
  readonly #counts = new Int32Array(OVERHEADS);
  #datagrams = 0;
  #exceededCount = 0;
  #windowEndsMs = 0;
  #toldPayloadBytes = 0;

  constructor(native: NativeAddon) {
    this.#native = native;
  }

  get active(): boolean {
    return this.#sender !== undefined;
  }

  /** Largest payload of a segment whose header goes compressed; 0: headers go whole. */
  get segmentPayloadBytes(): number {
    return this.#sender === undefined ? 0 : this.#maxDatagramBytes - this.#overheadBytes;
  }

  /** Bytes of the last datagrams beside their payload, and its largest part. */
  get overheadBytes(): number {
    return this.#cut[CUT_OVERHEAD_BYTES]!;
  }

  get segmentBytes(): number {
    return this.#cut[CUT_SEGMENT_BYTES]!;
  }

  /** `sender`: of an epoch in which both sides compress, else undefined. */
  use(sender: SenderHandle | undefined, maxDatagramBytes: number): void {
    this.#sender = sender;
    this.#maxDatagramBytes = maxDatagramBytes;
    if (sender !== undefined) this.#native.senderCompress(sender, maxDatagramBytes);
  }

  setMaxDatagram(bytes: number): void {
    if (bytes !== this.#maxDatagramBytes) this.use(this.#sender, bytes);
  }

  noteAcked(packetNumber: number): void {
    if (this.#sender !== undefined) this.#native.senderAcked(this.#sender, packetNumber);
  }

  /** After `sealSegments` made so many datagrams. True: bases wait for the peer. */
  noteSealed(datagrams: number): boolean {
    if (this.#sender === undefined) return false;
    const cut = this.#cut;
    this.#native.lastCut(this.#sender, cut);
    if (cut[CUT_COMPRESSED] === 1 && datagrams > 1) {
      const overheadBytes = cut[CUT_OVERHEAD_BYTES]!;
      this.#counts[Math.max(0, Math.min(OVERHEADS - 1, overheadBytes - LEAST_OVERHEAD_BYTES))]!++;
      this.#datagrams += datagrams;
      if (overheadBytes > this.#overheadBytes) this.#exceededCount++;
    }
    return cut[CUT_PENDING_BASES]! > 0;
  }

  /** Writes frames with the bases that are due into `out`; their length, 0 when none is due. */
  emitBases(out: Uint8Array, rttMs: number, nowMs: number): number {
    if (this.#sender === undefined) return 0;
    const repeatMs = (rttMs < 0 ? UNKNOWN_RTT_MS : rttMs) + REPEAT_EXTRA_MS;
    let length = 0;
    while (length + FRAME_HEADER_BYTES + BASE_MAX_BYTES <= out.length) {
      const bodyBytes = this.#native.nextBase(this.#sender, nowMs, repeatMs, out, length + FRAME_HEADER_BYTES);
      if (bodyBytes === 0) break;
      length = emitHeaderBase(out, length, bodyBytes);
    }
    return length;
  }

  /** Now and then: true when the payload size is another one than it was the last time. */
  updateSize(nowMs: number): boolean {
    this.#adapt(nowMs);
    const told = this.#toldPayloadBytes;
    this.#toldPayloadBytes = this.segmentPayloadBytes;
    return told !== this.#toldPayloadBytes;
  }

  #adapt(nowMs: number): void {
    if (this.#exceededCount < MANY_EXCEEDED && nowMs < this.#windowEndsMs) return;
    this.#windowEndsMs = nowMs + OVERHEAD_WINDOW_MS;
    if (this.#datagrams === 0) return;
    // A byte more costs every datagram one; a byte too few costs those that need it a datagram.
    let exceeding = 0;
    let least = Infinity;
    for (let i = OVERHEADS - 1; i >= 0; i--) {
      const cost = i * this.#datagrams + exceeding * EXTRA_DATAGRAM_BYTES;
      if (cost <= least) {
        least = cost;
        this.#overheadBytes = LEAST_OVERHEAD_BYTES + i;
      }
      exceeding += this.#counts[i]!;
    }
    this.#counts.fill(0);
    this.#datagrams = 0;
    this.#exceededCount = 0;
  }
}

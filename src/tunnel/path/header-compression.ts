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
import { HeaderAllowance } from './header-allowance.js';

/** The shortest header of a segment with data: id 1, sequence number 3, place in the mapping 1. */
const LEAST_OVERHEAD_BYTES = COMPRESSED_HEADER_BYTES + AEAD_TAG_BYTES + 5;
/** A base is repeated after the round trip and this. */
const REPEAT_EXTRA_MS = 30;
const UNKNOWN_RTT_MS = 200;

export class HeaderCompression {
  readonly #native: NativeAddon;
  readonly #cut = new Int32Array(CUT_INTS);
  #sender: SenderHandle | undefined;
  #maxDatagramBytes = 0;
  readonly #allowance = new HeaderAllowance();
  #toldPayloadBytes = 0;

  constructor(native: NativeAddon) {
    this.#native = native;
  }

  get active(): boolean {
    return this.#sender !== undefined;
  }

  /** Largest payload of a segment whose header goes compressed; 0: headers go whole. */
  get segmentPayloadBytes(): number {
    return this.#sender === undefined ? 0 : this.#maxDatagramBytes - LEAST_OVERHEAD_BYTES - this.#allowance.bytes;
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
    if (cut[CUT_COMPRESSED] === 1 && datagrams > 1) this.#allowance.note(cut[CUT_OVERHEAD_BYTES]! - LEAST_OVERHEAD_BYTES, datagrams);
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
  updateSize(nowMs: number, rttMs: number): boolean {
    this.#allowance.update(nowMs, rttMs);
    const told = this.#toldPayloadBytes;
    this.#toldPayloadBytes = this.segmentPayloadBytes;
    return told !== this.#toldPayloadBytes;
  }
}

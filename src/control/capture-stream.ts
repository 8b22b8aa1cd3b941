/** One capture on its way to one reader: blocks are gathered into chunks, and packets are dropped when the reader does not keep up. */

import type { PacketTap } from '../tunnel/link.js';
import { CaptureTap } from './capture-tap.js';
import type { CaptureSummary } from './control-protocol.js';

/** A chunk is sent when it has this size, and at the end of each turn of the event loop. */
const CHUNK_BYTES = 64 << 10;
/** Beyond this many unread bytes packets are dropped. */
const QUEUE_MAX_BYTES = 8 << 20;
const BLOCK_ENHANCED_PACKET = 6;

export interface CaptureStreamOptions {
  /** Packets after which it ends by itself; 0: never. */
  count: number;
  /** Takes a chunk, which is its own from then on. */
  send: (chunk: Uint8Array) => void;
  /** Bytes that were sent and not yet taken by the reader. */
  queuedBytes: () => number;
  /** Called once, when `count` is reached. */
  onFull: () => void;
}

export class CaptureStream {
  readonly tap: PacketTap;
  readonly #options: CaptureStreamOptions;
  #blocks: Uint8Array[] = [];
  #pendingBytes = 0;
  #flush: NodeJS.Immediate | undefined;
  #packets = 0;
  #droppedPackets = 0;
  #ended = false;

  constructor(options: CaptureStreamOptions) {
    this.#options = options;
    // Monotonic, so that a step of the wall clock does not turn the order of packets round.
    const startMicroseconds = Math.round((Date.now() - performance.now()) * 1000);
    this.tap = new CaptureTap({
      write: (block) => this.#write(block),
      nowMicroseconds: () => startMicroseconds + Math.round(performance.now() * 1000),
    });
  }

  /** Sends what is left. Nothing is sent after it. */
  end(): CaptureSummary {
    this.#sendPending();
    this.#ended = true;
    return { packets: this.#packets, droppedPackets: this.#droppedPackets };
  }

  #write(block: Uint8Array): void {
    if (this.#ended) return;
    if (isPacket(block) && !this.#admitPacket()) return;
    this.#blocks.push(block);
    this.#pendingBytes += block.length;
    if (this.#pendingBytes >= CHUNK_BYTES) this.#sendPending();
    else this.#flush ??= setImmediate(() => this.#sendPending());
  }

  /** Section and interface blocks are always sent: without them the rest could not be read. */
  #admitPacket(): boolean {
    if (this.#options.count > 0 && this.#packets >= this.#options.count) return false;
    if (this.#pendingBytes + this.#options.queuedBytes() > QUEUE_MAX_BYTES) {
      this.#droppedPackets++;
      return false;
    }
    this.#packets++;
    // Not from within the tap: the owner takes the tap away.
    if (this.#packets === this.#options.count) setImmediate(this.#options.onFull);
    return true;
  }

  #sendPending(): void {
    clearImmediate(this.#flush);
    this.#flush = undefined;
    if (this.#pendingBytes === 0 || this.#ended) return;
    const chunk = Buffer.concat(this.#blocks, this.#pendingBytes);
    this.#blocks = [];
    this.#pendingBytes = 0;
    this.#options.send(chunk);
  }
}

/** pcapng block types are little-endian here. */
function isPacket(block: Uint8Array): boolean {
  return block[0] === BLOCK_ENHANCED_PACKET && block[1] === 0 && block[2] === 0 && block[3] === 0;
}

/** Lets several captures run at once on the one tap that a tunnel has. */
export class TapFan implements PacketTap {
  readonly #taps: PacketTap[] = [];
  readonly #setTap: (tap: PacketTap | undefined) => void;

  constructor(setTap: (tap: PacketTap | undefined) => void) {
    this.#setTap = setTap;
  }

  add(tap: PacketTap): void {
    this.#taps.push(tap);
    if (this.#taps.length === 1) this.#setTap(this);
  }

  /** Tells a tunnel that has just been started about captures that were waiting for it. */
  attach(): void {
    if (this.#taps.length > 0) this.#setTap(this);
  }

  remove(tap: PacketTap): void {
    const index = this.#taps.indexOf(tap);
    if (index >= 0) this.#taps.splice(index, 1);
    if (index >= 0 && this.#taps.length === 0) this.#setTap(undefined);
  }

  onPacket(...packet: Parameters<PacketTap['onPacket']>): void {
    for (const tap of this.#taps) tap.onPacket(...packet);
  }
}

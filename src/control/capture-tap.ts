/**
 * The tap behind `mptunnel capture`: every inner packet at the line, as pcapng, one interface per path. Super-segments of the stream plane are
 * cut as the native code cuts them, so that the file holds what the path carried, byte for byte.
 */

import { cutSegments } from '../mptcp-over-udp/wire/cut-segments.js';
import type { PacketTap, PathLink } from '../tunnel/link.js';
import { PcapngWriter, type WriteBlock } from './pcapng.js';

export interface CaptureTapOptions {
  write: WriteBlock;
  /** Microseconds since 1970, an integer. */
  nowMicroseconds: () => number;
}

export class CaptureTap implements PacketTap {
  readonly #writer: PcapngWriter;
  readonly #nowMicroseconds: () => number;
  readonly #interfaces = new Map<PathLink, number>();
  #packetCount = 0;

  /** Writes the section header at once. */
  constructor(options: CaptureTapOptions) {
    this.#writer = new PcapngWriter(options.write);
    this.#nowMicroseconds = options.nowMicroseconds;
  }

  /** Packets written so far, after cutting. */
  get packetCount(): number {
    return this.#packetCount;
  }

  onPacket(
    direction: 'in' | 'out',
    path: PathLink,
    plane: 'stream' | 'datagram',
    header: Uint8Array,
    headerOffset: number,
    headerBytes: number,
    payload: Uint8Array,
    payloadOffset: number,
    payloadBytes: number,
    segmentBytes: number,
  ): void {
    const interfaceNumber = this.#interfaceOf(path);
    const nowMicroseconds = this.#nowMicroseconds();
    // What comes in single is whole. What goes out is a template: its lengths and checksums are finished while it is cut.
    if (plane === 'stream' && (direction === 'out' || segmentBytes > 0)) {
      const template = header.subarray(headerOffset, headerOffset + headerBytes);
      cutSegments(template, headerBytes, payload, payloadOffset, payloadBytes, segmentBytes, (packet, length) => {
        this.#packetCount++;
        this.#writer.writePacket(interfaceNumber, nowMicroseconds, direction, packet, 0, length);
      });
      return;
    }
    this.#packetCount++;
    this.#writer.writePacket(
      interfaceNumber,
      nowMicroseconds,
      direction,
      header,
      headerOffset,
      headerBytes,
      payload,
      payloadOffset,
      payloadBytes,
    );
  }

  #interfaceOf(path: PathLink): number {
    const known = this.#interfaces.get(path);
    if (known !== undefined) return known;
    const added = this.#writer.addInterface(path.name, `${path.local} to ${path.remote}`);
    this.#interfaces.set(path, added);
    return added;
  }
}

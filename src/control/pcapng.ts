/**
 * Writes pcapng (draft-ietf-opsawg-pcapng): a section header, one interface block per path, enhanced packet blocks. Little-endian, microseconds.
 *
 *   +------------------+
 *   | Block Type       |   0x0A0D0D0A section, 1 interface, 6 enhanced packet
 *   +------------------+
 *   | Block Length     |   multiple of 4
 *   +------------------+
 *   | Body, Options    |
 *   +------------------+
 *   | Block Length     |
 *   +------------------+
 */

const BLOCK_SECTION_HEADER = 0x0a0d0d0a;
const BLOCK_INTERFACE = 1;
const BLOCK_ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
/** Packets begin with an IPv4 or IPv6 header. */
export const LINKTYPE_RAW = 101;

const OPTION_END = 0;
const OPTION_SHB_USERAPPL = 4;
const OPTION_IF_NAME = 2;
const OPTION_IF_DESCRIPTION = 3;
const OPTION_IF_TSRESOL = 9;
const OPTION_EPB_FLAGS = 2;
const MICROSECONDS = 6;
const FLAG_INBOUND = 1;
const FLAG_OUTBOUND = 2;

const TWO_32 = 0x1_0000_0000;

/** Gets each block as a buffer of its own, which is the callee's from then on. */
export type WriteBlock = (block: Uint8Array) => void;

export class PcapngWriter {
  readonly #write: WriteBlock;
  #interfaceCount = 0;

  /** Writes the section header at once. */
  constructor(write: WriteBlock, application = 'mptunnel') {
    this.#write = write;
    const options = encodeOptions([[OPTION_SHB_USERAPPL, new TextEncoder().encode(application)]]);
    const body = new Uint8Array(16 + options.length);
    const view = new DataView(body.buffer);
    view.setUint32(0, BYTE_ORDER_MAGIC, true);
    view.setUint16(4, 1, true);
    view.setUint16(6, 0, true);
    // Section length -1: not known when streaming.
    view.setBigInt64(8, -1n, true);
    body.set(options, 16);
    this.#writeBlock(BLOCK_SECTION_HEADER, body);
  }

  /** Describes an interface; returns its number for `writePacket`. */
  addInterface(name: string, description = ''): number {
    const text = new TextEncoder();
    const options: [number, Uint8Array][] = [
      [OPTION_IF_NAME, text.encode(name)],
      [OPTION_IF_TSRESOL, Uint8Array.of(MICROSECONDS)],
    ];
    if (description !== '') options.push([OPTION_IF_DESCRIPTION, text.encode(description)]);
    const encoded = encodeOptions(options);
    const body = new Uint8Array(8 + encoded.length);
    // Snap length 0: no limit.
    new DataView(body.buffer).setUint16(0, LINKTYPE_RAW, true);
    body.set(encoded, 8);
    this.#writeBlock(BLOCK_INTERFACE, body);
    return this.#interfaceCount++;
  }

  /**
   * One packet of `firstBytes` bytes from `first` and `secondBytes` from `second` behind them. Time is microseconds since 1970, an integer up to 2^53.
   * Throws RangeError on an interface that was not added.
   */
  writePacket(
    interfaceNumber: number,
    timeMicroseconds: number,
    direction: 'in' | 'out',
    first: Uint8Array,
    firstOffset: number,
    firstBytes: number,
    second: Uint8Array = first,
    secondOffset = 0,
    secondBytes = 0,
  ): void {
    if (interfaceNumber < 0 || interfaceNumber >= this.#interfaceCount)
      throw new RangeError(`interfaceNumber ${interfaceNumber} was never added`);
    const packetBytes = firstBytes + secondBytes;
    const paddedBytes = (packetBytes + 3) & ~3;
    const block = new Uint8Array(12 + 20 + paddedBytes + 12);
    const view = new DataView(block.buffer);
    view.setUint32(0, BLOCK_ENHANCED_PACKET, true);
    view.setUint32(4, block.length, true);
    view.setUint32(8, interfaceNumber, true);
    view.setUint32(12, Math.floor(timeMicroseconds / TWO_32), true);
    view.setUint32(16, timeMicroseconds % TWO_32, true);
    view.setUint32(20, packetBytes, true);
    view.setUint32(24, packetBytes, true);
    block.set(first.subarray(firstOffset, firstOffset + firstBytes), 28);
    block.set(second.subarray(secondOffset, secondOffset + secondBytes), 28 + firstBytes);
    const options = 28 + paddedBytes;
    view.setUint16(options, OPTION_EPB_FLAGS, true);
    view.setUint16(options + 2, 4, true);
    view.setUint32(options + 4, direction === 'in' ? FLAG_INBOUND : FLAG_OUTBOUND, true);
    view.setUint32(options + 8, OPTION_END, true);
    view.setUint32(options + 12, block.length, true);
    this.#write(block);
  }

  #writeBlock(type: number, body: Uint8Array): void {
    const block = new Uint8Array(12 + body.length);
    const view = new DataView(block.buffer);
    view.setUint32(0, type, true);
    view.setUint32(4, block.length, true);
    block.set(body, 8);
    view.setUint32(8 + body.length, block.length, true);
    this.#write(block);
  }
}

function encodeOptions(options: readonly (readonly [number, Uint8Array])[]): Uint8Array {
  const padded = (bytes: number): number => (bytes + 3) & ~3;
  const out = new Uint8Array(options.reduce((sum, [, value]) => sum + 4 + padded(value.length), 4));
  const view = new DataView(out.buffer);
  let at = 0;
  for (const [code, value] of options) {
    view.setUint16(at, code, true);
    view.setUint16(at + 2, value.length, true);
    out.set(value, at + 4);
    at += 4 + padded(value.length);
  }
  return out;
}

/** Packets of the datagram plane that wait for a path with a limit: a short queue in one buffer, first in, first out. Nothing is allocated per packet. */

/** As `PathLink.sendPacket`, for what has waited. */
export interface PacketOutlet {
  emitPacket(
    packet: Uint8Array,
    offset: number,
    length: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
  ): boolean;
}

const MAX_PACKETS = 2048;
const FIELDS = 6;

export class HeldPackets {
  /** Packets lie one after another; one that does not fit at the end lies at the beginning. */
  readonly #bytes: Uint8Array;
  /** Of each packet: offset, length, gsoType, gsoSize, csumStart, csumOffset. */
  readonly #fields = new Int32Array(MAX_PACKETS * FIELDS);
  readonly #heldSinceMs = new Float64Array(MAX_PACKETS);
  #first = 0;
  #count = 0;
  #packetBytes = 0;
  /** Where the next goes. */
  #end = 0;

  constructor(capacityBytes: number) {
    this.#bytes = new Uint8Array(Math.ceil(capacityBytes));
  }

  get capacityBytes(): number {
    return this.#bytes.length;
  }

  get count(): number {
    return this.#count;
  }

  /** Of the packets that wait. */
  get bytes(): number {
    return this.#packetBytes;
  }

  /** Copies the packet; false: there is no room. */
  push(
    packet: Uint8Array,
    offset: number,
    length: number,
    gsoType: number,
    gsoSize: number,
    csumStart: number,
    csumOffset: number,
    nowMs: number,
  ): boolean {
    const at = this.#count === MAX_PACKETS ? -1 : this.#place(length);
    if (at < 0) return false;
    this.#bytes.set(packet.subarray(offset, offset + length), at);
    const slot = (this.#first + this.#count) % MAX_PACKETS;
    const base = slot * FIELDS;
    this.#fields[base] = at;
    this.#fields[base + 1] = length;
    this.#fields[base + 2] = gsoType;
    this.#fields[base + 3] = gsoSize;
    this.#fields[base + 4] = csumStart;
    this.#fields[base + 5] = csumOffset;
    this.#heldSinceMs[slot] = nowMs;
    this.#count++;
    this.#packetBytes += length;
    this.#end = at + length;
    return true;
  }

  /** Infinity when none waits. */
  get oldestSinceMs(): number {
    return this.#count === 0 ? Number.POSITIVE_INFINITY : this.#heldSinceMs[this.#first]!;
  }

  /** Of the first that waits; 0: there is none. */
  get firstBytes(): number {
    return this.#count === 0 ? 0 : this.#fields[this.#first * FIELDS + 1]!;
  }

  /** Hands the first to `outlet`. Nothing may be pushed within the call. */
  shift(outlet: PacketOutlet): void {
    if (this.#count === 0) return;
    const base = this.#first * FIELDS;
    const [at, length] = [this.#fields[base]!, this.#fields[base + 1]!];
    outlet.emitPacket(
      this.#bytes,
      at,
      length,
      this.#fields[base + 2]!,
      this.#fields[base + 3]!,
      this.#fields[base + 4]!,
      this.#fields[base + 5]!,
    );
    this.#first = (this.#first + 1) % MAX_PACKETS;
    this.#count--;
    this.#packetBytes -= length;
  }

  /** An offset with `length` free bytes behind it; -1: there is none. */
  #place(length: number): number {
    const capacity = this.#bytes.length;
    if (this.#count === 0) return length <= capacity ? 0 : -1;
    const begin = this.#fields[this.#first * FIELDS]!;
    const end = this.#end;
    if (end > begin) {
      if (end + length <= capacity) return end;
      return length <= begin ? 0 : -1;
    }
    return end + length <= begin ? end : -1;
  }
}

/**
 * Messages of DNS in a byte stream (RFC 1035, 4.2.2; RFC 7766), however it is cut. Bytes come from strangers: none of them is a fault, and what is kept of a message that is
 * cut is bounded.
 *
 *   +--------+---------------------+--------+---------
 *   | length |       message       | length | message ...     length: two bytes
 *   +--------+---------------------+--------+---------
 */

/** What all that share it may keep together. */
export class DnsRoom {
  #freeBytes: number;

  constructor(bytes: number) {
    this.#freeBytes = bytes;
  }

  take(bytes: number): boolean {
    if (bytes > this.#freeBytes) return false;
    this.#freeBytes -= bytes;
    return true;
  }

  give(bytes: number): void {
    this.#freeBytes += bytes;
  }
}

export class DnsFraming {
  readonly #maxBytes: number;
  readonly #room: DnsRoom;
  readonly #visit: (bytes: Uint8Array, at: number, length: number) => void;
  /** The first byte of a length whose second one is to come, else -1. */
  #lengthHigh = -1;
  /** Of the message that has begun: what is to come of it, and how many of its first bytes are to be visited, 0: no more. */
  #leftBytes = 0;
  #wantedBytes = 0;
  #kept: Uint8Array | undefined;
  #keptBytes = 0;

  /** `visit`: each message, or its first `maxBytes`; borrowed until return. One that is cut while there is no room is passed over. */
  constructor(maxBytes: number, room: DnsRoom, visit: (bytes: Uint8Array, at: number, length: number) => void) {
    this.#maxBytes = maxBytes;
    this.#room = room;
    this.#visit = visit;
  }

  feed(bytes: Uint8Array, at: number, length: number): void {
    const end = at + length;
    for (let next = at; next < end; ) {
      if (this.#leftBytes > 0) next += this.#readMessage(bytes, next, end - next);
      else this.#readLength(bytes[next++]!);
    }
  }

  /** Nothing is kept any more. */
  close(): void {
    if (this.#kept !== undefined) this.#room.give(this.#kept.length);
    this.#kept = undefined;
    this.#wantedBytes = 0;
  }

  #readLength(byte: number): void {
    if (this.#lengthHigh < 0) {
      this.#lengthHigh = byte;
      return;
    }
    this.#leftBytes = (this.#lengthHigh << 8) | byte;
    this.#wantedBytes = Math.min(this.#leftBytes, this.#maxBytes);
    this.#lengthHigh = -1;
  }

  /** Returns how many bytes are the message's. */
  #readMessage(bytes: Uint8Array, at: number, length: number): number {
    const taken = Math.min(length, this.#leftBytes);
    const wanted = this.#wantedBytes;
    if (wanted > 0 && this.#kept === undefined && taken >= wanted) {
      this.#wantedBytes = 0;
      this.#visit(bytes, at, wanted);
    } else if (wanted > 0) {
      this.#keep(bytes, at, taken);
    }
    this.#leftBytes -= taken;
    return taken;
  }

  #keep(bytes: Uint8Array, at: number, length: number): void {
    if (this.#kept === undefined) {
      if (!this.#room.take(this.#wantedBytes)) {
        this.#wantedBytes = 0;
        return;
      }
      this.#kept = new Uint8Array(this.#wantedBytes);
      this.#keptBytes = 0;
    }
    const message = this.#kept;
    const added = Math.min(length, message.length - this.#keptBytes);
    message.set(bytes.subarray(at, at + added), this.#keptBytes);
    this.#keptBytes += added;
    if (this.#keptBytes < message.length) return;
    this.close();
    this.#visit(message, 0, message.length);
  }
}

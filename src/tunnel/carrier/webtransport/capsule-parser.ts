/**
 * Takes a stream of capsules apart (RFC 9297, 3.2), in whatever pieces it comes. Each datagram is copied once, next to the one before it; of other capsules only
 * WT_CLOSE_SESSION is kept, and what is unknown is passed over.
 */

import { VarintReader } from '../varint.js';
import {
  CLOSE_CODE_BYTES,
  CLOSE_REASON_MAX_BYTES,
  CLOSE_SESSION_CAPSULE,
  DATAGRAM_CAPSULE,
  MAX_DATAGRAM_BYTES,
} from './datagram-capsule.js';

const ROOM_BYTES = 128 * 1024;
const ROOM_DATAGRAMS = 1024;
/** Longer ones are no datagrams of anybody's: the stream is not what we take it for. */
const DATAGRAM_LIMIT_BYTES = 65_535;
/** Of a capsule that is passed over. */
const SKIP_LIMIT_BYTES = 1024 * 1024;

type Part = 'type' | 'length' | 'datagram' | 'close' | 'skip';

/** The datagrams are borrowed until return. */
export type DeliverDatagrams = (bytes: Uint8Array, lengths: Int32Array, count: number) => void;

export class CapsuleParser {
  readonly #deliver: DeliverDatagrams;
  readonly #bytes = new Uint8Array(ROOM_BYTES);
  readonly #lengths = new Int32Array(ROOM_DATAGRAMS);
  #count = 0;
  /** INVARIANT: whole datagrams fill #bytes up to #used; of the one that is being read, #filled bytes follow. */
  #used = 0;
  #filled = 0;
  #part: Part = 'type';
  readonly #integer = new VarintReader();
  #type = 0;
  #length = 0;
  /** Of the capsule's value, to come. */
  #left = 0;
  #stopped = false;
  readonly #closing: number[] = [];
  /** Too long for us, and passed over. */
  oversizedDatagrams = 0;
  /** The peer's goodbye has come: its reason, perhaps "". Nothing is read after it. */
  closeReason: string | undefined;

  constructor(deliver: DeliverDatagrams) {
    this.#deliver = deliver;
  }

  /** Nothing is delivered any more, not even of the piece that is being parsed. */
  stop(): void {
    this.#stopped = true;
  }

  /** What is wrong with it: then there is no going on. */
  parse(piece: Uint8Array): string | undefined {
    let at = 0;
    let fault: string | undefined;
    while (at < piece.length && fault === undefined && !this.#stopped && this.closeReason === undefined) {
      if (this.#part === 'type' || this.#part === 'length') {
        if (!this.#integer.take(piece[at++]!)) continue;
        fault = this.#part === 'type' ? this.#startLength() : this.#startValue();
      } else {
        at += this.#takeValue(piece, at);
      }
    }
    // What came before a fault, or a goodbye, is good.
    this.#flush();
    return fault;
  }

  #startLength(): undefined {
    this.#type = this.#integer.value;
    this.#part = 'length';
  }

  #startValue(): string | undefined {
    const length = this.#integer.value;
    this.#length = length;
    this.#left = length;
    switch (this.#type) {
      case DATAGRAM_CAPSULE:
        if (length > DATAGRAM_LIMIT_BYTES) return 'datagram-too-long';
        this.#part = length === 0 || length > MAX_DATAGRAM_BYTES ? 'skip' : 'datagram';
        if (length > MAX_DATAGRAM_BYTES) this.oversizedDatagrams++;
        if (this.#used + length > ROOM_BYTES || this.#count === ROOM_DATAGRAMS) this.#flush();
        break;
      case CLOSE_SESSION_CAPSULE:
        if (length < CLOSE_CODE_BYTES || length > CLOSE_CODE_BYTES + CLOSE_REASON_MAX_BYTES) return 'close-length';
        this.#part = 'close';
        break;
      default:
        if (length > SKIP_LIMIT_BYTES) return 'capsule-too-long';
        this.#part = 'skip';
    }
    if (length === 0) this.#part = 'type';
    return undefined;
  }

  /** How much of the piece belongs to this value. */
  #takeValue(piece: Uint8Array, at: number): number {
    const taken = Math.min(this.#left, piece.length - at);
    if (this.#part === 'datagram') {
      this.#bytes.set(piece.subarray(at, at + taken), this.#used + this.#filled);
      this.#filled += taken;
    } else if (this.#part === 'close') {
      this.#closing.push(...piece.subarray(at, at + taken));
    }
    this.#left -= taken;
    if (this.#left === 0) this.#finishValue();
    return taken;
  }

  #finishValue(): void {
    if (this.#part === 'datagram') {
      this.#lengths[this.#count++] = this.#length;
      this.#used += this.#length;
      this.#filled = 0;
    } else if (this.#part === 'close') {
      this.closeReason = Buffer.from(this.#closing.slice(CLOSE_CODE_BYTES)).toString('utf8');
    }
    this.#part = 'type';
  }

  #flush(): void {
    if (this.#count === 0) return;
    const [used, count] = [this.#used, this.#count];
    if (!this.#stopped) this.#deliver(this.#bytes, this.#lengths, count);
    this.#bytes.copyWithin(0, used, used + this.#filled);
    this.#used = 0;
    this.#count = 0;
  }
}

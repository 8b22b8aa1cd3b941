/**
 * Takes a stream of HTTP/3 frames apart (RFC 9114, 7.1), in whatever pieces it comes.
 *
 *   Type (variable-length integer) | Length (variable-length integer) | Payload
 *
 * DATA goes on as it comes; frames that are known are kept until they are whole, and are no longer than the limit; all others are passed over, GREASE among them (7.2.8).
 */

import { VarintReader, varintBytes } from '../varint.js';
import type { Http3Error } from './http3-error.js';

export const FRAMES = {
  data: 0x00,
  headers: 0x01,
  cancelPush: 0x03,
  settings: 0x04,
  pushPromise: 0x05,
  goaway: 0x07,
  maxPushId: 0x0d,
} as const;
/** Of HTTP/2, reserved (RFC 9114, 7.2.8); and what begins a stream of WebTransport's own, of which we take none. */
const NEVER: ReadonlySet<number> = new Set([0x02, 0x06, 0x08, 0x09, 0x41]);
const KEPT: ReadonlySet<number> = new Set([
  ...[FRAMES.headers, FRAMES.cancelPush, FRAMES.settings, FRAMES.pushPromise, FRAMES.goaway, FRAMES.maxPushId],
]);

export interface FrameEvents {
  /** One that is kept, whole; its payload is the callee's. What is wrong with it, if anything. */
  onFrame(type: number, payload: Uint8Array): Http3Error | undefined;
  /** Of a DATA frame, as it comes: borrowed until return. */
  onData(piece: Uint8Array): Http3Error | undefined;
}

export class FrameParser {
  readonly #events: FrameEvents;
  readonly #limitBytes: number;
  readonly #integer = new VarintReader();
  #part: 'type' | 'length' | 'payload' = 'type';
  #type = 0;
  /** Of the payload, to come. */
  #left = 0;
  /** undefined: it is not kept. */
  #kept: Uint8Array | undefined;

  /** `limitBytes`: of a frame that is kept. */
  constructor(limitBytes: number, events: FrameEvents) {
    this.#limitBytes = limitBytes;
    this.#events = events;
  }

  /** The stream may end here: no frame is unfinished. */
  get isBetweenFrames(): boolean {
    return this.#part === 'type' && !this.#integer.isWithin;
  }

  /** What is wrong: then there is no going on. */
  parse(piece: Uint8Array): Http3Error | undefined {
    let at = 0;
    while (at < piece.length) {
      let fault: Http3Error | undefined;
      if (this.#part === 'payload') {
        const taken = Math.min(this.#left, piece.length - at);
        fault = this.#takePayload(piece.subarray(at, at + taken));
        at += taken;
      } else if (this.#integer.take(piece[at++]!)) {
        fault = this.#part === 'type' ? this.#startLength() : this.#startPayload();
      }
      if (fault !== undefined) return fault;
    }
    return undefined;
  }

  #startLength(): Http3Error | undefined {
    this.#type = this.#integer.value;
    this.#part = 'length';
    return NEVER.has(this.#type) ? 'H3_FRAME_UNEXPECTED' : undefined;
  }

  #startPayload(): Http3Error | undefined {
    this.#left = this.#integer.value;
    this.#part = 'payload';
    this.#kept = undefined;
    if (KEPT.has(this.#type)) {
      if (this.#left > this.#limitBytes) return 'H3_EXCESSIVE_LOAD';
      this.#kept = new Uint8Array(this.#left);
    }
    return this.#left === 0 ? this.#finish() : undefined;
  }

  #takePayload(piece: Uint8Array): Http3Error | undefined {
    const kept = this.#kept;
    if (kept !== undefined) kept.set(piece, kept.length - this.#left);
    this.#left -= piece.length;
    const fault = this.#type === FRAMES.data ? this.#events.onData(piece) : undefined;
    return fault ?? (this.#left === 0 ? this.#finish() : undefined);
  }

  #finish(): Http3Error | undefined {
    const kept = this.#kept;
    this.#part = 'type';
    this.#kept = undefined;
    return kept === undefined ? undefined : this.#events.onFrame(this.#type, kept);
  }
}

/** A whole frame, the caller's. */
export function frameBytes(type: number, payload: Uint8Array): Uint8Array {
  const head = varintBytes(type, payload.length);
  const out = new Uint8Array(head.length + payload.length);
  out.set(head);
  out.set(payload, head.length);
  return out;
}

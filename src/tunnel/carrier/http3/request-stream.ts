/** One stream of a request (RFC 9114, 4.1), as it is read: HEADERS, before which there may be interim answers, then DATA. Trailers mean nothing to us, and have no place after CONNECT (4.4). */

import { FRAMES, FrameParser } from './frame-parser.js';
import type { Http3Error } from './http3-error.js';
import { decodeFields, type Field } from './qpack.js';

export interface RequestStreamEvents {
  /** Of a HEADERS frame. */
  onFields(fields: readonly Field[]): Http3Error | undefined;
  /** Borrowed until return. */
  onData(piece: Uint8Array): Http3Error | undefined;
  /** The other side has said all. */
  onEnd(): void;
}

export class RequestStream {
  readonly #events: RequestStreamEvents;
  readonly #limitBytes: number;
  readonly #frames: FrameParser;
  #hasFields = false;
  #ignored = false;

  constructor(limitBytes: number, events: RequestStreamEvents) {
    this.#events = events;
    this.#limitBytes = limitBytes;
    this.#frames = new FrameParser(limitBytes, {
      onFrame: (type, payload) => this.#handleFrame(type, payload),
      onData: (piece) => this.#handleData(piece),
    });
  }

  /** It is answered. */
  ignoreRest(): void {
    this.#ignored = true;
  }

  handle(bytes: Uint8Array, fin: boolean): Http3Error | undefined {
    if (this.#ignored) return undefined;
    const fault = this.#frames.parse(bytes);
    if (fault !== undefined || !fin || this.#ignored) return fault;
    // RFC 9114, 7.1: a frame is cut off.
    if (!this.#frames.isBetweenFrames) return 'H3_FRAME_ERROR';
    this.#events.onEnd();
    return undefined;
  }

  #handleFrame(type: number, payload: Uint8Array): Http3Error | undefined {
    if (this.#ignored) return undefined;
    if (type !== FRAMES.headers) return 'H3_FRAME_UNEXPECTED';
    const fields = decodeFields(payload, this.#limitBytes);
    if (fields === undefined) return 'QPACK_DECOMPRESSION_FAILED';
    this.#hasFields = true;
    return this.#events.onFields(fields);
  }

  #handleData(piece: Uint8Array): Http3Error | undefined {
    if (this.#ignored) return undefined;
    return this.#hasFields ? this.#events.onData(piece) : 'H3_FRAME_UNEXPECTED';
  }
}

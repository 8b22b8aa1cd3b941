/**
 * The unidirectional streams that the peer opens (RFC 9114, 6.2): its control stream, whose first frame is SETTINGS, and those of QPACK, on which it has next to nothing to say, as
 * there is no dynamic table. What else there is (push, WebTransport's own, GREASE) we do not read.
 */

import { VarintReader } from '../varint.js';
import { FRAMES, FrameParser } from './frame-parser.js';
import type { Http3Error } from './http3-error.js';
import { type Http3Settings, parseSettings } from './settings.js';

export const CONTROL_STREAM = 0x00;
const PUSH_STREAM = 0x01;
const QPACK_ENCODER_STREAM = 0x02;
const QPACK_DECODER_STREAM = 0x03;
const WEBTRANSPORT_STREAM = 0x54;
/** SETTINGS are short, and nothing else on a control stream is longer. */
const CONTROL_FRAME_BYTES = 1024;
/** RFC 9204, 4.3.1: the capacity of the dynamic table is 0. */
const SET_CAPACITY_ZERO = 0x20;

export interface PeerStreamEvents {
  onSettings(settings: Http3Settings): Http3Error | undefined;
  /** The type has been read: what is wrong with there being one. */
  onType(type: number): Http3Error | undefined;
  /** Nothing more is read of it. */
  stop(error: Http3Error): void;
}

type Kind = 'unknown' | 'control' | 'encoder' | 'decoder' | 'passed-over';

export class PeerStream {
  readonly #events: PeerStreamEvents;
  readonly #isServer: boolean;
  readonly #integer = new VarintReader();
  readonly #frames = new FrameParser(CONTROL_FRAME_BYTES, {
    onFrame: (type, payload) => this.#handleFrame(type, payload),
    onData: () => 'H3_FRAME_UNEXPECTED',
  });
  #kind: Kind = 'unknown';
  #hasSettings = false;
  /** Within an integer of the decoder stream that goes on. */
  #isWithinInteger = false;

  constructor(isServer: boolean, events: PeerStreamEvents) {
    this.#isServer = isServer;
    this.#events = events;
  }

  /** RFC 9114, 6.2.1; RFC 9204, 4.2: it may not end. */
  get isCritical(): boolean {
    return this.#kind === 'control' || this.#kind === 'encoder' || this.#kind === 'decoder';
  }

  handle(piece: Uint8Array): Http3Error | undefined {
    let at = 0;
    while (this.#kind === 'unknown' && at < piece.length) {
      const fault = this.#integer.take(piece[at++]!) ? this.#start(this.#integer.value) : undefined;
      if (fault !== undefined) return fault;
    }
    const rest = piece.subarray(at);
    switch (this.#kind) {
      case 'control':
        return this.#frames.parse(rest);
      case 'encoder':
        return rest.every((byte) => byte === SET_CAPACITY_ZERO) ? undefined : 'QPACK_ENCODER_STREAM_ERROR';
      case 'decoder':
        return this.#handleDecoder(rest);
      default:
        return undefined;
    }
  }

  #start(type: number): Http3Error | undefined {
    switch (type) {
      case CONTROL_STREAM:
        this.#kind = 'control';
        return this.#events.onType(type);
      case QPACK_ENCODER_STREAM:
        this.#kind = 'encoder';
        return this.#events.onType(type);
      case QPACK_DECODER_STREAM:
        this.#kind = 'decoder';
        return this.#events.onType(type);
      case PUSH_STREAM:
        // RFC 9114, 4.6 and 6.2.2: clients push nothing, and we have allowed servers none.
        return this.#isServer ? 'H3_STREAM_CREATION_ERROR' : 'H3_ID_ERROR';
      default:
        this.#kind = 'passed-over';
        this.#events.stop(type === WEBTRANSPORT_STREAM ? 'WT_BUFFERED_STREAM_REJECTED' : 'H3_STREAM_CREATION_ERROR');
        return undefined;
    }
  }

  #handleFrame(type: number, payload: Uint8Array): Http3Error | undefined {
    if (type === FRAMES.settings) {
      if (this.#hasSettings) return 'H3_FRAME_UNEXPECTED';
      this.#hasSettings = true;
      const settings = parseSettings(payload);
      return typeof settings === 'string' ? settings : this.#events.onSettings(settings);
    }
    if (!this.#hasSettings) return 'H3_MISSING_SETTINGS';
    if (type === FRAMES.headers || type === FRAMES.pushPromise) return 'H3_FRAME_UNEXPECTED';
    // A server has no push ids to be told of (RFC 9114, 7.2.7). The others say nothing to us.
    return type === FRAMES.maxPushId && !this.#isServer ? 'H3_FRAME_UNEXPECTED' : undefined;
  }

  /** RFC 9204, 4.4: no field section of ours needs to be acknowledged, but streams may be cancelled (01, stream id 6+). */
  #handleDecoder(piece: Uint8Array): Http3Error | undefined {
    for (const byte of piece) {
      if (this.#isWithinInteger) this.#isWithinInteger = byte >= 0x80;
      else if ((byte & 0xc0) === 0x40) this.#isWithinInteger = (byte & 0x3f) === 0x3f;
      else return 'QPACK_DECODER_STREAM_ERROR';
    }
    return undefined;
  }
}

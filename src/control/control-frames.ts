/**
 * Framing of the control socket: a u32 length, big-endian, then that many bytes of MessagePack.
 *
 *   +----------------+-------------------+
 *   | length (4, BE) | one message       |   1 <= length <= FRAME_MAX_BYTES
 *   +----------------+-------------------+
 */

import { Packr, Unpackr } from 'msgpackr';

export const FRAME_MAX_BYTES = 1 << 20;
const LENGTH_BYTES = 4;

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true });

/** Throws RangeError when the message is larger than a frame may be. */
export function encodeFrame(message: object): Uint8Array {
  const body = packr.pack(message);
  if (body.length > FRAME_MAX_BYTES) throw new RangeError(`message of ${body.length} bytes; a frame holds ${FRAME_MAX_BYTES}`);
  const frame = new Uint8Array(LENGTH_BYTES + body.length);
  new DataView(frame.buffer).setUint32(0, body.length);
  frame.set(body, LENGTH_BYTES);
  return frame;
}

/** Collects bytes of a stream into messages. Holds at most one frame and the chunk being pushed. */
export class FrameDecoder {
  #chunks: Uint8Array[] = [];
  #bufferedBytes = 0;
  #wantedBytes = LENGTH_BYTES;

  /**
   * Returns the messages that `chunk` completed, or a fault string: the stream is not ours and must be closed. The chunk is kept by reference until
   * its frame is whole.
   */
  push(chunk: Uint8Array): Record<string, unknown>[] | string {
    this.#chunks.push(chunk);
    this.#bufferedBytes += chunk.length;
    const messages: Record<string, unknown>[] = [];
    if (this.#bufferedBytes < this.#wantedBytes) return messages;
    const bytes = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let at = 0;
    this.#wantedBytes = LENGTH_BYTES;
    while (bytes.length - at >= LENGTH_BYTES) {
      const length = view.getUint32(at);
      if (length === 0 || length > FRAME_MAX_BYTES) return `frame of ${length} bytes`;
      if (bytes.length - at < LENGTH_BYTES + length) {
        this.#wantedBytes = LENGTH_BYTES + length;
        break;
      }
      const message = decode(bytes.subarray(at + LENGTH_BYTES, at + LENGTH_BYTES + length));
      if (typeof message === 'string') return message;
      messages.push(message);
      at += LENGTH_BYTES + length;
    }
    this.#chunks = at === bytes.length ? [] : [bytes.subarray(at)];
    this.#bufferedBytes = bytes.length - at;
    return messages;
  }
}

function decode(body: Uint8Array): Record<string, unknown> | string {
  try {
    const message: unknown = unpackr.unpack(body);
    if (typeof message === 'object' && message !== null && !Array.isArray(message)) return message as Record<string, unknown>;
    return 'frame is no map';
  } catch {
    return 'frame is not MessagePack';
  }
}

/** What both kinds of connection look like from above: a byte stream with back-pressure, half-close and abort. No promise, no event emitter. */

import type { CloseReason } from './tcp/tcp-connection.js';

export interface ByteStreamHandler {
  onEstablished(nowMs: number): void;
  /** Borrowed bytes; returns how many were taken. After fewer, nothing more comes until `resumeReading`. */
  onData(bytes: Uint8Array, at: number, length: number): number;
  /** The peer has finished sending, and all of it was read. */
  onEnd(nowMs: number): void;
  /** Room in the send buffer after `write` took less than it was given. */
  onWritable(nowMs: number): void;
  /** Exactly once, at the end of everything. */
  onClosed(reason: CloseReason, nowMs: number): void;
}

export interface ByteStream {
  /** Copies what the send buffer has room for; returns how many bytes. */
  write(bytes: Uint8Array, at: number, length: number): number;
  /** No more writes: FIN (DATA_FIN) after what is buffered. */
  finish(): void;
  /** RST (FASTCLOSE) at once. */
  abort(nowMs: number): void;
  resumeReading(): void;
}

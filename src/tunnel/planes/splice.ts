/**
 * Joins two byte streams: what one delivers the other is given, with back-pressure; a half-close crosses as a half-close, a reset as a reset.
 * Both streams' handlers come from here.
 */

import type { ByteStream, ByteStreamHandler } from '../../mptcp-over-udp/byte-stream.js';
import type { CloseReason } from '../../mptcp-over-udp/tcp/tcp-connection.js';

/** One side of the splice: what comes out of `from` goes into `to`. */
export class SpliceHalf implements ByteStreamHandler {
  private readonly to: ByteStream;
  private readonly established: (nowMs: number) => void;
  private readonly closed: (reason: CloseReason, nowMs: number) => void;

  /** `closed` decides what becomes of the other side; `established` likewise. */
  constructor(to: ByteStream, established: (nowMs: number) => void, closed: (reason: CloseReason, nowMs: number) => void) {
    this.to = to;
    this.established = established;
    this.closed = closed;
  }

  onEstablished(nowMs: number): void {
    this.established(nowMs);
  }

  onData(bytes: Uint8Array, at: number, length: number): number {
    return this.to.write(bytes, at, length);
  }

  onEnd(): void {
    this.to.finish();
  }

  /** `from` can be written to again: its other side may be read on. */
  onWritable(): void {
    this.to.resumeReading();
  }

  onClosed(reason: CloseReason, nowMs: number): void {
    this.closed(reason, nowMs);
  }
}

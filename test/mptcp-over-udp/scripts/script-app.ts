/** The application of a script's host: keeps what happened, reads as far as it is allowed to, checks every byte. */

import type { ByteStreamHandler } from '../../../src/mptcp-over-udp/byte-stream.js';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import type { CloseReason } from '../../../src/mptcp-over-udp/tcp/tcp-connection.js';
import { hostByte, peerByte } from './script-codec.js';

export class ScriptApp implements ByteStreamHandler {
  connection: MptcpConnection | undefined;
  established = false;
  ended = false;
  closed: CloseReason | undefined;
  closedCount = 0;
  writableCount = 0;
  readBytes = 0;
  /** Position in the stream of the first byte that was not the peer's, -1 none. */
  corruptAt = -1;
  /** The one position where a changed byte is right: the peer's was damaged on its way. */
  damagedAt = -1;
  damageSeen = false;
  /** The reader takes so many bytes in all, and no more. */
  readLimit = Number.POSITIVE_INFINITY;
  writtenBytes = 0;

  onEstablished(): void {
    this.established = true;
  }

  onData(bytes: Uint8Array, at: number, length: number): number {
    const n = Math.min(length, this.readLimit - this.readBytes);
    for (let i = 0; i < n; i++) {
      if (bytes[at + i] === peerByte(this.readBytes + 1 + i)) continue;
      if (this.readBytes + i === this.damagedAt) this.damageSeen = true;
      else if (this.corruptAt < 0) this.corruptAt = this.readBytes + i;
    }
    this.readBytes += n;
    return n;
  }

  onEnd(): void {
    this.ended = true;
  }

  onWritable(): void {
    this.writableCount++;
  }

  onClosed(reason: CloseReason): void {
    this.closed = reason;
    this.closedCount++;
  }

  /** Returns how many bytes the send buffer took. */
  write(length: number): number {
    const bytes = Uint8Array.from({ length }, (_, i) => hostByte(this.writtenBytes + 1 + i));
    const taken = this.connection?.write(bytes, 0, length) ?? 0;
    this.writtenBytes += taken;
    return taken;
  }
}

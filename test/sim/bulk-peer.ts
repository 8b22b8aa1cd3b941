import type { ByteStreamHandler } from '../../src/mptcp-over-udp/byte-stream.js';
import type { MptcpConnection } from '../../src/mptcp-over-udp/mptcp/connection.js';

/** Writes without end, or not at all, and reads everything: what is inside is checked by other tests. */
export class BulkPeer implements ByteStreamHandler {
  readBytes = 0;
  connection: MptcpConnection | undefined;
  private readonly sends: boolean;
  private static readonly block = new Uint8Array(65_536);

  constructor(sends: boolean) {
    this.sends = sends;
  }

  onEstablished(): void {
    this.fill();
  }

  onData(_bytes: Uint8Array, _at: number, length: number): number {
    this.readBytes += length;
    return length;
  }

  onEnd(): void {}

  onWritable(): void {
    this.fill();
  }

  onClosed(): void {}

  private fill(): void {
    if (!this.sends || this.connection === undefined) return;
    while (this.connection.write(BulkPeer.block, 0, BulkPeer.block.length) === BulkPeer.block.length);
  }
}

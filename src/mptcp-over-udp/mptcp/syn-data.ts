/** Data that comes with the SYN (RFC 7413) and stands before the first byte that has a DSN (RFC 8684, B.2): so all that has one is in the checksums. */

import type { TcpSegment } from '../wire/segment.js';
import type { MptcpConnection } from './connection.js';
import type { Subflow } from './subflow.js';

export class SynData {
  private readonly connection: MptcpConnection;
  /** Of the peer's SYN, under a good cookie: the reader gets it as soon as the connection is accepted. */
  private received: Uint8Array | undefined;

  constructor(connection: MptcpConnection) {
    this.connection = connection;
  }

  /** The peer's cookie was right. The segment is borrowed. */
  open(subflow: Subflow, segment: TcpSegment): void {
    this.received = segment.bytes.slice(segment.payloadOffset, segment.payloadOffset + segment.payloadBytes);
    this.connection.reassembly.startEarlier(segment.payloadBytes);
    subflow.mappings.synBytes = segment.payloadBytes;
    this.connection.peerWindowEdge = 1 + segment.window;
  }

  /** For the application the connection is open: it may read, and write too. */
  accept(subflow: Subflow): void {
    const bytes = this.received;
    if (bytes === undefined) return;
    this.received = undefined;
    subflow.confirmed = true;
    this.connection.notifyEstablished(this.connection.host.nowMs);
    this.connection.reassembly.receive(1 - bytes.length, bytes, 0, bytes.length);
  }

  /** Our SYN asked for a cookie, or carried one and data: what was taken has been sent, the rest is still to be sent. */
  onSynAnswered(subflow: Subflow, segment: TcpSegment, nowMs: number): void {
    this.connection.host.fastOpenClient.noteAnswer(subflow, segment, nowMs);
    this.connection.sendBuffer.discard(subflow.sentWithSynBytes);
    if (this.connection.fallback) this.connection.fallbackState.noteSynData(subflow);
  }
}

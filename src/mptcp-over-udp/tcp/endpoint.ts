/** A TCP endpoint at the TUN: plain TCP towards an application of this host or a host behind it, spliced to an MPTCP connection by the stream plane. */

import type { ByteStream, ByteStreamHandler } from '../byte-stream.js';
import type { CongestionControl } from '../congestion/congestion-control.js';
import type { IcmpErrorKind } from '../wire/icmp.js';
import type { TcpSegment } from '../wire/segment.js';
import { ReassemblyBuffer } from './reassembly.js';
import type { SegmentRecord } from './retransmission-queue.js';
import { type Piece, SendBuffer } from './send-buffer.js';
import {
  type CloseReason,
  NEVER_MS,
  type SegmentKind,
  TcpConnection,
  type TcpConnectionOptions,
  type TcpHostServices,
} from './tcp-connection.js';
import { acceptSynOptions, closeConnection } from './tcp-input.js';
import { MAX_SUPER_SEGMENT_BYTES, sendAck, sendData, sendFin, sendReset, sendRetransmissions, sendRoomBytes } from './tcp-output.js';
import { armPersist, handleDeadlines, nextDeadlineMs } from './tcp-timers.js';

/** Between the TUN and an application of this host lies no network: a buffer only has to cover a scheduling gap. */
const SEND_BUFFER_BYTES = 1 << 20;
/** Behind the TUN may lie any network: what is in flight there grows with the congestion window, as far as this. */
const MAX_SEND_BUFFER_BYTES = 16 << 20;
const RECEIVE_BUFFER_BYTES = 2 << 20;
const MAX_TIMEOUTS = 10;

/** No network, no congestion: the peer's window is the limit. */
export function createUnlimitedWindow(): CongestionControl {
  const nothing = (): void => undefined;
  return {
    name: 'none',
    cwndBytes: Number.MAX_SAFE_INTEGER,
    pacingRateBytesPerSec: Number.POSITIVE_INFINITY,
    ssthreshBytes: Number.POSITIVE_INFINITY,
    onSent: nothing,
    onAck: nothing,
    onRecoveryStart: nothing,
    onRecoveryEnd: nothing,
    onRetransmissionTimeout: nothing,
    onSpuriousLoss: nothing,
    onIdleRestart: nothing,
    onHandshake: nothing,
    setMss: nothing,
  };
}

const piece: Piece = { block: undefined, offset: 0, length: 0 };

export interface EndpointOwner {
  markDirty(endpoint: TcpEndpoint): void;
  onEndpointClosed(endpoint: TcpEndpoint): void;
}

export class TcpEndpoint extends TcpConnection implements ByteStream {
  private handler: ByteStreamHandler | undefined;
  private readonly owner: EndpointOwner;
  private readonly sendBuffer: SendBuffer;
  private readonly reassembly: ReassemblyBuffer;
  private finishing = false;
  private writeBlocked = false;
  private endDelivered = false;
  /** The application has said all and is gone, and what it said waits for its reader. */
  private isDraining = false;
  /** What a router said why our SYN could not be delivered. */
  unreachable: IcmpErrorKind | undefined = undefined;

  constructor(services: TcpHostServices, owner: EndpointOwner, options: TcpConnectionOptions) {
    super(services, options);
    this.owner = owner;
    this.sendBuffer = new SendBuffer(services.pool);
    this.reassembly = new ReassemblyBuffer(services.pool, 1, (bytes, at, length) => this.handler?.onData(bytes, at, length) ?? 0);
  }

  /** Active open: the SYN leaves at the next poll. */
  connect(): void {
    this.setState('active-open');
    this.synDeadlineMs = 0;
    this.owner.markDirty(this);
  }

  /** A SYN arrived; nothing is answered until `accept`. */
  noteSyn(segment: TcpSegment): void {
    acceptSynOptions(this, segment);
    this.sendWindowEdge = 1 + segment.window;
  }

  /** SYN/ACK: whoever the far side is, it has answered. */
  accept(): void {
    if (!this.setState('passive-open')) return;
    this.synDeadlineMs = 0;
    this.owner.markDirty(this);
  }

  /** RST in answer to the SYN (refused), or silence. */
  reject(reset: boolean, nowMs: number): void {
    if (this.closeReason !== undefined) return;
    if (reset) sendReset(this);
    this.closeReason = 'refused';
    this.onClosed('refused', nowMs);
  }

  setHandler(handler: ByteStreamHandler): void {
    this.handler = handler;
  }

  write(bytes: Uint8Array, at: number, length: number): number {
    if (this.finishing || this.closeReason !== undefined) return length;
    const n = Math.min(length, this.sendBufferBytes - this.bufferedBytes);
    if (n < length) this.writeBlocked = true;
    if (n <= 0) return 0;
    this.sendBuffer.append(bytes, at, n);
    this.owner.markDirty(this);
    return n;
  }

  finish(): void {
    this.finishing = true;
    this.owner.markDirty(this);
  }

  abort(nowMs: number): void {
    if (this.isDraining) this.end('aborted', nowMs);
    if (this.closeReason !== undefined) return;
    sendReset(this);
    if (this.state === 'closed') {
      this.closeReason = 'aborted';
      this.onClosed('aborted', nowMs);
    } else closeConnection(this, 'aborted', nowMs);
  }

  resumeReading(): void {
    if (this.closeReason !== undefined && !this.isDraining) return;
    this.reassembly.drain();
    this.deliverEnd(this.lastReceivedMs);
    if (this.isDraining && this.endDelivered) this.end('finished', this.lastReceivedMs);
    // After its FIN the application sends no more, and may be gone: a window update would only earn an RST.
    const isFinTaken = this.finReceivedOffset >= 0 && this.rcvNxt > this.finReceivedOffset;
    if (this.closeReason !== undefined || isFinTaken) return;
    // RFC 9293 (3.8.6.2.2): tell of a window that grew by two segments from little, or by a quarter of the buffer.
    const window = this.receiveWindowBytes();
    const known = Math.max(0, this.advertisedEdge - this.rcvNxt);
    if (window - known >= RECEIVE_BUFFER_BYTES / 4 || (known < 2 * this.mssBytes && window - known >= 2 * this.mssBytes)) {
      this.ackNow = true;
      this.owner.markDirty(this);
    }
  }

  poll(nowMs: number): number {
    handleDeadlines(this, MAX_TIMEOUTS, nowMs);
    if (this.state !== 'closed') this.output(nowMs);
    return this.state === 'closed' ? NEVER_MS : nextDeadlineMs(this);
  }

  receiveWindowBytes(): number {
    const window = Math.max(0, RECEIVE_BUFFER_BYTES - this.reassembly.heldBytes);
    const edge = Math.max(this.advertisedEdge, this.rcvNxt + window);
    return edge - this.rcvNxt;
  }

  acceptanceEdge(): number {
    return Math.max(this.advertisedEdge, this.rcvNxt + RECEIVE_BUFFER_BYTES - this.reassembly.heldBytes);
  }

  writeOptions(kind: SegmentKind, _out: Uint8Array, _at: number, _roomBytes: number, _record: SegmentRecord | undefined): number {
    // What is about to be advertised is a promise from here on.
    if (kind !== 'syn' && kind !== 'syn-ack' && kind !== 'rst') this.advertisedEdge = this.rcvNxt + this.receiveWindowBytes();
    return 0;
  }

  dataOptionBytes(): number {
    return 0;
  }

  probeWithNewData(segmentBytes: number, nowMs: number): boolean {
    const room = Math.min(segmentBytes, this.sendWindowEdge - this.recovery.sndNxt);
    if (room <= 0 || this.sendBuffer.take(room, piece) === 0 || piece.block === undefined) return false;
    sendData(this, piece.block, piece.offset, piece.length, undefined, this.sendBuffer.queuedBytes === 0, nowMs);
    return true;
  }

  processOptions(): boolean {
    return true;
  }

  onPayload(segment: TcpSegment, offset: number, at: number, length: number, _nowMs: number): boolean {
    this.reassembly.receive(offset, segment.bytes, at, length);
    return true;
  }

  onEstablished(nowMs: number): void {
    this.handler?.onEstablished(nowMs);
  }

  onFinReceived(nowMs: number): void {
    this.deliverEnd(nowMs);
  }

  onAcknowledged(nowMs: number): void {
    if (this.writeBlocked && this.bufferedBytes <= this.sendBufferBytes / 2) {
      this.writeBlocked = false;
      this.handler?.onWritable(nowMs);
    }
  }

  onClosed(reason: CloseReason, nowMs: number): void {
    this.sendBuffer.clear();
    this.owner.onEndpointClosed(this);
    this.isDraining = reason === 'finished' && !this.endDelivered;
    if (!this.isDraining) this.end(reason, nowMs);
  }

  private get bufferedBytes(): number {
    return this.sendBuffer.queuedBytes + this.recovery.sndNxt - this.recovery.sndUna;
  }

  private get sendBufferBytes(): number {
    const { cwndBytes } = this.recovery.congestion;
    if (cwndBytes === Number.MAX_SAFE_INTEGER) return SEND_BUFFER_BYTES;
    return Math.min(MAX_SEND_BUFFER_BYTES, Math.max(SEND_BUFFER_BYTES, 2 * cwndBytes));
  }

  private end(reason: CloseReason, nowMs: number): void {
    this.isDraining = false;
    this.reassembly.clear();
    this.handler?.onClosed(reason, nowMs);
  }

  private deliverEnd(nowMs: number): void {
    if (this.endDelivered || this.finReceivedOffset < 0 || this.rcvNxt <= this.finReceivedOffset) return;
    if (this.reassembly.readOffset < this.finReceivedOffset) return;
    this.endDelivered = true;
    this.handler?.onEnd(nowMs);
  }

  private output(nowMs: number): void {
    if (!this.isSynchronized) return;
    if (sendRetransmissions(this, nowMs)) this.outputNewData(nowMs);
    if (this.finishing && !this.finSent && this.canSend && this.sendBuffer.queuedBytes === 0) sendFin(this, nowMs);
    if (this.ackNow) sendAck(this);
  }

  private outputNewData(nowMs: number): void {
    while (this.canSend && this.sendBuffer.queuedBytes > 0) {
      const window = this.sendWindowEdge - this.recovery.sndNxt;
      if (window <= 0) {
        if (this.recovery.queue.head === undefined) armPersist(this, nowMs);
        return;
      }
      const room = Math.min(sendRoomBytes(this, nowMs), window, MAX_SUPER_SEGMENT_BYTES);
      if (this.sendBuffer.take(room, piece) === 0 || piece.block === undefined) return;
      sendData(this, piece.block, piece.offset, piece.length, undefined, this.sendBuffer.queuedBytes === 0, nowMs);
    }
  }
}

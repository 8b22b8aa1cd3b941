/**
 * Egress by the kernel's TCP: the far end of a stream-plane connection dialled as a socket. It needs no root; the source address is this host's. Data is
 * borrowed from the stack only for the call, so what the kernel does not take at once waits in blocks of a shared pool.
 */

import net from 'node:net';
import type { ByteStreamHandler } from '../../mptcp-over-udp/byte-stream.js';
import type { CloseReason } from '../../mptcp-over-udp/tcp/tcp-connection.js';
import type { IcmpErrorKind } from '../../mptcp-over-udp/wire/icmp.js';
import type { DialledStream } from './egress.js';
import type { ReadTurns, TurnReader } from './read-turns.js';

const READ_BUFFER_BYTES = 65_536;
const WRITE_BLOCK_BYTES = 65_536;
const KEEP_WRITE_BLOCKS = 128;
/** Beyond this the stack is held back: the kernel has its own buffer below. */
const MAX_QUEUED_BYTES = 512 << 10;

/** What a read delivers is taken or copied before the callback returns, so all sockets share one buffer. */
const readBuffer = new Uint8Array(READ_BUFFER_BYTES);
const freeBlocks: Uint8Array[] = [];

function closeReasonOf(code: string | undefined, connected: boolean): CloseReason {
  switch (code) {
    case undefined:
      return 'finished';
    case 'ECONNREFUSED':
      return 'refused';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'EACCES':
    case 'EPERM':
    case 'EADDRNOTAVAIL':
      return connected ? 'reset' : 'unreachable';
    case 'ETIMEDOUT':
      return 'timeout';
    default:
      return connected ? 'reset' : 'refused';
  }
}

export class SocketStream implements DialledStream, TurnReader {
  turn = -1;
  turnBytes = 0;
  private readonly handler: ByteStreamHandler;
  private readonly afterEvent: () => void;
  private readonly turns: ReadTurns;
  private readonly socket: net.Socket;
  private pending: Uint8Array | undefined;
  /** What was written and is not with the socket yet. */
  private block: Uint8Array | undefined;
  private blockBytes = 0;
  /** The read callback said so; `isPaused` does not know. */
  private paused = false;
  /** Among the paused: it goes on by itself in the next turn. */
  private awaitsTurn = false;
  private connected = false;
  private writeBlocked = false;
  private ended = false;
  private endDelivered = false;
  private errorCode: string | undefined;
  private aborted = false;

  /** Dials at once. `afterEvent` runs after whatever the socket brought, so that the stack can send. */
  constructor(host: string, port: number, handler: ByteStreamHandler, turns: ReadTurns, afterEvent: () => void) {
    this.handler = handler;
    this.turns = turns;
    this.afterEvent = afterEvent;
    this.socket = net.connect({
      host,
      port,
      noDelay: true,
      allowHalfOpen: true,
      onread: { buffer: readBuffer, callback: (length) => this.handleRead(length) },
    });
    this.socket.on('connect', () => {
      this.connected = true;
      handler.onEstablished(performance.now());
      afterEvent();
    });
    this.socket.on('end', () => {
      this.ended = true;
      this.deliverEnd();
      afterEvent();
    });
    this.socket.on('error', (error: NodeJS.ErrnoException) => {
      this.errorCode = error.code ?? 'EIO';
    });
    this.socket.on('close', () => {
      handler.onClosed(this.aborted ? 'aborted' : closeReasonOf(this.errorCode, this.connected), performance.now());
      afterEvent();
    });
  }

  get unreachable(): IcmpErrorKind | undefined {
    if (this.connected || closeReasonOf(this.errorCode, false) !== 'unreachable') return undefined;
    return this.errorCode === 'ENETUNREACH' ? 'net-unreachable' : 'host-unreachable';
  }

  write(bytes: Uint8Array, at: number, length: number): number {
    if (this.socket.destroyed || this.socket.writableEnded) return length;
    let done = 0;
    while (done < length) {
      if (this.socket.writableLength + this.blockBytes >= MAX_QUEUED_BYTES) {
        this.writeBlocked = true;
        break;
      }
      done += this.append(bytes, at + done, length - done);
    }
    return done;
  }

  finish(): void {
    this.flush();
    this.socket.end();
  }

  abort(): void {
    if (this.socket.destroyed) return;
    this.aborted = true;
    if (this.connected) this.socket.resetAndDestroy();
    else this.socket.destroy();
  }

  resumeReading(): void {
    const { pending } = this;
    if (pending !== undefined) {
      const taken = this.handler.onData(pending, 0, pending.length);
      this.pending = taken < pending.length ? pending.subarray(taken) : undefined;
      if (this.pending !== undefined) return;
    }
    this.deliverEnd();
    if (this.paused && !this.awaitsTurn) this.resume();
  }

  readOn(): void {
    this.awaitsTurn = false;
    if (this.paused && this.pending === undefined) this.resume();
  }

  private resume(): void {
    this.paused = false;
    this.socket.resume();
  }

  /** Segments come by the hundred, when a gap is filled by thousands: the kernel gets them in blocks, at the end of the visit. */
  private append(bytes: Uint8Array, at: number, length: number): number {
    if (this.block === undefined) {
      this.block = freeBlocks.pop() ?? new Uint8Array(WRITE_BLOCK_BYTES);
      queueMicrotask(() => this.flush());
    }
    const n = Math.min(length, WRITE_BLOCK_BYTES - this.blockBytes);
    this.block.set(bytes.subarray(at, at + n), this.blockBytes);
    this.blockBytes += n;
    if (this.blockBytes === WRITE_BLOCK_BYTES) this.flush();
    return n;
  }

  private flush(): void {
    const { block, blockBytes } = this;
    if (block === undefined) return;
    this.block = undefined;
    this.blockBytes = 0;
    if (!this.socket.destroyed && !this.socket.writableEnded)
      this.socket.write(block.subarray(0, blockBytes), () => this.handleWritten(block));
  }

  /** False pauses the socket. */
  private handleRead(length: number): boolean {
    const taken = this.handler.onData(readBuffer, 0, length);
    if (taken < length) {
      this.pending = readBuffer.slice(taken, length);
      this.paused = true;
    }
    this.afterEvent();
    if (taken < length) return false;
    this.awaitsTurn = !this.turns.mayReadOn(this, length);
    this.paused ||= this.awaitsTurn;
    return !this.paused;
  }

  private handleWritten(block: Uint8Array): void {
    if (freeBlocks.length < KEEP_WRITE_BLOCKS) freeBlocks.push(block);
    if (!this.writeBlocked || this.socket.writableLength > MAX_QUEUED_BYTES / 2) return;
    this.writeBlocked = false;
    this.handler.onWritable(performance.now());
    this.afterEvent();
  }

  private deliverEnd(): void {
    if (!this.ended || this.endDelivered || this.pending !== undefined) return;
    this.endDelivered = true;
    this.handler.onEnd(performance.now());
  }
}

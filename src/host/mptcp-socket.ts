/** An MPTCP connection as a Node stream: a Duplex with half-open, back-pressure in both directions, and `resetAndDestroy`. */

import { Duplex } from 'node:stream';
import type { ByteStreamHandler } from '../mptcp-over-udp/byte-stream.js';
import type { MptcpConnection } from '../mptcp-over-udp/mptcp/connection.js';
import type { CloseReason } from '../mptcp-over-udp/tcp/tcp-connection.js';
import { formatEndpoint } from './endpoint-text.js';
import { errorOf } from './host-error.js';
import { type ConnectionStatistics, connectionStatistics, type SubflowStatistics, subflowStatistics } from './statistics.js';

/** A destroyed stream whose peer never closes is aborted after this, as the kernel does with an orphan (net.mptcp.close_timeout). */
const LINGER_MS = 60_000;

/** What a socket needs of its host. */
export interface SocketHost {
  wake(): void;
  addSubflow(socket: MptcpSocket, options: SubflowOptions): void;
  removeSubflow(socket: MptcpSocket, subflow: SubflowSelector): void;
  setBackup(socket: MptcpSocket, subflow: SubflowSelector, backup: boolean): void;
  announce(socket: MptcpSocket, address: string): void;
  withdraw(socket: MptcpSocket, address: string): void;
}

export interface SubflowOptions {
  localAddress: string;
  /** Default: where the connection went first. */
  remoteAddress?: string;
  remotePort?: number;
  backup?: boolean;
}

/** A subflow of `subflows`, or what is known of its addresses. The first that matches is meant. */
export interface SubflowSelector {
  localAddress?: string;
  localPort?: number;
  remoteAddress?: string;
  remotePort?: number;
}

export interface MptcpSocketOptions {
  allowHalfOpen: boolean;
  /** What is written before the handshake is done goes to the engine at once, for the SYN (Fast Open). */
  writesEarly: boolean;
}

export interface MptcpSocketEvents {
  /** The handshake is done: 'connect' of Node's sockets. */
  onEstablished(socket: MptcpSocket): void;
  onClosed(socket: MptcpSocket, reason: CloseReason): void;
}

export class MptcpSocket extends Duplex implements ByteStreamHandler {
  /** Resolves when the connection is closed at both ends or lost; never rejects. */
  readonly whenClosed: Promise<CloseReason>;
  /** The engine's own object, for what this class does not show. */
  readonly connection: MptcpConnection;
  bytesRead = 0;
  bytesWritten = 0;
  /** Subflows that ever carried it, the initial one included. */
  subflowCount = 1;
  private readonly host: SocketHost;
  private readonly socketEvents: MptcpSocketEvents;
  private readonly writesEarly: boolean;
  private established = false;
  private closeReason: CloseReason | undefined;
  private resolveClosed: (reason: CloseReason) => void = () => undefined;
  private readPaused = false;
  private resetting = false;
  private draining = false;
  private ended = false;
  private pending: { chunk: Buffer; at: number; done: (error?: Error | null) => void } | undefined;
  private lastStatistics: ConnectionStatistics | undefined;

  constructor(connection: MptcpConnection, host: SocketHost, events: MptcpSocketEvents, options: MptcpSocketOptions) {
    super({ allowHalfOpen: options.allowHalfOpen, readableHighWaterMark: 1 << 20, writableHighWaterMark: 256 << 10 });
    this.connection = connection;
    this.writesEarly = options.writesEarly;
    this.host = host;
    this.socketEvents = events;
    this.whenClosed = new Promise((resolve) => {
      this.resolveClosed = resolve;
    });
  }

  get connecting(): boolean {
    return !this.established && this.closeReason === undefined;
  }

  /** Plain TCP after all: the peer, or the way, knows no MPTCP. */
  get fallback(): boolean {
    return this.connection.fallback;
  }

  get localAddress(): string {
    return formatEndpoint(this.connection.tuple.localAddress);
  }

  get localPort(): number {
    return this.connection.tuple.localPort;
  }

  get remoteAddress(): string {
    return formatEndpoint(this.connection.tuple.remoteAddress);
  }

  get remotePort(): number {
    return this.connection.tuple.remotePort;
  }

  get subflows(): SubflowStatistics[] {
    return this.connection.subflows.map(subflowStatistics);
  }

  /** As `ss -Mi` shows them. After the close: as they last were. */
  statistics(): ConnectionStatistics {
    if (this.closeReason === undefined || this.lastStatistics === undefined) this.lastStatistics = connectionStatistics(this.connection);
    return this.lastStatistics;
  }

  /** MP_JOIN from that address of this host. */
  addSubflow(options: SubflowOptions): void {
    this.host.addSubflow(this, options);
  }

  /** RST on that subflow; it is not joined again. What it carried goes by others. */
  removeSubflow(subflow: SubflowSelector): void {
    this.host.removeSubflow(this, subflow);
  }

  /** MP_PRIO: asks the peer to send on that subflow only when no other can (RFC 8684, 3.3.8). What we send is for the peer to ask about. */
  setBackup(subflow: SubflowSelector, backup: boolean): void {
    this.host.setBackup(this, subflow, backup);
  }

  /** ADD_ADDR of one of the host's addresses on this connection. */
  announce(address: string): void {
    this.host.announce(this, address);
  }

  /** REMOVE_ADDR on this connection. */
  withdraw(address: string): void {
    this.host.withdraw(this, address);
  }

  /** MP_FASTCLOSE (RST after a fallback) at once. */
  resetAndDestroy(): this {
    // Our own doing is no error: destroyed before the engine tells of the end.
    this.resetting = true;
    // Destroyed already: its orderly end is cut short.
    if (this.destroyed && this.closeReason === undefined) {
      this.connection.abort(performance.now());
      this.host.wake();
    }
    this.destroy();
    return this;
  }

  /** Ends our side; resolves when the connection is closed. What the peer still sends is discarded unless it is being read. */
  async close(): Promise<CloseReason> {
    this.end();
    if (!this.readableFlowing) this.resume();
    return await this.whenClosed;
  }

  // ---- from the engine ----

  onEstablished(): void {
    this.established = true;
    this.socketEvents.onEstablished(this);
    this.emit('connect');
    this.flushPending();
  }

  onData(bytes: Uint8Array, at: number, length: number): number {
    if (this.destroyed || this.draining) return length;
    if (this.readPaused) return 0;
    this.bytesRead += length;
    if (!this.push(Buffer.from(bytes.subarray(at, at + length)))) this.readPaused = true;
    return length;
  }

  onEnd(): void {
    this.ended = true;
    if (!this.destroyed) this.push(null);
  }

  onWritable(): void {
    this.flushPending();
  }

  onClosed(reason: CloseReason): void {
    // Before anything else: the engine lets its subflows go now.
    this.closeReason = reason;
    if (!this.connection.closed) this.lastStatistics = connectionStatistics(this.connection);
    const pending = this.pending;
    this.pending = undefined;
    this.socketEvents.onClosed(this, reason);
    this.resolveClosed(reason);
    if (reason === 'finished') {
      if (!this.ended && !this.destroyed) this.push(null);
      pending?.done();
      return;
    }
    const error = errorOf(reason, `${this.remoteAddress} port ${this.remotePort}`);
    if (pending !== undefined) pending.done(error);
    if (!this.destroyed) this.destroy(error);
  }

  // ---- from the stream ----

  override _read(): void {
    if (!this.readPaused) return;
    this.readPaused = false;
    this.connection.resumeReading();
    this.host.wake();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.closeReason !== undefined) {
      done(errorOf(this.closeReason, `${this.remoteAddress} port ${this.remotePort}`));
      return;
    }
    this.pending = { chunk, at: 0, done };
    this.flushPending();
  }

  override _final(done: (error?: Error | null) => void): void {
    if (this.closeReason === undefined) {
      this.connection.finish();
      this.host.wake();
    }
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    const pending = this.pending;
    this.pending = undefined;
    pending?.done(error);
    if (this.closeReason === undefined) {
      if (error !== null || this.resetting || !this.established) this.connection.abort(performance.now());
      else this.linger();
      this.host.wake();
    }
    done(error);
  }

  /** An orderly end without its owner: what comes is read and dropped, and the peer's silence is bounded. */
  private linger(): void {
    this.draining = true;
    this.connection.finish();
    this.connection.resumeReading();
    const timer = setTimeout(() => {
      this.connection.abort(performance.now());
      this.host.wake();
    }, LINGER_MS);
    timer.unref();
    void this.whenClosed.then(() => clearTimeout(timer));
  }

  private flushPending(): void {
    const { pending } = this;
    if (pending === undefined || (!this.established && !this.writesEarly)) return;
    const { chunk } = pending;
    const taken = this.connection.write(chunk, pending.at, chunk.length - pending.at);
    pending.at += taken;
    this.bytesWritten += taken;
    this.host.wake();
    if (pending.at < chunk.length) return;
    this.pending = undefined;
    pending.done();
  }
}

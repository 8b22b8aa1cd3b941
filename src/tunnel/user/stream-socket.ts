/** A connection through the tunnel as a Node stream: a Duplex with half-open and back-pressure in both directions, as sockets of node:net have them. */

import { Duplex } from 'node:stream';
import type { ByteStream, ByteStreamHandler } from '../../mptcp-over-udp/byte-stream.js';
import type { CloseReason } from '../../mptcp-over-udp/tcp/tcp-connection.js';
import { IdleTimer } from './idle-timer.js';

/** As Node's sockets have them; `message` says to whom. */
export class StreamError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.name = 'StreamError';
    this.code = code;
  }
}

const CODES: Readonly<Record<CloseReason, readonly [code: string, what: string]>> = {
  finished: ['EPIPE', 'the connection is closed'],
  reset: ['ECONNRESET', 'the connection was reset'],
  timeout: ['ETIMEDOUT', 'there is no answer'],
  aborted: ['ECONNABORTED', 'the connection was aborted'],
  refused: ['ECONNREFUSED', 'the connection was refused'],
  unreachable: ['EHOSTUNREACH', 'the host cannot be reached from the gateway'],
};
/** A destroyed stream whose other side never closes is aborted after this. */
const LINGER_MS = 60_000;

export interface StreamSocketOptions {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly allowHalfOpen: boolean;
  /** After every call that may have made something to send. */
  readonly wake: () => void;
}

/** Emits `connect` once the far side has answered, and `timeout` after what `setTimeout` says without a byte. */
export class StreamSocket extends Duplex implements ByteStreamHandler {
  readonly remoteAddress: string;
  readonly remotePort: number;
  bytesRead = 0;
  bytesWritten = 0;
  readonly #wake: () => void;
  readonly #idle = new IdleTimer(this);
  #stream: ByteStream | undefined;
  #established = false;
  #closeReason: CloseReason | undefined;
  #readPaused = false;
  #draining = false;
  #resetting = false;
  #ended = false;
  #pending: { chunk: Buffer; at: number; done: (error?: Error | null) => void } | undefined;
  #lingering: NodeJS.Timeout | undefined;

  constructor({ remoteAddress, remotePort, allowHalfOpen, wake }: StreamSocketOptions) {
    super({ allowHalfOpen, readableHighWaterMark: 1 << 20, writableHighWaterMark: 256 << 10 });
    this.remoteAddress = remoteAddress;
    this.remotePort = remotePort;
    this.#wake = wake;
  }

  get connecting(): boolean {
    return !this.#established && this.#closeReason === undefined && !this.destroyed;
  }

  /** The connection that this is the handler of. */
  attach(stream: ByteStream): void {
    this.#stream = stream;
    if (this.destroyed) this.#end(null);
  }

  /** As of sockets, for programs that expect one: nothing is delayed here, and connections are watched by the tunnel. */
  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  /** As of net.Socket: 0 ends it, and nothing else happens than the event. */
  setTimeout(timeoutMs: number, onTimeout?: () => void): this {
    this.#idle.set(timeoutMs, onTimeout);
    return this;
  }

  get timeout(): number | undefined {
    return this.#idle.timeoutMs;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  /** A reset, at once. */
  resetAndDestroy(): this {
    this.#resetting = true;
    this.destroy();
    return this;
  }

  // ---- from the tunnel ----

  onEstablished(): void {
    this.#established = true;
    this.#idle.noteUse();
    this.emit('connect');
    this.#flush();
  }

  onData(bytes: Uint8Array, at: number, length: number): number {
    if (this.destroyed || this.#draining) return length;
    if (this.#readPaused) return 0;
    this.bytesRead += length;
    this.#idle.noteUse();
    if (!this.push(Buffer.from(bytes.subarray(at, at + length)))) this.#readPaused = true;
    return length;
  }

  onEnd(): void {
    this.#ended = true;
    if (!this.destroyed) this.push(null);
  }

  onWritable(): void {
    this.#flush();
  }

  onClosed(reason: CloseReason): void {
    this.#closeReason = reason;
    clearTimeout(this.#lingering);
    const pending = this.#pending;
    this.#pending = undefined;
    if (reason === 'finished') {
      if (!this.#ended && !this.destroyed) this.push(null);
      pending?.done();
      return;
    }
    const error = this.#errorOf(reason);
    pending?.done(error);
    if (!this.destroyed) this.destroy(error);
  }

  // ---- from the program ----

  override _read(): void {
    if (!this.#readPaused) return;
    this.#readPaused = false;
    this.#stream?.resumeReading();
    this.#wake();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#closeReason !== undefined) {
      done(this.#errorOf(this.#closeReason));
      return;
    }
    this.#idle.noteUse();
    this.#pending = { chunk, at: 0, done };
    this.#flush();
  }

  override _final(done: (error?: Error | null) => void): void {
    if (this.#closeReason === undefined) {
      this.#stream?.finish();
      this.#wake();
    }
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#idle.close();
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.done(error);
    this.#end(error);
    done(error);
  }

  #end(error: Error | null): void {
    const stream = this.#stream;
    if (stream === undefined || this.#closeReason !== undefined) return;
    if (error !== null || this.#resetting || !this.#established) stream.abort(performance.now());
    else this.#linger(stream);
    this.#wake();
  }

  /** An orderly end without its owner: what comes is read and dropped, and the other side's silence is bounded. */
  #linger(stream: ByteStream): void {
    this.#draining = true;
    stream.finish();
    stream.resumeReading();
    this.#lingering = setTimeout(() => {
      stream.abort(performance.now());
      this.#wake();
    }, LINGER_MS);
    this.#lingering.unref();
  }

  #flush(): void {
    const pending = this.#pending;
    if (pending === undefined || !this.#established) return;
    const { chunk } = pending;
    const taken = this.#stream!.write(chunk, pending.at, chunk.length - pending.at);
    pending.at += taken;
    this.bytesWritten += taken;
    if (taken > 0) this.#idle.noteUse();
    this.#wake();
    if (pending.at < chunk.length) return;
    this.#pending = undefined;
    pending.done();
  }

  #errorOf(reason: CloseReason): StreamError {
    const [code, what] = CODES[reason];
    const host = this.remoteAddress.includes(':') ? `[${this.remoteAddress}]` : this.remoteAddress;
    return new StreamError(code, `${host}:${this.remotePort}: ${what}`);
  }
}

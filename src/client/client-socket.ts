/** A connection through the tunnel that can be written to before it stands, as a socket of node:net. */

import { Duplex } from 'node:stream';
import type { StreamSocket } from '../tunnel/user/stream-socket.js';
import type { ConnectOptions } from '../tunnel/user/user-network.js';

/** Emits `connect` and `ready`, and `timeout` after what `setTimeout` says without a byte. */
export class ClientSocket extends Duplex {
  readonly remotePort: number;
  /** What was asked for; an IP address once it stands. */
  remoteAddress: string;
  connecting = true;
  bytesRead = 0;
  bytesWritten = 0;
  #stream: StreamSocket | undefined;
  #waiting: (() => void) | undefined;
  #idle: NodeJS.Timeout | undefined;
  #idleMs = 0;

  constructor(opening: Promise<StreamSocket>, { host, port, allowHalfOpen = false }: ConnectOptions) {
    super({ allowHalfOpen });
    this.remoteAddress = host;
    this.remotePort = port;
    opening.then(
      (stream) => this.#attach(stream),
      (error: Error) => {
        this.connecting = false;
        this.destroy(error);
      },
    );
  }

  get readyState(): string {
    if (this.connecting) return 'opening';
    return this.destroyed ? 'closed' : 'open';
  }

  /** Nothing is delayed here, and connections are watched by the tunnel. */
  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  /** The tunnel keeps the program alive until it is closed. */
  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  setTimeout(timeoutMs: number, onTimeout?: () => void): this {
    this.#idleMs = timeoutMs;
    if (onTimeout !== undefined) this.once('timeout', onTimeout);
    this.#noteUse();
    return this;
  }

  resetAndDestroy(): this {
    this.#stream?.resetAndDestroy();
    this.destroy();
    return this;
  }

  override _read(): void {
    this.#stream?.resume();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#noteUse();
    this.#whenOpen((stream) => {
      this.bytesWritten += chunk.length;
      stream.write(chunk, encoding, done);
    });
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#whenOpen((stream) => stream.end(() => done()));
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    clearTimeout(this.#idle);
    this.#idleMs = 0;
    this.#stream?.destroy();
    done(error);
  }

  #attach(stream: StreamSocket): void {
    this.connecting = false;
    if (this.destroyed) {
      stream.resetAndDestroy();
      return;
    }
    this.#stream = stream;
    this.remoteAddress = stream.remoteAddress;
    stream.on('data', (chunk: Buffer) => {
      this.bytesRead += chunk.length;
      this.#noteUse();
      if (!this.push(chunk)) stream.pause();
    });
    stream.on('end', () => this.push(null));
    stream.on('error', (error) => this.destroy(error));
    stream.on('close', () => {
      if (!stream.readableEnded) this.destroy();
    });
    this.emit('connect');
    this.emit('ready');
    this.#waiting?.();
    this.#waiting = undefined;
  }

  /** One call of _write or _final at a time. */
  #whenOpen(work: (stream: StreamSocket) => void): void {
    if (this.#stream !== undefined) work(this.#stream);
    else this.#waiting = () => work(this.#stream!);
  }

  #noteUse(): void {
    if (this.#idleMs === 0) {
      clearTimeout(this.#idle);
      this.#idle = undefined;
    } else if (this.#idle === undefined) {
      this.#idle = setTimeout(() => {
        this.#idle = undefined;
        this.emit('timeout');
      }, this.#idleMs).unref();
    } else {
      this.#idle.refresh();
    }
  }
}

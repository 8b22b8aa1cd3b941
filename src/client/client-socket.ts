/** A connection through the tunnel that can be written to before it stands, as a socket of node:net. */

import { Duplex } from 'node:stream';
import { IdleTimer } from '../tunnel/user/idle-timer.js';
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
  readonly #idle = new IdleTimer(this);

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

  /** As of net.Socket: 0 ends it, and nothing else happens than the event. */
  setTimeout(timeoutMs: number, onTimeout?: () => void): this {
    this.#idle.set(timeoutMs, onTimeout);
    return this;
  }

  get timeout(): number | undefined {
    return this.#idle.timeoutMs;
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
    this.#idle.noteUse();
    this.#whenOpen((stream) => {
      this.bytesWritten += chunk.length;
      stream.write(chunk, encoding, (error) => {
        this.#idle.noteUse();
        done(error);
      });
    });
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#whenOpen((stream) => stream.end(() => done()));
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#idle.close();
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
      this.#idle.noteUse();
      if (!this.push(chunk)) stream.pause();
    });
    stream.on('end', () => this.push(null));
    stream.on('error', (error) => this.destroy(error));
    stream.on('close', () => {
      if (!stream.readableEnded) this.destroy();
    });
    this.#idle.noteUse();
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
}

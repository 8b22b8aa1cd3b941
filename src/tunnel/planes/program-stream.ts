/** A connection that this program dials itself: spliced with the program as others are with what is behind the TUN, so that limits of the peer hold for it too. */

import type { ByteStream, ByteStreamHandler } from '../../mptcp-over-udp/byte-stream.js';
import { SpliceHalf, type StreamGatePlace } from './splice.js';

export class ProgramStream implements ByteStream {
  /** Becomes the handler of the connection. */
  readonly fromPeer: SpliceHalf;
  #connection: ByteStream | undefined;
  #toPeer: ByteStreamHandler | undefined;
  #closed = false;
  readonly #gates: StreamGatePlace;
  readonly #program: ByteStream;

  /** `handler`: the program's. */
  constructor(handler: ByteStreamHandler, gates: StreamGatePlace) {
    this.#gates = gates;
    this.#program = {
      write: (bytes, at, length) => handler.onData(bytes, at, length),
      finish: () => handler.onEnd(performance.now()),
      // Its turn may come after the end.
      resumeReading: () => !this.#closed && handler.onWritable(performance.now()),
      abort: () => {},
    };
    this.fromPeer = new SpliceHalf(
      this.#program,
      (nowMs) => handler.onEstablished(nowMs),
      (reason, nowMs) => {
        this.#closed = true;
        handler.onClosed(reason, nowMs);
      },
    );
  }

  /** What `fromPeer` is the handler of; at once after it was opened. `watched`: reads along what the program writes. */
  attach(connection: ByteStream, watched: (toPeer: ByteStreamHandler) => ByteStreamHandler): void {
    this.#connection = connection;
    this.fromPeer.gateBy(this.#gates, 'in', connection);
    this.#toPeer = watched(new SpliceHalf(connection, ignore, ignore).gateBy(this.#gates, 'out', this.#program));
  }

  write(bytes: Uint8Array, at: number, length: number): number {
    return this.#toPeer!.onData(bytes, at, length);
  }

  finish(): void {
    this.#connection!.finish();
  }

  abort(nowMs: number): void {
    this.#connection!.abort(nowMs);
  }

  resumeReading(): void {
    this.#connection!.resumeReading();
  }
}

function ignore(): void {
  // The program hears how it goes by `fromPeer`.
}

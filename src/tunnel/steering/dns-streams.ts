/** DNS over TCP that is terminated here: both directions of a connection are read as they pass, and an answer waits until its addresses are known where they must be. */

import type { ByteStreamHandler } from '../../mptcp-over-udp/byte-stream.js';
import type { CloseReason } from '../../mptcp-over-udp/tcp/tcp-connection.js';
import { DnsConversation } from './dns-conversation.js';
import { DnsRoom } from './dns-framing.js';
import type { DnsListener } from './dns-watch.js';

/** Of answers that are cut, on all connections. */
const ROOM_BYTES = 1 << 20;

export class DnsStreams {
  readonly #room = new DnsRoom(ROOM_BYTES);

  /** A connection to a server of DNS. */
  watch(listener: DnsListener): DnsStream {
    return new DnsStream(listener, this.#room);
  }
}

export class DnsStream {
  readonly #listener: DnsListener;
  readonly #conversation: DnsConversation;

  constructor(listener: DnsListener, room: DnsRoom) {
    this.#listener = listener;
    this.#conversation = new DnsConversation(room, (bytes, offset, length) => listener.learn(bytes, offset, length));
  }

  /** `handler` of what is asked, watched. */
  queries(handler: ByteStreamHandler): ByteStreamHandler {
    return new WatchedHalf(handler, (bytes, at, length) => {
      this.#conversation.handleQueries(bytes, at, length);
      return false;
    });
  }

  /** `handler` of what is answered, watched. `resume`: reads on where it has waited. */
  answers(handler: ByteStreamHandler, resume: () => void): ByteStreamHandler {
    const half: WatchedHalf = new WatchedHalf(
      handler,
      (bytes, at, length) => {
        if (!this.#conversation.handleAnswers(bytes, at, length)) return false;
        this.#listener.whenKnown(() => {
          half.isWaiting = false;
          resume();
        });
        return true;
      },
      () => this.#conversation.close(),
    );
    return half;
  }
}

/** What comes is looked at once, before it goes on. */
class WatchedHalf implements ByteStreamHandler {
  /** Nothing goes on. */
  isWaiting = false;
  readonly #handler: ByteStreamHandler;
  readonly #look: (bytes: Uint8Array, at: number, length: number) => boolean;
  readonly #ended: () => void;
  /** Looked at, and not taken. */
  #seenBytes = 0;

  constructor(handler: ByteStreamHandler, look: (bytes: Uint8Array, at: number, length: number) => boolean, ended: () => void = () => {}) {
    this.#handler = handler;
    this.#look = look;
    this.#ended = ended;
  }

  onData(bytes: Uint8Array, at: number, length: number): number {
    if (this.isWaiting) return 0;
    const seen = this.#seenBytes;
    if (length > seen) {
      this.#seenBytes = length;
      this.isWaiting = this.#look(bytes, at + seen, length - seen);
      if (this.isWaiting) return 0;
    }
    const taken = this.#handler.onData(bytes, at, length);
    this.#seenBytes -= taken;
    return taken;
  }

  onEstablished(nowMs: number): void {
    this.#handler.onEstablished(nowMs);
  }

  onEnd(nowMs: number): void {
    this.#handler.onEnd(nowMs);
  }

  onWritable(nowMs: number): void {
    this.#handler.onWritable(nowMs);
  }

  onClosed(reason: CloseReason, nowMs: number): void {
    this.#ended();
    this.#handler.onClosed(reason, nowMs);
  }
}

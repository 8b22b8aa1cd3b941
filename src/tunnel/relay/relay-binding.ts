/**
 * A host's side of one leg at a relay: it asks, shows the cookie that it got, and comes back before the relay and the NATs on the way forget. Sans-IO: messages and times
 * in, datagrams out. One that waits to be called has nobody as `wanted`.
 */

import { NOBODY } from './relay-identity.js';
import { BIND_BYTES, type BoundState, emitBind, isSigned, parseRelayMessage } from './relay-messages.js';

/** UDP mappings of NATs live for 30 seconds at least, mostly. */
const KEEPALIVE_MS = 15_000;
/** While the other side is not there. */
const WAITING_MS = 1000;
const RETRY_MS = 500;
const RETRY_MAX_MS = 5000;
/** So many without an answer: the relay is not there. */
const MAX_UNANSWERED = 4;
/** A hint of trouble brings at most so many messages. */
const URGENT_EVERY_MS = 500;

export interface RelayBindingOptions {
  /** Of the MACs. */
  key: Uint8Array;
  sender: Uint8Array;
  wanted: Uint8Array;
  way: Uint8Array;
  nowMs: number;
}

/** What a message brought. */
export type BindingEvent =
  | { type: 'none' }
  /** State or outer address are others now. */
  | { type: 'changed' }
  | { type: 'call'; caller: Uint8Array; way: Uint8Array };

const NOTHING: BindingEvent = { type: 'none' };

export class RelayBinding {
  readonly way: Uint8Array;
  readonly #options: RelayBindingOptions;
  #cookie: Uint8Array | undefined;
  /** silent: the relay has not answered, or not lately. */
  #state: BoundState | 'silent' = 'silent';
  #stateMs: number;
  #seenAs = '';
  #lastSentMs = -Infinity;
  #dueMs: number;
  #unanswered = 0;

  constructor(options: RelayBindingOptions) {
    this.#options = options;
    this.way = options.way;
    this.#dueMs = options.nowMs;
    this.#stateMs = options.nowMs;
  }

  get state(): BoundState | 'silent' {
    return this.#state;
  }

  inStateMs(nowMs: number): number {
    return nowMs - this.#stateMs;
  }

  /** As the relay sees this socket; "" before it said so. */
  get seenAs(): string {
    return this.#seenAs;
  }

  get unansweredCount(): number {
    return this.#unanswered;
  }

  get waitsForCalls(): boolean {
    return this.#options.wanted.every((byte, i) => byte === NOBODY[i]);
  }

  nextTimeoutMs(): number {
    return this.#dueMs;
  }

  /** The socket is another one, or the relay is elsewhere. */
  restart(nowMs: number): void {
    this.#cookie = undefined;
    this.#unanswered = 0;
    this.#dueMs = nowMs;
    this.#seenAs = '';
    this.#setState('silent', nowMs);
  }

  /** The way seems not to carry: perhaps our address is another one. */
  urge(nowMs: number): void {
    this.#dueMs = Math.min(this.#dueMs, Math.max(nowMs, this.#lastSentMs + URGENT_EVERY_MS));
  }

  /** Bytes of the message that is due, written to `out`; 0: none is. */
  pollTransmit(out: Uint8Array, nowMs: number): number {
    if (nowMs < this.#dueMs) return 0;
    this.#unanswered++;
    if (this.#unanswered > MAX_UNANSWERED) this.#setState('silent', nowMs);
    this.#lastSentMs = nowMs;
    this.#dueMs = nowMs + Math.min(RETRY_MS * 2 ** (this.#unanswered - 1), RETRY_MAX_MS);
    return this.#emit('bind', out);
  }

  /** A goodbye; 0: the relay does not know us. */
  emitUnbind(out: Uint8Array): number {
    return this.#cookie === undefined ? 0 : this.#emit('unbind', out);
  }

  /** A message that came from the relay's address; bytes of somebody else's change nothing. */
  handleMessage(bytes: Uint8Array, nowMs: number): BindingEvent {
    const message = parseRelayMessage(bytes);
    if (typeof message === 'string' || 'sender' in message || !isSigned(bytes, this.#options.key)) return NOTHING;
    if (message.kind === 'call') return this.waitsForCalls ? { type: 'call', caller: message.caller, way: message.way } : NOTHING;
    if (!message.way.every((byte, i) => byte === this.way[i])) return NOTHING;
    if (message.kind === 'cookie') {
      // One answer is enough: copies of a cookie bring no more messages.
      if (this.#cookie !== undefined && message.cookie.every((byte, i) => byte === this.#cookie![i])) return NOTHING;
      this.#cookie = message.cookie.slice();
      this.#dueMs = nowMs;
      return NOTHING;
    }
    this.#unanswered = 0;
    this.#dueMs = nowMs + (message.state === 'paired' || this.waitsForCalls ? KEEPALIVE_MS : WAITING_MS);
    const changed = message.state !== this.#state || message.seenAs !== this.#seenAs;
    this.#seenAs = message.seenAs;
    this.#setState(message.state, nowMs);
    return changed ? { type: 'changed' } : NOTHING;
  }

  #emit(kind: 'bind' | 'unbind', out: Uint8Array): number {
    const { key, sender, wanted, way } = this.#options;
    if (out.length < BIND_BYTES) throw new RangeError('out is too short');
    return emitBind(out, key, { kind, sender, wanted, way, cookie: this.#cookie });
  }

  #setState(state: BoundState | 'silent', nowMs: number): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#stateMs = nowMs;
  }
}

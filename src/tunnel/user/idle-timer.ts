/** `setTimeout` of sockets as those of node:net have it: `timeout` is emitted after so long without a byte in either direction, once, and again only after further use. */

import type { EventEmitter } from 'node:events';

/** The longest that a timer can hold. */
const LONGEST_MS = 0x7fff_ffff;

export class IdleTimer {
  /** As it was set; undefined: never. */
  timeoutMs: number | undefined;
  readonly #socket: EventEmitter;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(socket: EventEmitter) {
    this.#socket = socket;
  }

  /** 0: no more. `onTimeout` hears the next `timeout`; with 0 it is not heard any more. Throws TypeError or RangeError, as node:net does. */
  set(timeoutMs: number, onTimeout?: () => void): void {
    if (this.#closed) return;
    check(timeoutMs, onTimeout);
    this.timeoutMs = timeoutMs;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (timeoutMs === 0) {
      if (onTimeout !== undefined) this.#socket.removeListener('timeout', onTimeout);
      return;
    }
    // It keeps no program alive.
    this.#timer = setTimeout(() => this.#socket.emit('timeout'), Math.min(timeoutMs, LONGEST_MS)).unref();
    if (onTimeout !== undefined) this.#socket.once('timeout', onTimeout);
  }

  /** Something was read, written, or has happened to the connection. */
  noteUse(): void {
    this.#timer?.refresh();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

function check(timeoutMs: unknown, onTimeout: unknown): void {
  if (typeof timeoutMs !== 'number')
    throw coded(new TypeError(`timeoutMs must be a number, and is ${typeof timeoutMs}`), 'ERR_INVALID_ARG_TYPE');
  if (!(timeoutMs >= 0 && Number.isFinite(timeoutMs)))
    throw coded(new RangeError(`timeoutMs must be a finite number from 0 on, and is ${timeoutMs}`), 'ERR_OUT_OF_RANGE');
  if (onTimeout !== undefined && typeof onTimeout !== 'function')
    throw coded(new TypeError(`onTimeout must be a function, and is ${typeof onTimeout}`), 'ERR_INVALID_ARG_TYPE');
}

function coded<E extends Error>(error: E, code: string): E {
  return Object.assign(error, { code });
}

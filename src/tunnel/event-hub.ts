/** Where a tunnel's events come together: they are numbered, dated, kept for a while, logged, and told to whoever listens. */

import { describeEvent, eventLevel, type TunnelEvent, type TunnelOccurrence } from './events.js';
import type { TunnelLog } from './tunnel-api.js';

const HISTORY_MAX_COUNT = 256;

export type TunnelEventListener = (event: TunnelEvent) => void;

export class EventHub {
  /** For parts that only have something to say: it becomes an event, too. */
  readonly log: TunnelLog = {
    info: (message) => this.emit({ type: 'notice', message }),
    warn: (message) => this.emit({ type: 'warning', message }),
  };
  readonly #out: TunnelLog;
  readonly #listeners = new Set<TunnelEventListener>();
  readonly #history: TunnelEvent[] = [];
  #sequence = 0;

  constructor(out: TunnelLog) {
    this.#out = out;
  }

  emit(occurrence: TunnelOccurrence): void {
    const event: TunnelEvent = {
      sequence: ++this.#sequence,
      time: new Date().toISOString(),
      monotonicMs: Math.round(performance.now() * 1000) / 1000,
      ...occurrence,
    };
    this.#history.push(event);
    if (this.#history.length > HISTORY_MAX_COUNT) this.#history.shift();
    this.#out[eventLevel(event)](describeEvent(event));
    for (const listener of [...this.#listeners]) listener(event);
  }

  /** The last of them, oldest first; at most 256. */
  get recent(): readonly TunnelEvent[] {
    return this.#history;
  }

  /** Returns what ends it. */
  listen(listener: TunnelEventListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

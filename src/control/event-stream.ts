/** Events on their way to one reader, as lines of JSON: dropped and counted when the reader does not keep up. */

import type { TunnelEvent } from '../tunnel/events.js';
import type { EventsSummary } from './control-protocol.js';

/** Beyond this many unread bytes events are dropped. */
const QUEUE_MAX_BYTES = 1 << 20;

export interface EventStreamOptions {
  /** Takes a chunk, which is its own from then on. */
  send: (chunk: Uint8Array) => void;
  /** Bytes that were sent and not yet taken by the reader. */
  queuedBytes: () => number;
}

export class EventStream {
  readonly #options: EventStreamOptions;
  #events = 0;
  #droppedEvents = 0;

  constructor(options: EventStreamOptions) {
    this.#options = options;
  }

  /** A gap shows in `sequence`, too. */
  readonly push = (event: TunnelEvent): void => {
    if (this.#options.queuedBytes() > QUEUE_MAX_BYTES) {
      this.#droppedEvents++;
      return;
    }
    this.#events++;
    this.#options.send(Buffer.from(`${JSON.stringify(event)}\n`));
  };

  get summary(): EventsSummary {
    return { events: this.#events, droppedEvents: this.#droppedEvents };
  }
}

/** Events of a chunk that an EventStream has sent: whole lines. */
export function parseEventLines(chunk: Uint8Array): TunnelEvent[] {
  return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    .toString()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as TunnelEvent);
}

/** Lets readers wait for the events of a tunnel that is still being started. */
export class EventFan {
  readonly #readers = new Map<(event: TunnelEvent) => void, { remaining: number }>();
  #source: EventSource | undefined;

  /** Tells a reader the last `last` events, then every new one. */
  add(reader: (event: TunnelEvent) => void, last: number): void {
    this.#readers.set(reader, { remaining: last });
    if (this.#source !== undefined) tellRecent(this.#source, reader, last);
  }

  remove(reader: (event: TunnelEvent) => void): void {
    this.#readers.delete(reader);
  }

  attach(source: EventSource): void {
    this.#source = source;
    for (const [reader, { remaining }] of this.#readers) tellRecent(source, reader, remaining);
    source.onEvent((event) => {
      for (const reader of [...this.#readers.keys()]) reader(event);
    });
  }
}

export interface EventSource {
  onEvent(listener: (event: TunnelEvent) => void): () => void;
  readonly recentEvents: readonly TunnelEvent[];
}

function tellRecent(source: EventSource, reader: (event: TunnelEvent) => void, last: number): void {
  const { recentEvents } = source;
  for (const event of recentEvents.slice(Math.max(0, recentEvents.length - last))) reader(event);
}

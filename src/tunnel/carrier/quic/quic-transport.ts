/** A connection of QUIC as the tunnel's thread sees it; the worker has the rest. */

import type { Transport, TransportAddress, TransportCounters, TransportEvents, TransportKind } from '../transport.js';
import type { QuicProtocol } from './quiche.js';
import type { DatagramBatch, OpenFacts } from './worker-messages.js';

/** To the worker. */
export interface TransportHost {
  /** False: the worker has enough to do. */
  hasRoom(): boolean;
  send(id: number, batch: DatagramBatch): void;
  end(id: number, transport: QuicTransport): void;
}

export class QuicTransport implements Transport {
  readonly kind: TransportKind;
  readonly protocol: string | undefined;
  readonly events: TransportEvents;
  maxDatagramBytes = 0;
  local: TransportAddress;
  remote: TransportAddress;
  isOpen = false;
  readonly #id: number;
  readonly #host: TransportHost;
  #givenDatagrams = 0;
  #receivedDatagrams = 0;
  #droppedHere = 0;
  /** As the worker told it last. */
  #droppedThere = 0;

  constructor(
    host: TransportHost,
    id: number,
    protocol: QuicProtocol,
    events: TransportEvents,
    local: TransportAddress,
    remote: TransportAddress,
  ) {
    this.kind = protocol === 'h3' ? 'webtransport' : 'quic';
    this.protocol = protocol === 'h3' ? 'HTTP/3' : undefined;
    this.#host = host;
    this.#id = id;
    this.events = events;
    this.local = local;
    this.remote = remote;
  }

  open({ maxDatagramBytes, local, remote }: OpenFacts): void {
    this.maxDatagramBytes = maxDatagramBytes;
    this.local = local;
    this.remote = remote;
    this.isOpen = true;
  }

  sendDatagrams(bytes: Uint8Array, lengths: Int32Array, count: number): void {
    if (!this.isOpen) return;
    let used = 0;
    for (let i = 0; i < count; i++) used += lengths[i]!;
    if (!this.#host.hasRoom()) {
      this.#droppedHere += count;
      return;
    }
    const batch = { bytes: new Uint8Array(used), lengths: new Int32Array(count), count };
    batch.bytes.set(bytes.subarray(0, used));
    batch.lengths.set(lengths.subarray(0, count));
    this.#givenDatagrams += count;
    this.#host.send(this.#id, batch);
  }

  get counters(): TransportCounters {
    return {
      sentDatagrams: this.#givenDatagrams - this.#droppedThere,
      receivedDatagrams: this.#receivedDatagrams,
      droppedDatagrams: this.#droppedHere + this.#droppedThere,
    };
  }

  receive({ bytes, lengths, count }: DatagramBatch): void {
    this.#receivedDatagrams += count;
    this.events.onDatagrams(bytes, lengths, count);
  }

  /** Ours, in the worker, since it was dialled. */
  setDropped(count: number): void {
    this.#droppedThere = count;
  }

  close(): void {
    this.isOpen = false;
    this.#host.end(this.#id, this);
  }
}

/** One whose owner is known a moment after it is. */
export class AcceptedTransport extends QuicTransport {
  readonly #owner: { events: TransportEvents | undefined };

  constructor(host: TransportHost, id: number, protocol: QuicProtocol, facts: OpenFacts) {
    const owner: { events: TransportEvents | undefined } = { events: undefined };
    const events: TransportEvents = {
      onOpen: () => owner.events?.onOpen(),
      onDatagrams: (bytes, lengths, count) => owner.events?.onDatagrams(bytes, lengths, count),
      onClose: (reason) => owner.events?.onClose(reason),
    };
    super(host, id, protocol, events, facts.local, facts.remote);
    this.#owner = owner;
    this.open(facts);
  }

  listenWith(events: TransportEvents): void {
    this.#owner.events = events;
  }
}

/** Transports within this process: what one end sends, the other has at the next turn of the event loop. What is tested is who uses them. */

import type { ListenOptions, Transport, TransportEvents, TransportKind, TransportProvider } from '../../src/tunnel/carrier/transport.js';

class End implements Transport {
  readonly kind: TransportKind;
  readonly maxDatagramBytes = 1400;
  readonly local;
  readonly remote;
  readonly counters = { sentDatagrams: 0, receivedDatagrams: 0, droppedDatagrams: 0 };
  other: End | undefined;
  events: TransportEvents | undefined;
  isOpen = true;
  readonly #hub: LoopbackHub;

  constructor(hub: LoopbackHub, kind: TransportKind, localPort: number, remotePort: number) {
    this.#hub = hub;
    this.kind = kind;
    this.local = { address: '127.0.0.1', port: localPort };
    this.remote = { address: '127.0.0.1', port: remotePort };
  }

  sendDatagrams(bytes: Uint8Array, lengths: Int32Array, count: number): void {
    if (!this.isOpen) return;
    const copy = { bytes: bytes.slice(), lengths: lengths.slice(0, count), count };
    this.counters.sentDatagrams += count;
    const { other } = this;
    setImmediate(() => {
      if (other?.isOpen !== true || this.#hub.blocked.has(this.kind)) return;
      other.counters.receivedDatagrams += count;
      other.events?.onDatagrams(copy.bytes, copy.lengths, copy.count);
    });
  }

  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.other?.end('the other side closed it');
  }

  end(reason: string): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    setImmediate(() => this.events?.onClose(reason));
  }
}

export class LoopbackHub {
  /** Kinds that neither open nor carry anything. */
  readonly blocked = new Set<TransportKind>();
  readonly dialled: TransportKind[] = [];
  readonly #listeners = new Map<string, ListenOptions>();
  readonly #ends = new Set<End>();
  #nextPort = 50_000;

  /** Open connections of a kind. */
  open(kind: TransportKind): number {
    return [...this.#ends].filter((end) => end.kind === kind && end.isOpen).length / 2;
  }

  /** All of that kind end, as by a reset. */
  reset(kind: TransportKind): void {
    for (const end of this.#ends) if (end.kind === kind) end.end('reset');
  }

  readonly load = async (kind: TransportKind): Promise<TransportProvider> => ({
    kind,
    listen: async (options) => {
      this.#listeners.set(`${kind} ${options.port}`, options);
      return {
        port: options.port,
        counters: { refusedStrangers: 0 },
        close: async () => void this.#listeners.delete(`${kind} ${options.port}`),
      };
    },
    dial: (options, events) => {
      this.dialled.push(kind);
      const port = this.#nextPort++;
      const near = new End(this, kind, port, options.port);
      near.events = events;
      this.#ends.add(near);
      setImmediate(() => this.#connect(kind, near, options.port, options.proof));
      return near;
    },
    close: async () => {},
  });

  #connect(kind: TransportKind, near: End, port: number, proof: Uint8Array): void {
    const listener = this.#listeners.get(`${kind} ${port}`);
    if (this.blocked.has(kind) || !near.isOpen) return;
    if (listener?.checkProof(proof, '127.0.0.1') !== true) {
      near.end(listener === undefined ? 'refused' : 'not for strangers');
      return;
    }
    const far = new End(this, kind, port, near.local.port);
    this.#ends.add(far);
    near.other = far;
    far.other = near;
    far.events = listener.onTransport(far);
    near.events?.onOpen();
  }
}

/** What the tunnel's thread knows of QUIC: its transports and the ports that it listens on, by the numbers that they have in the worker. */

import { loadNative } from '../../../tun/native.js';
import type { DialOptions, ListenOptions, Transport, TransportEvents, TransportListener } from '../transport.js';
import { listenError, QuicListening } from './quic-listening.js';
import { AcceptedTransport, QuicTransport, type TransportHost } from './quic-transport.js';
import type { QuicProtocol } from './quiche.js';
import { WatchedWorker } from './watched-worker.js';
import type { DatagramBatch, FromWorker, ToWorker } from './worker-messages.js';

/** Twice as long with each worker that did not last. */
const RELISTEN_MS = 100;
const RELISTEN_MAX_MS = 30_000;
const LASTED_MS = 60_000;
/** Proofs that were seen, with their source: shown again from elsewhere they are somebody else's. */
const SEEN_PROOFS = 8192;

export class QuicHost implements TransportHost {
  readonly #transports = new Map<number, QuicTransport>();
  readonly #listeners = new Map<number, QuicListening>();
  readonly #seenProofs = new Map<string, string>();
  readonly #worker = new WatchedWorker({
    onMessage: (message) => this.#handle(message),
    onLost: (reason, lastedMs, end) => this.#handleLoss(reason, lastedMs, end),
  });
  #nextId = 1;
  #relistenMs = RELISTEN_MS;
  #relisten: NodeJS.Timeout | undefined;

  /** `freshProof` is of no use to us, and cannot go to the worker. */
  dial(protocol: QuicProtocol, { freshProof: _, ...options }: DialOptions, events: TransportEvents): Transport {
    const id = this.#nextId++;
    const remote = { address: options.address, port: options.port };
    const transport = new QuicTransport(this, id, protocol, events, { address: '', port: 0 }, remote);
    this.#transports.set(id, transport);
    this.post({ type: 'dial', id, protocol, options });
    return transport;
  }

  /** On a port that we listen on already the other protocol is spoken as well. Rejects with TunnelError `listen`. */
  async listen(protocol: QuicProtocol, options: ListenOptions): Promise<TransportListener> {
    const shared = [...this.#listeners.values()].find((one) => options.port > 0 && one.options.port === options.port);
    if (shared?.takers.has(protocol) === true) throw listenError(shared, 'EADDRINUSE', '');
    const listening = shared ?? new QuicListening(this.#nextId++, options);
    listening.takers.set(protocol, options);
    if (shared === undefined) {
      this.#listeners.set(listening.id, listening);
      this.#postListen(listening);
    } else {
      this.#offer(listening);
    }
    await listening.ready;
    return {
      get port() {
        return listening.port;
      },
      get counters() {
        return listening.counters;
      },
      close: async () => this.#leave(listening, protocol),
    };
  }

  post(message: ToWorker): void {
    this.#worker.post(message);
  }

  hasRoom(): boolean {
    return this.#worker.hasRoom();
  }

  send(id: number, batch: DatagramBatch): void {
    this.#worker.send(id, batch);
  }

  /** Not one that has the number now, in a later worker. */
  end(id: number, transport: QuicTransport): void {
    if (this.#transports.get(id) !== transport) return;
    this.#transports.delete(id);
    this.post({ type: 'close', id });
  }

  #leave(listening: QuicListening, protocol: QuicProtocol): void {
    if (!listening.takers.delete(protocol)) return;
    if (listening.takers.size === 0) this.#stopListening(listening);
    else this.#offer(listening);
  }

  #offer({ id, protocols }: QuicListening): void {
    if (this.#worker.isRunning) this.post({ type: 'offer', id, protocols });
  }

  #stopListening(listening: QuicListening): void {
    if (this.#listeners.delete(listening.id) && this.#worker.isRunning) this.post({ type: 'close', id: listening.id });
  }

  async close(): Promise<void> {
    clearTimeout(this.#relisten);
    if (this.#worker.isRunning) {
      for (const [id, transport] of [...this.#transports]) this.end(id, transport);
      for (const listening of [...this.#listeners.values()]) this.#stopListening(listening);
      // Their goodbyes leave before the worker ends.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await this.#worker.close();
  }

  /** All that it had is gone; it listens again. */
  #handleLoss(reason: string, lastedMs: number, end: () => Promise<boolean>): void {
    const lost = [...this.#transports.values()];
    this.#transports.clear();
    for (const transport of lost) {
      transport.isOpen = false;
      transport.events.onClose(`the QUIC worker was started anew: ${reason}`);
    }
    for (const { options } of this.#listeners.values()) options.warn(`QUIC was started anew: ${reason}`);
    void this.#listenAgain(lastedMs, end);
  }

  async #listenAgain(lastedMs: number, end: () => Promise<boolean>): Promise<void> {
    if (!(await end())) {
      for (const listening of this.#listeners.values()) {
        listening.options.warn('the old QUIC worker does not end, and keeps a core busy until mptunnel is restarted');
        if (listening.descriptor >= 0) loadNative().vacateDescriptor(listening.descriptor);
      }
    }
    for (const listening of this.#listeners.values()) listening.descriptor = -1;
    this.#relistenMs = lastedMs > LASTED_MS ? RELISTEN_MS : Math.min(2 * this.#relistenMs, RELISTEN_MAX_MS);
    this.#scheduleListening();
  }

  #scheduleListening(): void {
    clearTimeout(this.#relisten);
    this.#relisten = setTimeout(() => {
      for (const listening of this.#listeners.values()) if (listening.descriptor < 0) this.#postListen(listening);
    }, this.#relistenMs);
  }

  #postListen({ id, protocols, options: { port, mark, certificate, privateKey } }: QuicListening): void {
    this.post({ type: 'listen', id, port, mark, certificate, privateKey, protocols });
  }

  #handle(message: FromWorker): void {
    switch (message.type) {
      case 'ready':
        return;
      case 'listening':
        this.#handleListening(message);
        return;
      case 'proof':
        this.#checkProof(message);
        return;
      case 'accepted':
        this.#accept(message);
        return;
      case 'open': {
        const transport = this.#transports.get(message.id);
        if (transport === undefined) return;
        transport.open(message.facts);
        transport.events.onOpen();
        return;
      }
      case 'datagrams': {
        const transport = this.#transports.get(message.id);
        if (transport === undefined) return;
        transport.receive(message.batch);
        return;
      }
      case 'dropped':
        this.#transports.get(message.id)?.setDropped(message.dropped);
        return;
      case 'closed': {
        const transport = this.#transports.get(message.id);
        this.#transports.delete(message.id);
        if (transport === undefined) return;
        transport.isOpen = false;
        transport.events.onClose(message.reason);
        return;
      }
      case 'counters': {
        const listening = this.#listeners.get(message.listener);
        if (listening !== undefined) listening.counters = { ...message.counters, restarts: this.#worker.lostCount };
      }
    }
  }

  #handleListening({ id, port, descriptor, errorCode, message }: Extract<FromWorker, { type: 'listening' }>): void {
    const listening = this.#listeners.get(id);
    if (listening === undefined) return;
    listening.port = port;
    listening.descriptor = descriptor;
    const failure = errorCode === '' ? undefined : listenError(listening, errorCode, message);
    // Before it was ever there nobody waits for it but who asked.
    if (failure !== undefined && !listening.wasReady) this.#listeners.delete(id);
    listening.wasReady = true;
    listening.settle(failure);
    // In a worker that was started anew.
    listening.settle = (failed) => {
      if (failed === undefined) return;
      listening.options.warn(failed.message);
      this.#relistenMs = Math.min(2 * this.#relistenMs, RELISTEN_MAX_MS);
      this.#scheduleListening();
    };
  }

  #checkProof({ listener, proof, source }: Extract<FromWorker, { type: 'proof' }>): void {
    const listening = this.#listeners.get(listener);
    const key = Buffer.from(proof).toString('latin1');
    const seenFrom = this.#seenProofs.get(key);
    if (listening === undefined || (seenFrom !== undefined && seenFrom !== source) || !listening.options.checkProof(proof, source)) {
      this.post({ type: 'refuse', listener, source });
      return;
    }
    if (this.#seenProofs.size >= SEEN_PROOFS) this.#seenProofs.delete(this.#seenProofs.keys().next().value!);
    this.#seenProofs.set(key, source);
    this.post({ type: 'admit', listener, source, proof });
  }

  #accept({ id, listener, protocol, facts }: Extract<FromWorker, { type: 'accepted' }>): void {
    const taker = this.#listeners.get(listener)?.takers.get(protocol);
    if (taker === undefined) {
      this.post({ type: 'close', id });
      return;
    }
    const transport = new AcceptedTransport(this, id, protocol, facts);
    this.#transports.set(id, transport);
    transport.listenWith(taker.onTransport(transport));
  }
}

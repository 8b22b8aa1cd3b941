/**
 * The kind `quic`: one connection of QUIC for each path, its datagrams in DATAGRAM frames (RFC 9221). The library runs in a worker, since versions of it are known that can be
 * made to loop for ever (CVE-2025-7054): a watchdog ends a worker that does not turn, its connections close, and their owners dial again.
 */

import { Worker } from 'node:worker_threads';
import { TunnelError } from '../../tunnel-api.js';
import type {
  DialOptions,
  ListenOptions,
  Transport,
  TransportAddress,
  TransportEvents,
  TransportListener,
  TransportProvider,
} from '../transport.js';
import { loadQuiche, QUICHE_PACKAGE } from './quiche.js';
import type { FromWorker, OpenFacts, ToWorker, WorkerData } from './worker-messages.js';

const WATCH_MS = 1000;
/** Without a heartbeat. */
const HANGS_AFTER_MS = 3000;
const START_MS = 10_000;
/** Proofs that were seen, with their source: shown again from elsewhere they are somebody else's. */
const SEEN_PROOFS = 8192;

/** Rejects with TunnelError `carrier-missing`. */
export async function loadQuic(): Promise<TransportProvider & { hangForTest(): void }> {
  try {
    loadQuiche();
  } catch (cause) {
    throw new TunnelError(
      'carrier-missing',
      `the carrier quic needs the package ${QUICHE_PACKAGE}, for Linux on x64: \`npm install ${QUICHE_PACKAGE}\` in the folder of mptunnel`,
      { cause },
    );
  }
  const host = new QuicHost();
  return {
    kind: 'quic',
    dial: (options, events) => host.dial(options, events),
    listen: (options) => host.listen(options),
    close: () => host.close(),
    hangForTest: () => host.hang(),
  };
}

class QuicTransport implements Transport {
  readonly kind = 'quic';
  readonly events: TransportEvents;
  readonly counters = { sentDatagrams: 0, receivedDatagrams: 0, droppedDatagrams: 0 };
  maxDatagramBytes = 0;
  local: TransportAddress;
  remote: TransportAddress;
  isOpen = false;
  readonly #id: number;
  readonly #host: QuicHost;

  constructor(host: QuicHost, id: number, events: TransportEvents, local: TransportAddress, remote: TransportAddress) {
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
    const batch = { bytes: new Uint8Array(used), lengths: new Int32Array(count), count };
    batch.bytes.set(bytes.subarray(0, used));
    batch.lengths.set(lengths.subarray(0, count));
    this.counters.sentDatagrams += count;
    this.#host.post({ type: 'send', id: this.#id, batch }, [batch.bytes.buffer, batch.lengths.buffer]);
  }

  close(): void {
    this.isOpen = false;
    this.#host.end(this.#id);
  }
}

class QuicListening implements TransportListener {
  port = 0;
  counters: Readonly<Record<string, number>> = {};
  readonly options: ListenOptions;
  readonly id: number;
  readonly #host: QuicHost;
  /** Where the worker has it. */
  settle: (error: TunnelError | undefined) => void = () => {};

  constructor(host: QuicHost, id: number, options: ListenOptions) {
    this.#host = host;
    this.id = id;
    this.options = options;
  }

  async close(): Promise<void> {
    this.#host.stopListening(this);
  }
}

class QuicHost {
  readonly #transports = new Map<number, QuicTransport>();
  readonly #listeners = new Map<number, QuicListening>();
  readonly #seenProofs = new Map<string, string>();
  readonly #heartbeat = new Int32Array(new SharedArrayBuffer(4));
  #worker: Worker | undefined;
  #watch: NodeJS.Timeout | undefined;
  #nextId = 1;
  #beatSeen = 0;
  #beatMs = 0;
  #restarts = 0;
  #closed = false;

  dial(options: DialOptions, events: TransportEvents): Transport {
    const id = this.#nextId++;
    const transport = new QuicTransport(this, id, events, { address: '', port: 0 }, { address: options.address, port: options.port });
    this.#transports.set(id, transport);
    this.post({ type: 'dial', id, options });
    return transport;
  }

  listen(options: ListenOptions): Promise<TransportListener> {
    const listening = new QuicListening(this, this.#nextId++, options);
    this.#listeners.set(listening.id, listening);
    return new Promise((resolve, reject) => {
      listening.settle = (error) => {
        if (error === undefined) resolve(listening);
        else {
          this.#listeners.delete(listening.id);
          reject(error);
        }
      };
      this.#postListen(listening);
    });
  }

  post(message: ToWorker, transfer: ArrayBuffer[] = []): void {
    if (!this.#closed) this.#running().postMessage(message, transfer);
  }

  end(id: number): void {
    if (this.#transports.delete(id)) this.post({ type: 'close', id });
  }

  stopListening(listening: QuicListening): void {
    if (this.#listeners.delete(listening.id)) this.post({ type: 'close', id: listening.id });
  }

  hang(): void {
    this.post({ type: 'hang' });
  }

  async close(): Promise<void> {
    if (this.#worker !== undefined) {
      for (const id of [...this.#transports.keys()]) this.end(id);
      for (const listening of [...this.#listeners.values()]) this.stopListening(listening);
      // Their goodbyes leave before the worker ends.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    this.#closed = true;
    clearInterval(this.#watch);
    await this.#worker?.terminate();
    this.#worker = undefined;
  }

  /** Started with the first that needs it. */
  #running(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    const workerDataOfIt: WorkerData = { heartbeat: this.#heartbeat };
    const worker = new Worker(new URL('./quic-worker.js', import.meta.url), { workerData: workerDataOfIt, execArgv: [], stderr: false });
    this.#worker = worker;
    this.#beatMs = performance.now() + START_MS;
    worker.on('message', (message: FromWorker) => {
      if (this.#worker === worker) this.#handle(message);
    });
    worker.on('error', (error) => this.#restart(worker, error.message));
    worker.on('exit', () => this.#restart(worker, 'it ended'));
    this.#watch ??= setInterval(() => this.#look(), WATCH_MS).unref();
    return worker;
  }

  #look(): void {
    const nowMs = performance.now();
    const beat = Atomics.load(this.#heartbeat, 0);
    if (beat !== this.#beatSeen) {
      this.#beatSeen = beat;
      this.#beatMs = Math.max(this.#beatMs, nowMs);
    }
    if (this.#worker !== undefined && nowMs - this.#beatMs > HANGS_AFTER_MS) this.#restart(this.#worker, 'it hung');
  }

  /** All that it had is gone; it listens again. */
  #restart(worker: Worker, reason: string): void {
    if (this.#worker !== worker || this.#closed) return;
    this.#worker = undefined;
    this.#restarts++;
    void worker.terminate();
    const lost = [...this.#transports.values()];
    this.#transports.clear();
    for (const transport of lost) {
      transport.isOpen = false;
      transport.events.onClose(`the QUIC worker was started anew: ${reason}`);
    }
    for (const listening of this.#listeners.values()) {
      listening.options.warn(`QUIC was started anew: ${reason}`);
      this.#postListen(listening);
    }
  }

  #postListen({ id, options: { port, mark, certificate, privateKey } }: QuicListening): void {
    this.post({ type: 'listen', id, port, mark, certificate, privateKey });
  }

  #handle(message: FromWorker): void {
    switch (message.type) {
      case 'ready':
        this.#beatMs = performance.now();
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
        const { bytes, lengths, count } = message.batch;
        transport.counters.receivedDatagrams += count;
        transport.counters.droppedDatagrams = message.dropped;
        transport.events.onDatagrams(bytes, lengths, count);
        return;
      }
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
        if (listening !== undefined) listening.counters = { ...message.counters, restarts: this.#restarts };
      }
    }
  }

  #handleListening({ id, port, errorCode, message }: Extract<FromWorker, { type: 'listening' }>): void {
    const listening = this.#listeners.get(id);
    if (listening === undefined) return;
    listening.port = port;
    listening.settle(errorCode === '' ? undefined : listenError(listening.options.port, errorCode, message));
    listening.settle = (error) => error !== undefined && listening.options.warn(error.message);
  }

  #checkProof({ listener, proof, source }: Extract<FromWorker, { type: 'proof' }>): void {
    const listening = this.#listeners.get(listener);
    const key = Buffer.from(proof).toString('latin1');
    const seenFrom = this.#seenProofs.get(key);
    if (listening === undefined || (seenFrom !== undefined && seenFrom !== source) || !listening.options.checkProof(proof, source)) return;
    if (this.#seenProofs.size >= SEEN_PROOFS) this.#seenProofs.delete(this.#seenProofs.keys().next().value!);
    this.#seenProofs.set(key, source);
    this.post({ type: 'admit', listener, source });
  }

  #accept({ id, listener, facts }: Extract<FromWorker, { type: 'accepted' }>): void {
    const listening = this.#listeners.get(listener);
    if (listening === undefined) {
      this.post({ type: 'close', id });
      return;
    }
    const transport = new AcceptedTransport(this, id, facts);
    this.#transports.set(id, transport);
    transport.listenWith(listening.options.onTransport(transport));
  }
}

/** One whose owner is known a moment after it is. */
class AcceptedTransport extends QuicTransport {
  readonly #owner: { events: TransportEvents | undefined };

  constructor(host: QuicHost, id: number, facts: OpenFacts) {
    const owner: { events: TransportEvents | undefined } = { events: undefined };
    const events: TransportEvents = {
      onOpen: () => owner.events?.onOpen(),
      onDatagrams: (bytes, lengths, count) => owner.events?.onDatagrams(bytes, lengths, count),
      onClose: (reason) => owner.events?.onClose(reason),
    };
    super(host, id, events, facts.local, facts.remote);
    this.#owner = owner;
    this.open(facts);
  }

  listenWith(events: TransportEvents): void {
    this.#owner.events = events;
  }
}

function listenError(port: number, code: string, message: string): TunnelError {
  const text =
    code === 'EADDRINUSE'
      ? `UDP port ${port} is taken: choose another quic_port, or stop the program that holds it ("ss -lunp" shows it).`
      : code === 'EACCES'
        ? `UDP port ${port} needs root or CAP_NET_BIND_SERVICE: choose a quic_port above 1023.`
        : `QUIC cannot listen on UDP port ${port}: ${message}`;
  return new TunnelError('listen', text);
}

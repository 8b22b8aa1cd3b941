/**
 * The kind `quic`: one connection of QUIC for each path, its datagrams in DATAGRAM frames (RFC 9221). The library runs in a worker, since versions of it are known that can be
 * made to loop for ever (CVE-2025-7054): a watchdog ends a worker that does not turn, its connections close, and their owners dial again.
 */

import { Worker } from 'node:worker_threads';
import { loadNative } from '../../../tun/native.js';
import { TunnelError } from '../../tunnel-api.js';
import type {
  DialOptions,
  ListenOptions,
  Transport,
  TransportAddress,
  TransportCounters,
  TransportEvents,
  TransportListener,
  TransportProvider,
} from '../transport.js';
import { loadQuiche, QUICHE_PACKAGE } from './quiche.js';
import {
  type DatagramBatch,
  type FromWorker,
  MAX_BYTES_BETWEEN,
  type OpenFacts,
  SHARED,
  SHARED_INTS,
  type ToWorker,
  type WorkerData,
} from './worker-messages.js';

const WATCH_MS = 1000;
/** Without a heartbeat. */
const HANGS_AFTER_MS = 3000;
const START_MS = 10_000;
/** A worker whose library loops does not even end: it loses its ports by force. */
const ENDING_MS = 2000;
/** Twice as long with each that did not last. */
const RELISTEN_MS = 100;
const RELISTEN_MAX_MS = 30_000;
const LASTED_MS = 60_000;
/** Proofs that were seen, with their source: shown again from elsewhere they are somebody else's. */
const SEEN_PROOFS = 8192;

/** Rejects with TunnelError `carrier-missing`. */
export async function loadQuic(): Promise<TransportProvider & { hangForTest(nativelyMs?: number): void }> {
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
    hangForTest: (nativelyMs = 0) => host.post({ type: 'hang', nativelyMs }),
  };
}

class QuicTransport implements Transport {
  readonly kind = 'quic';
  readonly events: TransportEvents;
  maxDatagramBytes = 0;
  local: TransportAddress;
  remote: TransportAddress;
  isOpen = false;
  readonly #id: number;
  readonly #host: QuicHost;
  #givenDatagrams = 0;
  #receivedDatagrams = 0;
  #droppedHere = 0;
  /** As the worker told it last. */
  #droppedThere = 0;

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

class QuicListening implements TransportListener {
  port = 0;
  /** Of its socket in the worker; below zero: none. */
  descriptor = -1;
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
  /** Of the worker that runs. */
  #shared = new Int32Array(new SharedArrayBuffer(4 * SHARED_INTS));
  #postedBytes = 0;
  #worker: Worker | undefined;
  #watch: NodeJS.Timeout | undefined;
  #nextId = 1;
  #beatSeen = 0;
  #beatMs = 0;
  #lookedMs = 0;
  #startedMs = 0;
  #restarts = 0;
  #relistenMs = RELISTEN_MS;
  #relisten: NodeJS.Timeout | undefined;
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

  /** False: the worker has enough to do. */
  hasRoom(): boolean {
    return ((this.#postedBytes - Atomics.load(this.#shared, SHARED.bytesTakenByWorker)) | 0) <= MAX_BYTES_BETWEEN;
  }

  send(id: number, batch: DatagramBatch): void {
    this.#postedBytes = (this.#postedBytes + batch.bytes.length) | 0;
    this.post({ type: 'send', id, batch }, [batch.bytes.buffer, batch.lengths.buffer]);
  }

  /** Not one that has the number now, in a later worker. */
  end(id: number, transport: QuicTransport): void {
    if (this.#transports.get(id) !== transport) return;
    this.#transports.delete(id);
    this.post({ type: 'close', id });
  }

  stopListening(listening: QuicListening): void {
    if (this.#listeners.delete(listening.id) && this.#worker !== undefined) this.post({ type: 'close', id: listening.id });
  }

  async close(): Promise<void> {
    clearTimeout(this.#relisten);
    if (this.#worker !== undefined) {
      for (const [id, transport] of [...this.#transports]) this.end(id, transport);
      for (const listening of [...this.#listeners.values()]) this.stopListening(listening);
      // Their goodbyes leave before the worker ends.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    this.#closed = true;
    clearInterval(this.#watch);
    if (this.#worker !== undefined) await ended(this.#worker);
    this.#worker = undefined;
  }

  /** Started with the first that needs it. */
  #running(): Worker {
    if (this.#worker !== undefined) return this.#worker;
    // One that hangs may still write into the old.
    this.#shared = new Int32Array(new SharedArrayBuffer(4 * SHARED_INTS));
    this.#postedBytes = 0;
    this.#beatSeen = 0;
    const workerDataOfIt: WorkerData = { shared: this.#shared };
    const worker = new Worker(new URL('./quic-worker.js', import.meta.url), { workerData: workerDataOfIt, execArgv: [], stderr: false });
    this.#worker = worker;
    this.#startedMs = performance.now();
    this.#beatMs = this.#startedMs + START_MS;
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
    const beat = Atomics.load(this.#shared, SHARED.heartbeats);
    // Who was held up itself, as by a debugger or a stopped machine, knows nothing of the worker.
    if (beat !== this.#beatSeen || nowMs - this.#lookedMs > 2 * WATCH_MS) {
      this.#beatSeen = beat;
      this.#beatMs = Math.max(this.#beatMs, nowMs);
    }
    this.#lookedMs = nowMs;
    if (this.#worker !== undefined && nowMs - this.#beatMs > HANGS_AFTER_MS) this.#restart(this.#worker, 'it hung');
  }

  /** All that it had is gone; it listens again. */
  #restart(worker: Worker, reason: string): void {
    if (this.#worker !== worker || this.#closed) return;
    this.#worker = undefined;
    this.#restarts++;
    const lost = [...this.#transports.values()];
    this.#transports.clear();
    for (const transport of lost) {
      transport.isOpen = false;
      transport.events.onClose(`the QUIC worker was started anew: ${reason}`);
    }
    for (const { options } of this.#listeners.values()) options.warn(`QUIC was started anew: ${reason}`);
    void this.#listenAgain(worker, performance.now() - this.#startedMs);
  }

  async #listenAgain(old: Worker, lastedMs: number): Promise<void> {
    if (!(await ended(old))) {
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
        Atomics.add(this.#shared, SHARED.bytesTakenByTunnel, message.batch.bytes.length);
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
        if (listening !== undefined) listening.counters = { ...message.counters, restarts: this.#restarts };
      }
    }
  }

  #handleListening({ id, port, descriptor, errorCode, message }: Extract<FromWorker, { type: 'listening' }>): void {
    const listening = this.#listeners.get(id);
    if (listening === undefined) return;
    listening.port = port;
    listening.descriptor = descriptor;
    listening.settle(errorCode === '' ? undefined : listenError(listening.options.port, errorCode, message));
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

/** False: not soon. */
async function ended(worker: Worker): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), ENDING_MS);
  });
  const is = await Promise.race([worker.terminate().then(() => true), late]);
  clearTimeout(timer);
  return is;
}

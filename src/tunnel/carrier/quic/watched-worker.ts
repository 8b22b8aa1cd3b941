/**
 * The worker in which the library runs, started with the first that needs it. Versions of the library are known that can be made to loop for ever (CVE-2025-7054): a worker that
 * does not turn is given up.
 */

import { Worker } from 'node:worker_threads';
import {
  type DatagramBatch,
  type FromWorker,
  MAX_BYTES_BETWEEN,
  SHARED,
  SHARED_INTS,
  type ToWorker,
  type WorkerData,
} from './worker-messages.js';

const WATCH_MS = 1000;
/** Without a heartbeat. */
const HANGS_AFTER_MS = 3000;
const START_MS = 10_000;
/** A worker whose library loops does not even end. */
const ENDING_MS = 2000;

export interface WatchedWorkerEvents {
  onMessage(message: FromWorker): void;
  /** It is gone, and the next `post` starts another. `end`: false when the old one does not end soon. */
  onLost(reason: string, lastedMs: number, end: () => Promise<boolean>): void;
}

export class WatchedWorker {
  /** Workers that were lost. */
  lostCount = 0;
  readonly #events: WatchedWorkerEvents;
  /** Of the worker that runs. */
  #shared = new Int32Array(new SharedArrayBuffer(4 * SHARED_INTS));
  #postedBytes = 0;
  #worker: Worker | undefined;
  #watch: NodeJS.Timeout | undefined;
  #beatSeen = 0;
  #beatMs = 0;
  #lookedMs = 0;
  #startedMs = 0;
  #closed = false;

  constructor(events: WatchedWorkerEvents) {
    this.#events = events;
  }

  get isRunning(): boolean {
    return this.#worker !== undefined;
  }

  post(message: ToWorker, transfer: ArrayBuffer[] = []): void {
    if (!this.#closed) this.#running().postMessage(message, transfer);
  }

  /** False: it has enough to do. */
  hasRoom(): boolean {
    return ((this.#postedBytes - Atomics.load(this.#shared, SHARED.bytesTakenByWorker)) | 0) <= MAX_BYTES_BETWEEN;
  }

  send(id: number, batch: DatagramBatch): void {
    this.#postedBytes = (this.#postedBytes + batch.bytes.length) | 0;
    this.post({ type: 'send', id, batch }, [batch.bytes.buffer, batch.lengths.buffer]);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#watch);
    if (this.#worker !== undefined) await ended(this.#worker);
    this.#worker = undefined;
  }

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
    worker.on('error', (error) => this.#lose(worker, error.message));
    worker.on('exit', () => this.#lose(worker, 'it ended'));
    this.#watch ??= setInterval(() => this.#look(), WATCH_MS).unref();
    return worker;
  }

  #handle(message: FromWorker): void {
    if (message.type === 'ready') this.#beatMs = performance.now();
    else if (message.type === 'datagrams') Atomics.add(this.#shared, SHARED.bytesTakenByTunnel, message.batch.bytes.length);
    this.#events.onMessage(message);
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
    if (this.#worker !== undefined && nowMs - this.#beatMs > HANGS_AFTER_MS) this.#lose(this.#worker, 'it hung');
  }

  #lose(worker: Worker, reason: string): void {
    if (this.#worker !== worker || this.#closed) return;
    this.#worker = undefined;
    this.lostCount++;
    this.#events.onLost(reason, performance.now() - this.#startedMs, () => ended(worker));
  }
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

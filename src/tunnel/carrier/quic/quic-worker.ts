/** The worker: a library that reads what peers send, away from the tunnel's own thread, which ends it when it does not answer. */

import { parentPort, workerData } from 'node:worker_threads';
import { loadNative } from '../../../tun/native.js';
import { QuicEngine } from './quic-engine.js';
import { loadQuiche } from './quiche.js';
import { type FromWorker, SHARED, type ToWorker, type WorkerData } from './worker-messages.js';

const HEARTBEAT_MS = 250;

const port = parentPort!;
const { shared } = workerData as WorkerData;
const post = (message: FromWorker, transfer: ArrayBuffer[] = []): void => port.postMessage(message, transfer);
const engine = new QuicEngine(loadNative(), loadQuiche(), shared, post);
setInterval(() => {
  Atomics.add(shared, SHARED.heartbeats, 1);
  engine.reportDropped();
}, HEARTBEAT_MS);
port.on('message', (message: ToWorker) => engine.handle(message));
post({ type: 'ready' });

/**
 * What the carrier webtransport brings through: both ends on this machine, each in a process of its own; prints JSON. Datagrams of 1400 bytes are offered at given rates;
 * what arrives is counted, and timed from the send call to the receiver's event.
 *
 *   node dist/test/bench/webtransport.js [SECONDS PER CASE] [MBIT/S ...]
 */

import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { PROOF_BYTES } from '../../src/tunnel/carrier/peer-proof.js';
import { makeSelfSigned } from '../../src/tunnel/carrier/self-signed.js';
import type { Transport, TransportEvents } from '../../src/tunnel/carrier/transport.js';
import { loadWebTransport } from '../../src/tunnel/carrier/webtransport/webtransport.js';

const DATAGRAM_BYTES = 1400;
/** As a path flushes them. */
const BATCH = 32;
const DEFAULT_RATES = [50, 150, 300, 600, 1200];
const SETTLE_MS = 300;

interface Report {
  datagrams: number;
  latenciesMs: number[];
  cpuMs: number;
}

const cpuMs = () => (process.cpuUsage().user + process.cpuUsage().system) / 1000;

/** The child: counts what comes, and reports when asked. */
async function receive(): Promise<void> {
  const { certificate, privateKey, sha256 } = await makeSelfSigned('bench');
  const provider = await loadWebTransport();
  let report: Report = { datagrams: 0, latenciesMs: [], cpuMs: cpuMs() };
  const onDatagrams: TransportEvents['onDatagrams'] = (bytes, lengths, count) => {
    const now = process.hrtime.bigint();
    report.datagrams += count;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    report.latenciesMs.push(Number(now - view.getBigUint64(0)) / 1e6);
    void lengths;
  };
  const listener = await provider.listen({
    port: 0,
    mark: undefined,
    certificate,
    privateKey,
    webFolder: undefined,
    checkProof: () => true,
    onTransport: () => ({ onOpen: () => undefined, onDatagrams, onClose: () => process.exit(0) }),
    warn: () => undefined,
  });
  process.on('message', () => {
    process.send?.({ ...report, cpuMs: cpuMs() - report.cpuMs });
    report = { datagrams: 0, latenciesMs: [], cpuMs: cpuMs() };
  });
  process.send?.({ port: listener.port, sha256: [...sha256] });
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function offer(transport: Transport, mbitPerSec: number, seconds: number): Promise<number> {
  const bytes = Buffer.alloc(DATAGRAM_BYTES * BATCH);
  const lengths = new Int32Array(BATCH).fill(DATAGRAM_BYTES);
  const bytesPerMs = (mbitPerSec * 1e6) / 8 / 1000;
  const start = performance.now();
  let batches = 0;
  for (;;) {
    const elapsed = performance.now() - start;
    if (elapsed >= seconds * 1000) return batches * BATCH;
    for (const due = (elapsed * bytesPerMs) / bytes.length; batches < due; batches++) {
      const now = process.hrtime.bigint();
      for (let i = 0; i < BATCH; i++) bytes.writeBigUInt64BE(now, i * DATAGRAM_BYTES);
      transport.sendDatagrams(bytes, lengths, BATCH);
    }
    await pause(1);
  }
}

async function main(): Promise<void> {
  const [seconds = 3, ...rates] = process.argv.slice(2).map(Number);
  const child = fork(fileURLToPath(import.meta.url), [], { env: { ...process.env, WEBTRANSPORT_BENCH: 'receive' } });
  const next = <T>() => new Promise<T>((resolve) => child.once('message', (message) => resolve(message as T)));
  const { port, sha256 } = await next<{ port: number; sha256: number[] }>();
  const provider = await loadWebTransport();
  const transport = await new Promise<Transport>((resolve, reject) => {
    const events: TransportEvents = {
      onOpen: () => resolve(opening),
      onDatagrams: () => undefined,
      onClose: (reason) => reject(new Error(reason)),
    };
    const opening = provider.dial(
      {
        address: '127.0.0.1',
        port,
        serverName: 'bench',
        certificateSha256: Uint8Array.from(sha256),
        device: undefined,
        localAddress: undefined,
        mark: undefined,
        mtuBytes: 1500,
        proof: new Uint8Array(PROOF_BYTES),
      },
      events,
    );
  });
  const cases = [];
  for (const rate of rates.length === 0 ? DEFAULT_RATES : rates) {
    const cpuBefore = cpuMs();
    const droppedBefore = transport.counters.droppedDatagrams;
    const answerBefore = next<Report>();
    child.send('reset');
    await answerBefore;
    const offered = await offer(transport, rate, seconds);
    await pause(SETTLE_MS);
    const answer = next<Report>();
    child.send('report');
    const report = await answer;
    const latencies = report.latenciesMs.sort((a, b) => a - b);
    const at = (share: number) => Number((latencies[Math.floor(latencies.length * share)] ?? Number.NaN).toFixed(2));
    cases.push({
      offeredMbitPerSec: rate,
      receivedMbitPerSec: Number(((report.datagrams * DATAGRAM_BYTES * 8) / seconds / 1e6).toFixed(1)),
      offeredDatagrams: offered,
      droppedDatagrams: transport.counters.droppedDatagrams - droppedBefore,
      lostDatagrams: offered - report.datagrams - (transport.counters.droppedDatagrams - droppedBefore),
      latencyMs: { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(0.9999) },
      cpuShare: {
        sender: Number(((cpuMs() - cpuBefore) / (seconds * 1000)).toFixed(2)),
        receiver: Number((report.cpuMs / (seconds * 1000)).toFixed(2)),
      },
    });
  }
  console.log(JSON.stringify({ node: process.version, datagramBytes: DATAGRAM_BYTES, secondsPerCase: seconds, cases }, undefined, 2));
  transport.close();
  await provider.close();
}

if (process.env.WEBTRANSPORT_BENCH === 'receive') await receive();
else await main();

/**
 * What a carrier that is not plain UDP brings through: each end in a process of its own; prints JSON. Datagrams of 1400 bytes are offered at given rates; what arrives is
 * counted, and timed from the send call to the receiver's event. Without a link both are on loopback; with one, in namespaces at its ends (needs root).
 *
 *   node dist/test/bench/transport.js [--kind quic|webtransport] [--seconds N] [--offer MBIT,MBIT,...] [--link MBIT,DELAY_MS,QUEUE_PACKETS[,LOSS]]
 */

import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createLab, type Lab } from '../../src/lab/topology.js';
import { PROOF_BYTES } from '../../src/tunnel/carrier/peer-proof.js';
import { makeSelfSigned } from '../../src/tunnel/carrier/self-signed.js';
import type { Transport, TransportEvents, TransportKind } from '../../src/tunnel/carrier/transport.js';
import { createTransportLoader } from '../../src/tunnel/carrier/transports.js';

const DATAGRAM_BYTES = 1400;
/** As a path flushes them. */
const BATCH = 32;
const SETTLE_MS = 1000;

interface Report {
  datagrams: number;
  /** Of the first datagram of each delivery. */
  latenciesMs: number[];
  cpuMs: number;
}

interface Target {
  address: string;
  device: string | undefined;
  port: number;
  sha256: number[];
}

interface Offer {
  mbitPerSec: number;
  seconds: number;
}

interface Sent {
  offered: number;
  dropped: number;
  cpuMs: number;
}

const cpuMs = () => (process.cpuUsage().user + process.cpuUsage().system) / 1000;
const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Counts what comes, and reports, with each message. */
async function receive(): Promise<void> {
  const { certificate, privateKey, sha256 } = await makeSelfSigned('bench');
  const provider = await createTransportLoader()(process.env.TRANSPORT_BENCH_KIND as TransportKind);
  let report: Report = { datagrams: 0, latenciesMs: [], cpuMs: cpuMs() };
  const onDatagrams: TransportEvents['onDatagrams'] = (bytes, _lengths, count) => {
    const sentAt = Buffer.from(bytes.buffer, bytes.byteOffset).readBigUInt64BE();
    report.datagrams += count;
    report.latenciesMs.push(Number(process.hrtime.bigint() - sentAt) / 1e6);
  };
  const listener = await provider.listen({
    port: 0,
    mark: undefined,
    certificate,
    privateKey,
    webFolder: undefined,
    checkProof: () => true,
    onTransport: () => ({ onOpen: () => undefined, onDatagrams, onClose: () => undefined }),
    warn: () => undefined,
  });
  process.on('message', () => {
    process.send!({ ...report, cpuMs: cpuMs() - report.cpuMs });
    report = { datagrams: 0, latenciesMs: [], cpuMs: cpuMs() };
  });
  process.send!({ port: listener.port, sha256: [...sha256] });
}

/** Dials the target of the first message, and offers what each further one says. */
async function send(): Promise<void> {
  const provider = await createTransportLoader()(process.env.TRANSPORT_BENCH_KIND as TransportKind);
  process.once('message', (target: Target) => {
    const { address, device, port, sha256 } = target;
    const transport = provider.dial(
      {
        address,
        device,
        port,
        serverName: 'bench',
        certificateSha256: Uint8Array.from(sha256),
        localAddress: undefined,
        mark: undefined,
        mtuBytes: 1500,
        proof: new Uint8Array(PROOF_BYTES),
      },
      {
        onOpen: () => process.send!({}),
        onDatagrams: () => undefined,
        onClose: (reason) => {
          console.error(reason);
          process.exit(1);
        },
      },
    );
    process.on('message', async (offer: Offer) => process.send!(await serve(transport, offer)));
  });
}

async function serve(transport: Transport, { mbitPerSec, seconds }: Offer): Promise<Sent> {
  const before = { cpuMs: cpuMs(), dropped: transport.counters.droppedDatagrams };
  const bytes = Buffer.alloc(DATAGRAM_BYTES * BATCH);
  const bytesPerMs = (mbitPerSec * 1e6) / 8 / 1000;
  // Slow ones flush less at once.
  const batch = Math.max(1, Math.min(BATCH, Math.round((bytesPerMs * 2) / DATAGRAM_BYTES)));
  const lengths = new Int32Array(batch).fill(DATAGRAM_BYTES);
  const start = performance.now();
  let batches = 0;
  for (let elapsed = 0; elapsed < seconds * 1000; elapsed = performance.now() - start) {
    for (const due = (elapsed * bytesPerMs) / (batch * DATAGRAM_BYTES); batches < due; batches++) {
      const now = process.hrtime.bigint();
      for (let i = 0; i < batch; i++) bytes.writeBigUInt64BE(now, i * DATAGRAM_BYTES);
      transport.sendDatagrams(bytes.subarray(0, batch * DATAGRAM_BYTES), lengths, batch);
    }
    await pause(1);
  }
  await pause(SETTLE_MS);
  return { offered: batches * batch, dropped: transport.counters.droppedDatagrams - before.dropped, cpuMs: cpuMs() - before.cpuMs };
}

/** A child of a role, in a namespace or here. */
function start(role: string, kind: string, namespace: string | undefined): ChildProcess {
  const inside = namespace === undefined ? {} : { execPath: 'ip', execArgv: ['netns', 'exec', namespace, process.execPath] };
  return fork(fileURLToPath(import.meta.url), [], {
    env: { ...process.env, TRANSPORT_BENCH_ROLE: role, TRANSPORT_BENCH_KIND: kind },
    ...inside,
  });
}

function ask<T>(child: ChildProcess, question?: object): Promise<T> {
  return new Promise((resolve, reject) => {
    const ended = () => reject(new Error('a child ended'));
    child.once('exit', ended);
    child.once('message', (answer) => {
      child.off('exit', ended);
      resolve(answer as T);
    });
    if (question !== undefined) child.send(question);
  });
}

async function measure(sender: ChildProcess, receiver: ChildProcess, offer: Offer) {
  await ask<Report>(receiver, {});
  const sent = await ask<Sent>(sender, offer);
  const report = await ask<Report>(receiver, {});
  const latencies = report.latenciesMs.sort((a, b) => a - b);
  const at = (share: number) => Number((latencies[Math.floor((latencies.length - 1) * share)] ?? Number.NaN).toFixed(2));
  const milliseconds = offer.seconds * 1000;
  return {
    offeredMbitPerSec: offer.mbitPerSec,
    receivedMbitPerSec: Number(((report.datagrams * DATAGRAM_BYTES * 8) / milliseconds / 1000).toFixed(1)),
    offeredDatagrams: sent.offered,
    droppedDatagrams: sent.dropped,
    lostDatagrams: sent.offered - sent.dropped - report.datagrams,
    latencyMs: { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) },
    cpuShare: { sender: Number((sent.cpuMs / milliseconds).toFixed(2)), receiver: Number((report.cpuMs / milliseconds).toFixed(2)) },
  };
}

async function makeLink(text: string | undefined): Promise<Lab | undefined> {
  if (text === undefined) return undefined;
  const [mbit = 0, delayMs = 0, queuePackets = 100, lossRatio = 0] = text.split(',').map(Number);
  return await createLab({ links: [{ rateBitsPerSec: mbit * 1e6, delayMs, queuePackets, lossRatio }] });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { kind: { type: 'string' }, seconds: { type: 'string' }, offer: { type: 'string' }, link: { type: 'string' } },
  });
  const { kind = 'quic' } = values;
  const seconds = Number(values.seconds ?? 3);
  const lab = await makeLink(values.link);
  const receiver = start('receive', kind, lab?.server.namespace);
  const sender = start('send', kind, lab?.client.namespace);
  try {
    const listening = await ask<{ port: number; sha256: number[] }>(receiver);
    const where = lab === undefined ? { address: '127.0.0.1' } : { address: '10.90.0.2', device: 'wan0' };
    await ask(sender, { ...listening, ...where });
    const cases = [];
    for (const mbitPerSec of (values.offer ?? '50,150,300,600,1200').split(',').map(Number)) {
      cases.push(await measure(sender, receiver, { mbitPerSec, seconds }));
    }
    console.log(
      JSON.stringify(
        { kind, node: process.version, link: values.link ?? 'loopback', datagramBytes: DATAGRAM_BYTES, seconds, cases },
        undefined,
        2,
      ),
    );
  } finally {
    sender.kill();
    receiver.kill();
    await lab?.close();
  }
}

const role = process.env.TRANSPORT_BENCH_ROLE;
if (role === 'receive') await receive();
else if (role === 'send') await send();
else await main();

/** Runs bulk.py in hosts of a lab and reads what its receivers saw. */

import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { LabError, type NamespaceHost } from '../../../src/lab/namespaces.js';

const PROGRAM = fileURLToPath(new URL('../../../../test/bench/profiles/bulk.py', import.meta.url));
export const BULK_PORT = 9000;
const UDP_PORT = 9001;
const CALL_PORT = 9002;
const OBJECTS_TIMEOUT_MS = 300_000;
/** Beyond the time that a run is to take. */
const PATIENCE_MS = 40_000;

export type BulkDirection = 'download' | 'upload';

/** What a receiver had at a time of the machine's monotonic clock. */
interface Sample {
  atSec: number;
  bytes: number;
}

export interface BulkRecord {
  startSec: number;
  connectedSec: number;
  endSec: number;
  /** For each connection. */
  samples: Sample[][];
}

export interface BulkServer {
  /** Starts to collect the samples of uploads. */
  collect(): Sample[][];
  close(): void;
}

/** The clock of bulk.py. */
export function monotonicSec(): number {
  return Number(process.hrtime.bigint()) / 1e9;
}

/** Bytes at a time, between two samples in proportion. */
export function bytesAt(samples: readonly Sample[], atSec: number): number {
  let before: Sample = { atSec: Number.NEGATIVE_INFINITY, bytes: 0 };
  for (const sample of samples) {
    if (sample.atSec > atSec) {
      const span = sample.atSec - before.atSec;
      return Number.isFinite(span) ? before.bytes + ((sample.bytes - before.bytes) * (atSec - before.atSec)) / span : 0;
    }
    before = sample;
  }
  return before.bytes;
}

/** Of all connections, bits a second between two times. */
export function rateBetween(record: BulkRecord, fromSec: number, toSec: number): number {
  let bytes = 0;
  for (const samples of record.samples) bytes += bytesAt(samples, toSec) - bytesAt(samples, fromSec);
  return (bytes * 8) / (toSec - fromSec);
}

/** Longest time without a byte in a window, to the grain of the samples (20 ms). */
export function longestGapMs(samples: readonly Sample[], fromSec: number, toSec: number): number {
  let lastSec = fromSec;
  let longest = 0;
  let bytes = bytesAt(samples, fromSec);
  for (const sample of samples) {
    if (sample.atSec < fromSec || sample.bytes === bytes) continue;
    longest = Math.max(longest, Math.min(sample.atSec, toSec) - lastSec);
    if (sample.atSec > toSec) return longest * 1000;
    lastSec = sample.atSec;
    bytes = sample.bytes;
  }
  return Math.max(longest, toSec - lastSec) * 1000;
}

export async function startBulkServer(host: NamespaceHost, options: { mptcp?: boolean } = {}): Promise<BulkServer> {
  const args = ['serve', String(BULK_PORT), ...(options.mptcp === true ? ['mptcp'] : [])];
  let samples: Sample[][] = [];
  const child = await startProgram(host, args, 'listening', (line) => {
    if (Array.isArray(line)) note(samples, line as [number, number, number]);
  });
  return {
    collect: () => {
      samples = [];
      return samples;
    },
    close: () => void child.kill(),
  };
}

export interface BulkOptions {
  client: NamespaceHost;
  server: BulkServer;
  serverAddress: string;
  direction: BulkDirection;
  /** From the last connection's establishment on. */
  seconds: number;
  connections?: number;
  mptcp?: boolean;
  /** In place of bulk.py on the client: speaks as it does, and is given its arguments up to the seconds. */
  program?: readonly string[];
  /** Every line of the client that is no sample. */
  onOther?: (line: object) => void;
  /** After the connections stand; what it starts runs beside the transfer. */
  onConnected?: (connectedSec: number) => void;
}

/** Resolves when the transfer is over and its samples are in. */
export async function runBulk(options: BulkOptions): Promise<BulkRecord> {
  const { direction, seconds } = options;
  const uploads = direction === 'upload' ? options.server.collect() : [];
  const downloads: Sample[][] = [];
  const times = { start: 0, connected: 0, end: 0 };
  const connections = options.connections ?? 1;
  const transfer = [direction, options.serverAddress, String(BULK_PORT), String(seconds)];
  const bulk = bulkCommand(...transfer, String(connections), ...(options.mptcp === true ? ['mptcp'] : []));
  const command = options.program === undefined ? bulk : [...options.program, ...transfer];
  await runProgram(options.client, command, seconds * 1000 + PATIENCE_MS, (line) => {
    if (Array.isArray(line)) return note(downloads, line as [number, number, number]);
    Object.assign(times, line);
    options.onOther?.(line as object);
    if ((line as { connected?: number }).connected !== undefined) options.onConnected?.(times.connected);
  });
  if (times.connected === 0) throw new LabError('bulk', `${direction}: no connection`);
  const samples = direction === 'download' ? downloads : uploads;
  // The last samples of an upload come from the other host.
  if (direction === 'upload') await new Promise((resolve) => setTimeout(resolve, 200));
  for (let i = 0; i < connections; i++) samples[i] ??= [];
  return { startSec: times.start, connectedSec: times.connected, endSec: times.end, samples };
}

/** What arrives of a stream of datagrams that is a little faster than the link, in bits a second of IP packets. */
export async function floodUdp(options: {
  client: NamespaceHost;
  server: NamespaceHost;
  serverAddress: string;
  direction: BulkDirection;
  seconds: number;
  bitsPerSec: number;
  warmUpSec: number;
}): Promise<number> {
  const taken: Sample[][] = [];
  const take = (line: unknown): void => {
    if (Array.isArray(line)) note(taken, line as [number, number, number]);
  };
  const up = options.direction === 'upload';
  const server = await startProgram(
    options.server,
    ['udp-serve', options.serverAddress, String(UDP_PORT)],
    'listening',
    up ? take : () => undefined,
  );
  try {
    const verb = up ? 'udp-send' : 'udp-fetch';
    const total = options.seconds + options.warmUpSec;
    const args = [verb, options.serverAddress, String(UDP_PORT), String(total), String(options.bitsPerSec), '1472'];
    await runProgram(options.client, bulkCommand(...args), total * 1000 + PATIENCE_MS, up ? () => undefined : take);
    await new Promise((resolve) => setTimeout(resolve, up ? 700 : 100));
  } finally {
    server.kill();
  }
  const samples = taken[0] ?? [];
  const firstSec = samples[0]?.atSec ?? 0;
  const fromSec = firstSec + options.warmUpSec - 0.1;
  // The last sample of all is the end of waiting, not an arrival: it is beyond the window.
  const toSec = firstSec + total(options) - 0.1;
  return ((bytesAt(samples, toSec) - bytesAt(samples, fromSec)) * 8) / (toSec - fromSec);
}

export interface ObjectsRecord {
  totalSec: number;
  /** In the order of their ends: number, seconds to the first and to the last byte. */
  objects: { number: number; firstByteSec: number; lastByteSec: number }[];
  errors: string[];
}

/** Fetches objects, each by a connection of its own, so many at a time. */
export async function fetchObjects(
  client: NamespaceHost,
  serverAddress: string,
  parallel: number,
  sizesBytes: readonly number[],
): Promise<ObjectsRecord> {
  const record: ObjectsRecord = { totalSec: 0, objects: [], errors: [] };
  const times = { start: 0, end: 0 };
  const args = ['objects', serverAddress, String(BULK_PORT), String(parallel), sizesBytes.join(',')];
  await runProgram(client, bulkCommand(...args), OBJECTS_TIMEOUT_MS, (line) => {
    if (Array.isArray(line)) {
      const [number, firstByteSec, lastByteSec] = line as [number, number, number];
      record.objects.push({ number, firstByteSec, lastByteSec });
    } else if ((line as { error?: string }).error !== undefined) record.errors.push((line as { error: string }).error);
    else Object.assign(times, line);
  });
  record.totalSec = times.end - times.start;
  return record;
}

export interface CallRecord {
  startSec: number;
  sentPackets: number;
  /** Of what came back, in order of arrival. */
  packets: { sequence: number; sentSec: number; farSec: number; backSec: number }[];
}

/** Datagrams at a steady rate that come back from the far side, like a call in both directions. */
export async function runCall(
  client: NamespaceHost,
  server: NamespaceHost,
  serverAddress: string,
  options: { seconds: number; packetsPerSec: number; payloadBytes: number; onStart?: (startSec: number) => void },
): Promise<CallRecord> {
  const { seconds, packetsPerSec, payloadBytes } = options;
  const echo = await startProgram(server, ['udp-echo', serverAddress, String(CALL_PORT)], 'listening', () => undefined);
  const record: CallRecord = { startSec: 0, sentPackets: 0, packets: [] };
  try {
    const args = ['udp-call', serverAddress, String(CALL_PORT), String(seconds), String(packetsPerSec), String(payloadBytes)];
    await runProgram(client, bulkCommand(...args), seconds * 1000 + PATIENCE_MS, (line) => {
      if (Array.isArray(line)) {
        const [sequence, sentSec, farSec, backSec] = line as [number, number, number, number];
        record.packets.push({ sequence, sentSec, farSec, backSec });
        return;
      }
      const { start, sent } = line as { start?: number; sent?: number };
      if (sent !== undefined) record.sentPackets = sent;
      if (start === undefined) return;
      record.startSec = start;
      options.onStart?.(start);
    });
  } finally {
    echo.kill();
  }
  return record;
}

function total(options: { seconds: number; warmUpSec: number }): number {
  return options.seconds + options.warmUpSec;
}

function note(samples: Sample[][], [connection, atSec, bytes]: [number, number, number]): void {
  samples[connection] ??= [];
  samples[connection].push({ atSec, bytes });
}

/** Resolves at the line that has `readyKey`. */
function startProgram(host: NamespaceHost, args: string[], readyKey: string, onLine: (line: unknown) => void): Promise<ChildProcess> {
  const child = host.spawnPiped('python3', [PROGRAM, ...args]);
  let errors = '';
  child.stderr!.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  return new Promise((resolve, reject) => {
    createInterface({ input: child.stdout! }).on('line', (text) => {
      const line = JSON.parse(text) as Record<string, unknown>;
      if (line[readyKey] !== undefined) resolve(child);
      else onLine(line);
    });
    child.on('error', reject);
    child.on('close', (code) => reject(new LabError('bulk', `bulk.py ${args.join(' ')} ended with ${code}: ${errors}`)));
  });
}

function bulkCommand(...args: readonly string[]): string[] {
  return ['python3', PROGRAM, ...args];
}

function runProgram(
  host: NamespaceHost,
  [program = '', ...args]: readonly string[],
  timeoutMs: number,
  onLine: (line: unknown) => void,
): Promise<void> {
  const child = host.spawnPiped(program, args);
  let errors = '';
  child.stderr!.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  createInterface({ input: child.stdout! }).on('line', (text) => onLine(JSON.parse(text)));
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      if (code === 0) resolve();
      else reject(new LabError('bulk', `${program} ${args.join(' ')} ended with ${code}: ${errors}`));
    });
  });
}

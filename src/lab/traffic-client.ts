/**
 * A client of traffic-server: `node traffic-client.js '{"op": ..., "host": ..., "port": ...}'`. Prints JSON objects, one a line (TrafficLine);
 * the last is the result. Ends with 1 when something went wrong, and says what in the result's `error`.
 */

import { createSocket } from 'node:dgram';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { ReceiveMeter, type ReceiveSummary } from './receive-meter.js';
import { MAX_PATTERN_CHUNK_BYTES, patternAt } from './traffic-pattern.js';

export interface TrafficRequest {
  op: 'download' | 'upload' | 'echo' | 'udp-echo';
  host: string;
  port: number;
  /** Source address. */
  localAddress?: string;
  /** Download and upload: so many bytes; 0 or missing: until `seconds` are over or standard input ends. */
  bytes?: number;
  seconds?: number;
  /** Echoes: how many, and the time from one start to the next. */
  count?: number;
  intervalMs?: number;
  /** Give up when nothing has arrived for so long. */
  silenceMs?: number;
  /** UDP payload. */
  sizeBytes?: number;
}

export type TrafficLine =
  | { type: 'connected'; afterMs: number }
  /** Bytes since the start, every 100 ms; a download tells the longest time without a byte since the sample before. */
  | { type: 'sample'; atMs: number; bytes: number; gapMs?: number }
  | { type: 'echo'; connectMs: number; firstByteMs: number }
  | TrafficResult;

export interface TrafficResult extends Partial<ReceiveSummary> {
  type: 'result';
  error?: string;
  /** Echoes: time to the first echoed byte of each, from before the connect (UDP: from the send), in order of the answers. */
  timesMs?: number[];
}

const SAMPLE_INTERVAL_MS = 100;
const DEFAULT_SILENCE_MS = 15_000;
const UDP_GRACE_MS = 1500;
const SEQUENCE_BYTES = 4;

function print(line: TrafficLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** Prints the result and ends once it is written. */
function finish(result: Omit<TrafficResult, 'type'>): void {
  process.stdout.write(`${JSON.stringify({ type: 'result', ...result })}\n`, () => process.exit(result.error === undefined ? 0 : 1));
}

function open(request: TrafficRequest, firstLine: string, onConnect: (socket: Socket, connectMs: number) => void): Socket {
  const startMs = performance.now();
  const { host, port, localAddress } = request;
  const socket = connect({ host, port, ...(localAddress === undefined ? {} : { localAddress }), noDelay: true, allowHalfOpen: true });
  socket.setTimeout(request.silenceMs ?? DEFAULT_SILENCE_MS, () => socket.destroy(new Error('silence: nothing arrived for too long')));
  socket.on('connect', () => {
    socket.write(`${firstLine}\n`);
    onConnect(socket, performance.now() - startMs);
  });
  return socket;
}

/** Calls `stop` after the time asked for, and when standard input ends. */
function untilTold(request: TrafficRequest, stop: () => void): void {
  if (request.seconds !== undefined) setTimeout(stop, request.seconds * 1000);
  process.stdin.on('end', stop).resume();
}

function download(request: TrafficRequest): void {
  const wanted = request.bytes ?? 0;
  let meter = new ReceiveMeter();
  let timer: NodeJS.Timeout | undefined;
  const end = (ended: boolean, error?: string) => {
    clearInterval(timer);
    const summary = meter.summary(ended);
    const fault = summary.faultAt >= 0 ? `wrong byte at ${summary.faultAt}` : error;
    const short = wanted > 0 && summary.bytes !== wanted ? `${summary.bytes} bytes instead of ${wanted}` : fault;
    finish({ ...summary, ...(short === undefined ? {} : { error: short }) });
  };
  const socket = open(request, `DOWNLOAD ${wanted}`, (_, connectMs) => {
    print({ type: 'connected', afterMs: connectMs });
    meter = new ReceiveMeter();
    timer = setInterval(() => {
      print({ type: 'sample', atMs: meter.elapsedMs, bytes: meter.bytes, gapMs: meter.takeRecentGapMs() });
    }, SAMPLE_INTERVAL_MS);
  });
  let told = false;
  socket.on('data', (chunk) => meter.add(chunk));
  socket.on('end', () => end(true, wanted > 0 || told ? undefined : 'the server ended the stream'));
  socket.on('error', (error) => end(false, error.message));
  untilTold(request, () => {
    if (wanted > 0 && request.seconds === undefined) return;
    told = true;
    end(false);
  });
}

function upload(request: TrafficRequest): void {
  const total = request.bytes && request.bytes > 0 ? request.bytes : Number.POSITIVE_INFINITY;
  let sent = 0;
  let told = false;
  let done = false;
  const socket = open(request, 'UPLOAD', (_, connectMs) => {
    print({ type: 'connected', afterMs: connectMs });
    const startMs = performance.now();
    createInterface({ input: socket }).on('line', (line) => {
      if (!line.startsWith('{')) return print({ type: 'sample', atMs: performance.now() - startMs, bytes: Number(line) });
      done = true;
      const summary = JSON.parse(line) as ReceiveSummary;
      const whole = summary.bytes === sent && summary.faultAt < 0;
      finish({ ...summary, ...(whole ? {} : { error: `${summary.bytes} of ${sent} bytes, first fault at ${summary.faultAt}` }) });
    });
    pump();
  });
  const pump = () => {
    while (sent < total && !told) {
      const piece = patternAt(sent, Math.min(MAX_PATTERN_CHUNK_BYTES, total - sent));
      sent += piece.length;
      if (!socket.write(piece)) return;
    }
    if (!socket.writableEnded) socket.end();
  };
  socket.on('drain', pump);
  socket.on('error', (error) => finish({ error: error.message }));
  socket.on('close', () => {
    if (!done) finish({ error: 'the connection ended before the summary' });
  });
  untilTold(request, () => {
    if (total !== Number.POSITIVE_INFINITY) return;
    told = true;
  });
}

async function echo(request: TrafficRequest): Promise<void> {
  const timesMs: number[] = [];
  for (let i = 0; i < (request.count ?? 1); i++) {
    const startMs = performance.now();
    try {
      const times = await echoOnce(request);
      timesMs.push(times.firstByteMs);
      print({ type: 'echo', ...times });
    } catch (error) {
      return finish({ timesMs, error: (error as Error).message });
    }
    const restMs = (request.intervalMs ?? 0) - (performance.now() - startMs);
    if (restMs > 0) await new Promise((resolve) => setTimeout(resolve, restMs));
  }
  finish({ timesMs });
}

function echoOnce(request: TrafficRequest): Promise<{ connectMs: number; firstByteMs: number }> {
  const startMs = performance.now();
  return new Promise((resolve, reject) => {
    let opened = 0;
    const socket = open(request, 'ECHO', (socket, connectMs) => {
      opened = connectMs;
      socket.write('x');
    });
    socket.on('data', () => {
      socket.destroy();
      resolve({ connectMs: opened, firstByteMs: performance.now() - startMs });
    });
    socket.on('error', reject);
    socket.on('end', () => reject(new Error('the server closed without an echo')));
  });
}

/** `bytes` of the result is the number of datagrams that came back whole. */
function udpEcho(request: TrafficRequest): void {
  const count = request.count ?? 1;
  const family = request.host.includes(':') ? 'udp6' : 'udp4';
  const socket = createSocket(family);
  const sentMs: number[] = [];
  const timesMs: number[] = [];
  const seen = new Set<number>();
  const end = () => finish({ timesMs, bytes: seen.size });
  socket.on('message', (message) => {
    const sequence = message.length >= SEQUENCE_BYTES ? message.readUInt32BE(0) : count;
    const payload = patternAt(sequence, message.length - SEQUENCE_BYTES);
    if (sequence >= count || seen.has(sequence) || !message.subarray(SEQUENCE_BYTES).equals(payload)) return;
    seen.add(sequence);
    timesMs.push(performance.now() - sentMs[sequence]!);
    if (seen.size === count) end();
  });
  socket.on('error', (error) => finish({ timesMs, error: error.message }));
  const send = (sequence: number) => {
    const message = Buffer.alloc(Math.max(SEQUENCE_BYTES, request.sizeBytes ?? 64));
    message.writeUInt32BE(sequence, 0);
    patternAt(sequence, message.length - SEQUENCE_BYTES).copy(message, SEQUENCE_BYTES);
    sentMs.push(performance.now());
    socket.send(message, request.port, request.host);
    if (sequence + 1 < count) setTimeout(() => send(sequence + 1), request.intervalMs ?? 10);
    else setTimeout(end, request.silenceMs ?? UDP_GRACE_MS);
  };
  socket.bind({ port: 0, ...(request.localAddress === undefined ? {} : { address: request.localAddress }) }, () => send(0));
}

const request = JSON.parse(process.argv[2] ?? '{}') as TrafficRequest;
if (request.op === 'download') download(request);
else if (request.op === 'upload') upload(request);
else if (request.op === 'echo') await echo(request);
else if (request.op === 'udp-echo') udpEcho(request);
else throw new TypeError(`op: ${request.op}`);

/**
 * An MPTCP host in a program: discard, chargen and echo, as server and client, on one or more TUNs. Prints one JSON line at the end.
 *
 *   ip tuntap add dev tun0 mode tun && ip addr add 10.1.0.1/24 dev tun0 && ip link set tun0 up
 *   node dist/examples/mptcp-host.js --tun tun0 --address 10.1.0.2 --listen 5000 --serve echo
 *   node dist/examples/mptcp-host.js --tun tun0 --address 10.1.0.2 --connect 10.1.0.1:5000 --receive 1000000
 *
 * The kernel has the other address of each TUN: it is the peer, or the way to it.
 */

import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import { type ConnectOptions, createHost, type Host, HostError, type MptcpSocket, openTunDevice } from '../src/index.js';

const USAGE = `usage: mptcp-host --tun NAME --address A [--tun NAME2 --address B] ...
  --listen PORT --serve discard|chargen|echo [--bytes N] [--connections N]
  --connect HOST:PORT --send BYTES | --receive BYTES
options:
  --bytes N              chargen stops after so many (default: when the peer has closed)
  --connections N        the server ends after so many, the client opens so many one after the other (default 1)
  --scheduler NAME       --congestion-control NAME
  --fast-open            server: give cookies; client: data with the SYN, once a first connection has brought a cookie (--connections)
  --no-offloads          packets of one segment each, with complete checksums
  --no-hash              sha256 of nothing: it costs more than all else
  --events               every event as a JSON line on stderr`;

let hashing = true;

const BLOCK_BYTES = 256 << 10;

interface Result {
  bytes: number;
  seconds: number;
  subflows: number;
  fallback: boolean;
  sha256: string;
  sent: number;
  received: number;
}

/** What one connection did. sha256 is of what was received. */
class Measured {
  readonly socket: MptcpSocket;
  received = 0;
  sent = 0;
  private readonly hash = createHash('sha256');
  private readonly startedMs = performance.now();

  constructor(socket: MptcpSocket) {
    this.socket = socket;
  }

  note(chunk: Uint8Array): void {
    this.received += chunk.length;
    if (hashing) this.hash.update(chunk);
  }

  result(): Result {
    const seconds = Math.round(performance.now() - this.startedMs) / 1000;
    const { sent, received, socket } = this;
    const bytes = Math.max(sent, received);
    return { bytes, seconds, subflows: socket.subflowCount, fallback: socket.fallback, sha256: this.hash.digest('hex'), sent, received };
  }
}

/** RFC 864's pattern: lines of 72 printable characters, each shifted by one. */
function chargenBlock(): Buffer {
  const line = (start: number): string =>
    `${Array.from({ length: 72 }, (_, i) => String.fromCharCode(32 + ((start + i) % 95))).join('')}\r\n`;
  const pattern = Array.from({ length: 95 }, (_, i) => line(i)).join('');
  return Buffer.from(pattern.repeat(Math.ceil(BLOCK_BYTES / pattern.length)));
}

async function send(measured: Measured, total: number): Promise<void> {
  const { socket } = measured;
  const block = chargenBlock();
  while (measured.sent < total && !socket.destroyed && !socket.readableEnded) {
    const at = measured.sent % block.length;
    const chunk = block.subarray(at, Math.min(block.length, at + total - measured.sent));
    measured.sent += chunk.length;
    if (!socket.write(chunk)) await drained(socket);
  }
  socket.end();
}

function drained(socket: MptcpSocket): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const name of ['drain', 'close', 'end'] as const) socket.off(name, done);
      resolve();
    };
    for (const name of ['drain', 'close', 'end'] as const) socket.on(name, done);
  });
}

async function serve(socket: MptcpSocket, service: string, total: number): Promise<Result> {
  const measured = new Measured(socket);
  socket.on('data', (chunk: Buffer) => {
    measured.note(chunk);
    if (service !== 'echo') return;
    measured.sent += chunk.length;
    if (socket.write(chunk)) return;
    socket.pause();
    socket.once('drain', () => socket.resume());
  });
  if (service === 'chargen') await send(measured, total);
  else socket.on('end', () => socket.end());
  await socket.whenClosed;
  return measured.result();
}

async function request(socket: MptcpSocket, sendBytes: number, receiveBytes: number): Promise<Result> {
  const measured = new Measured(socket);
  socket.on('data', (chunk: Buffer) => {
    const wanted = receiveBytes < 0 ? chunk.length : Math.min(chunk.length, receiveBytes - measured.received);
    measured.note(chunk.subarray(0, wanted));
    if (receiveBytes >= 0 && measured.received >= receiveBytes) socket.end();
  });
  let failure: Error | undefined;
  socket.on('error', (error) => {
    failure = error;
  });
  if (sendBytes > 0) await send(measured, sendBytes);
  else if (receiveBytes <= 0) socket.end();
  const enough = new Promise<void>((resolve) => {
    if (receiveBytes >= 0) socket.on('data', () => measured.received >= receiveBytes && resolve());
  });
  await Promise.race([socket.whenClosed, enough]);
  const result = measured.result();
  // A source that does not end by itself is left in order, then by force.
  await Promise.race([socket.whenClosed, new Promise((resolve) => setTimeout(resolve, 500).unref())]);
  socket.resetAndDestroy();
  if (failure !== undefined && receiveBytes >= 0 && measured.received < receiveBytes) throw failure;
  if (failure !== undefined && receiveBytes < 0) throw failure;
  return result;
}

function parseEndpoint(text: string): { host: string; port: number } {
  const colon = text.lastIndexOf(':');
  return { host: text.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(text.slice(colon + 1)) };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      tun: { type: 'string', multiple: true },
      address: { type: 'string', multiple: true },
      listen: { type: 'string' },
      serve: { type: 'string' },
      connect: { type: 'string' },
      send: { type: 'string' },
      receive: { type: 'string' },
      bytes: { type: 'string' },
      connections: { type: 'string' },
      scheduler: { type: 'string' },
      'congestion-control': { type: 'string' },
      'fast-open': { type: 'boolean' },
      'no-offloads': { type: 'boolean' },
      'no-hash': { type: 'boolean' },
      events: { type: 'boolean' },
    },
  });
  const { tun: tuns = [], address: addresses = [] } = values;
  hashing = values['no-hash'] !== true;
  const fastOpen = values['fast-open'] === true;
  const isServer = values.listen !== undefined && ['discard', 'chargen', 'echo'].includes(values.serve ?? '');
  const isClient = values.connect !== undefined && (values.send !== undefined || values.receive !== undefined);
  if (tuns.length === 0 || tuns.length !== addresses.length || isServer === isClient) throw new HostError('usage', USAGE);
  const host = createHost({
    devices: tuns.map((name, i) => ({
      device: openTunDevice({ name, offloads: values['no-offloads'] !== true }),
      // A server tells its clients of its further addresses.
      addresses: [{ address: addresses[i] as string, signal: isServer && i > 0 }],
    })),
    fastOpen,
    ...(values.scheduler === undefined ? {} : { scheduler: values.scheduler }),
    ...(values['congestion-control'] === undefined ? {} : { congestionControl: values['congestion-control'] }),
  });
  if (values.events === true) host.on('event', (event) => console.error(JSON.stringify(event)));
  const result = isServer
    ? await runServer(host, Number(values.listen), values.serve as string, values)
    : await runClient(host, { ...parseEndpoint(values.connect as string), fastOpen }, values);
  const { counters } = host;
  const synData = isServer ? counters['fast-open-accepted'] : counters['fast-open-data-taken'];
  console.log(JSON.stringify(fastOpen ? { ...result, openedFast: synData ?? 0 } : result));
  await host.close();
}

/** The result of the last connection. */
async function runClient(
  host: Host,
  options: ConnectOptions,
  values: { send?: string; receive?: string; connections?: string },
): Promise<Result> {
  const [sendBytes, receiveBytes] = [Number(values.send ?? 0), Number(values.receive ?? -1)];
  for (let left = Number(values.connections ?? 1); left > 1; left--) await request(host.connect(options), sendBytes, receiveBytes);
  return await request(host.connect(options), sendBytes, receiveBytes);
}

/** The result of the last connection, sums of all. */
function runServer(host: Host, port: number, service: string, values: { bytes?: string; connections?: string }): Promise<Result> {
  const total = values.bytes === undefined ? Number.POSITIVE_INFINITY : Number(values.bytes);
  let left = Number(values.connections ?? 1);
  return new Promise((resolve) => {
    host.listen(port, (socket) => {
      socket.on('error', () => undefined);
      void serve(socket, service, total).then((result) => {
        left--;
        if (left === 0) resolve(result);
      });
    });
  });
}

await main().catch((error: Error) => {
  console.error(error instanceof HostError ? error.message : error);
  process.exitCode = 1;
});

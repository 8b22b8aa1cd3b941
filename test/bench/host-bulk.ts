/**
 * A client of bulk.py on our host instead of the kernel's sockets; it says what bulk.py's client says, so that the benchmark reads both alike.
 *
 *   host-bulk.js CONTROL TUN=ADDRESS,TUN=ADDRESS download|upload HOST PORT SECONDS
 *
 * `{"subflows": [...]}` at the end, as our side saw them, is for whoever looks for the reason of a figure.
 */

import { createHost, type MptcpSocket, openTunDevice } from '../../src/index.js';

const CHUNK_BYTES = 256 << 10;
const REQUEST_BYTES = 16;
const SAMPLE_MS = 20;

function say(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** The clock of bulk.py. */
function monotonicSec(): number {
  return Number(process.hrtime.bigint()) / 1e9;
}

function receive(socket: MptcpSocket): void {
  let total = 0;
  let lastMs = 0;
  socket.on('data', (chunk: Buffer) => {
    total += chunk.length;
    const nowMs = performance.now();
    if (nowMs - lastMs < SAMPLE_MS) return;
    lastMs = nowMs;
    say([0, monotonicSec(), total]);
  });
}

function send(socket: MptcpSocket): void {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  const fill = (): void => {
    while (!socket.destroyed && socket.write(chunk));
  };
  socket.on('drain', fill);
  fill();
}

const [control = '', devices = '', verb = '', host = '', port = '', seconds = ''] = process.argv.slice(2);
const ours = createHost({
  congestionControl: control,
  devices: devices.split(',').map((device) => {
    const [name = '', address = ''] = device.split('=');
    return { device: openTunDevice({ name }), addresses: [address] };
  }),
});
say({ start: monotonicSec() });
const socket = ours.connect({ host, port: Number(port) });
socket.on('error', (error) => {
  console.error(error.message);
  process.exitCode = 1;
});
socket.once('connect', () => {
  socket.write(`${verb === 'download' ? 'D' : 'U'} 0`.padEnd(REQUEST_BYTES));
  say({ connected: monotonicSec() });
  if (verb === 'download') receive(socket);
  else send(socket);
  setTimeout(() => {
    say({ subflows: socket.subflows, fallback: socket.fallback });
    socket.resetAndDestroy();
  }, Number(seconds) * 1000);
});
await socket.whenClosed;
say({ end: monotonicSec() });
await ours.close();

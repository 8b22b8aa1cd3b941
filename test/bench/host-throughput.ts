/**
 * Our host against the kernel over an unshaped TUN, one subflow, each way; prints JSON. Our host runs in a process of its own (the example), so does the
 * kernel's program; both share this machine's cores.
 *
 *   sudo node dist/test/bench/host-throughput.js [SECONDS] [bbr|cubic|...]
 */

import { execFileSync, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { HostGroup } from '../../src/lab/namespaces.js';

const EXAMPLE = fileURLToPath(new URL('../../examples/mptcp-host.js', import.meta.url));
const PORT = 5000;
/** The kernel's program: as fast as a socket can be read or filled from a script. */
const SINK = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", ${PORT}))
s.listen(1)
print("listening", flush=True)
c, _ = s.accept()
if sys.argv[1] == "discard":
    b = bytearray(1 << 20)
    while c.recv_into(b):
        pass
else:
    b = bytes(1 << 20)
    try:
        while True:
            c.sendall(b)
    except OSError:
        pass
`;

interface Run {
  direction: 'to the kernel' | 'from the kernel';
  bytes: number;
  seconds: number;
  gigabitsPerSec: number;
  subflows: number;
  fallback: boolean;
}

async function run(namespace: string, direction: Run['direction'], bytes: number, more: readonly string[]): Promise<Run> {
  const inside = ['netns', 'exec', namespace];
  const kernel = spawn('ip', [...inside, 'python3', '-c', SINK, direction === 'to the kernel' ? 'discard' : 'chargen'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => kernel.stdout.once('data', resolve));
  const ask = direction === 'to the kernel' ? ['--send', String(bytes)] : ['--receive', String(bytes)];
  const args = [
    ...inside,
    process.execPath,
    EXAMPLE,
    '--tun',
    'tun0',
    '--address',
    '10.1.0.2',
    '--connect',
    `10.1.0.1:${PORT}`,
    ...ask,
    ...more,
  ];
  const out = execFileSync('ip', args, { encoding: 'utf8', maxBuffer: 1 << 20, timeout: 120_000 });
  kernel.kill('SIGKILL');
  const result = JSON.parse(out) as Run;
  return {
    direction,
    bytes: result.bytes,
    seconds: result.seconds,
    gigabitsPerSec: Math.round((result.bytes * 8) / result.seconds / 1e7) / 100,
    subflows: result.subflows,
    fallback: result.fallback,
  };
}

const seconds = Number(process.argv[2] ?? 4);
const control = process.argv[3] ?? 'bbr';
const group = new HostGroup();
try {
  const host = await group.addHost('bench');
  await host.run('sh', ['-e'], {
    input: 'ip link set lo up\nip tuntap add dev tun0 mode tun\nip addr add 10.1.0.1/24 dev tun0\nip link set tun0 txqueuelen 10000 up\n',
  });
  const runs: Run[] = [];
  // A first guess of the rate makes the bytes of a run of so many seconds.
  const bytes = Math.round(seconds * 350e6);
  for (const direction of ['to the kernel', 'from the kernel'] as const) {
    for (let i = 0; i < 2; i++) runs.push(await run(host.namespace, direction, bytes, ['--congestion-control', control, '--no-hash']));
  }
  console.log(JSON.stringify({ bench: 'host-throughput', node: process.version, control, runs }, undefined, 2));
} finally {
  await group.close();
}

/**
 * Our host against the kernel over two emulated links, 50 Mbit/s with 10 ms and 30 Mbit/s with 30 ms one way, beside the kernel against itself over the
 * same links; each way, for each congestion control of the sender. Prints JSON, progress on standard error; ends with 1 when ours carries less than 97 %
 * of what the kernel carries.
 *
 *   sudo node dist/test/bench/host-two-paths.js [RUNS] [SECONDS] [bbr,cubic,...]
 *
 * Our host has a TUN for each link in the client's namespace, whose kernel is the router between them; the far end is the kernel's MPTCP in all cases:
 *
 *   ours    10.91.N.2 --- tunN ---+
 *                                 +--- wanN --- link N --- server
 *   kernel  10.90.N.1 ------------+
 */

import { readFileSync, writeFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { createLab, type Lab, SERVER_PUBLIC_ADDRESS } from '../../src/lab/topology.js';
import { type BulkDirection, type BulkServer, rateBetween, runBulk, startBulkServer } from './profiles/bulk.js';
import { useKernelMptcp } from './profiles/kernel-mptcp.js';
import { drain } from './profiles/measure.js';

const CLIENT = fileURLToPath(new URL('./host-bulk.js', import.meta.url));
const ALLOWED_CONTROLS = '/proc/sys/net/ipv4/tcp_allowed_congestion_control';
const QUEUE = { jitterMs: 0, lossRatio: 0, queuePackets: 1000 };
const LINKS = [
  { rateBitsPerSec: 50e6, delayMs: 10, ...QUEUE },
  { rateBitsPerSec: 30e6, delayMs: 30, ...QUEUE },
] as const;
const WARM_UP_SEC = 2;
/** Of the kernel's own rate, at least. */
const BAR = 0.97;
const DIRECTIONS: readonly BulkDirection[] = ['upload', 'download'];
const HOSTS = ['kernel', 'ours'] as const;
type WhichHost = (typeof HOSTS)[number];

interface Run {
  host: WhichHost;
  control: string;
  direction: BulkDirection;
  /** Payload, after the warm-up and from the connect on. */
  megabits: number;
  megabitsFromStart: number;
  /** Of the machine, before it. */
  load: number;
  /** Of our host at the end; none when the kernel is the client. */
  subflows?: unknown;
}

/** TUNs for a host of ours, and routes between them and the links. */
async function addOurHost(lab: Lab): Promise<void> {
  const client: string[] = ['echo 1 > /proc/sys/net/ipv4/ip_forward'];
  const server: string[] = [];
  for (const [i] of LINKS.entries()) {
    client.push(
      `ip tuntap add dev tun${i} mode tun`,
      `ip addr add 10.91.${i}.1/24 dev tun${i}`,
      `ip link set tun${i} txqueuelen 10000 up`,
      `ip rule add from 10.91.${i}.2 table ${100 + i} priority ${100 + i}`,
    );
    server.push(`ip route add 10.91.${i}.0/24 via 10.90.${i}.1 dev wan${i}`);
  }
  await lab.client.run('sh', ['-ec', client.join('\n')]);
  await lab.server.run('sh', ['-ec', server.join('\n')]);
}

async function measure(lab: Lab, server: BulkServer, host: WhichHost, control: string, direction: BulkDirection): Promise<Run> {
  const load = loadavg()[0] ?? 0;
  let subflows: unknown;
  const devices = LINKS.map((_, i) => `tun${i}=10.91.${i}.2`).join(',');
  const record = await runBulk({
    client: lab.client,
    server,
    serverAddress: SERVER_PUBLIC_ADDRESS,
    direction,
    seconds: WARM_UP_SEC + seconds,
    ...(host === 'kernel' ? { mptcp: true } : { program: [process.execPath, CLIENT, control, devices] }),
    onOther: (line) => {
      if ('subflows' in line) subflows = line.subflows;
    },
  });
  const toSec = record.connectedSec + WARM_UP_SEC + seconds;
  const megabits = (fromSec: number): number => Math.round(rateBetween(record, fromSec, toSec) / 1e4) / 100;
  await drain(lab);
  const rates = { megabits: megabits(record.connectedSec + WARM_UP_SEC), megabitsFromStart: megabits(record.startSec) };
  return { host, control, direction, ...rates, load, ...(host === 'ours' ? { subflows } : {}) };
}

async function measureBoth(control: string, seed: number): Promise<Run[]> {
  const results: Run[] = [];
  for (const host of HOSTS) {
    const lab = await createLab({ links: LINKS, seed });
    try {
      await useKernelMptcp(lab, control);
      if (host === 'ours') await addOurHost(lab);
      const server = await startBulkServer(lab.server, { mptcp: true });
      for (const direction of DIRECTIONS) {
        const result = await measure(lab, server, host, control, direction);
        results.push(result);
        const { megabits, megabitsFromStart, load } = result;
        console.error(`${control} ${direction} ${host}: ${megabits} Mbit/s (${megabitsFromStart} with start-up), load ${load}`);
      }
    } finally {
      await lab.close();
    }
  }
  return results;
}

/**
 * A namespace may make a congestion control its default only when the machine allows that one to everybody. Returns what was allowed before.
 */
function allowControls(names: readonly string[]): string {
  const before = readFileSync(ALLOWED_CONTROLS, 'utf8').trim();
  writeFileSync(ALLOWED_CONTROLS, [...new Set([...before.split(' '), ...names])].join(' '));
  return before;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

const count = Number(process.argv[2] ?? 3);
const seconds = Number(process.argv[3] ?? 10);
const controls = (process.argv[4] ?? 'bbr,cubic').split(',');
const runs: Run[] = [];
const allowedBefore = allowControls(controls);
try {
  for (let seed = 1; seed <= count; seed++) for (const control of controls) runs.push(...(await measureBoth(control, seed)));
} finally {
  writeFileSync(ALLOWED_CONTROLS, allowedBefore);
}

const summary = controls.flatMap((control) =>
  DIRECTIONS.map((direction) => {
    const of = (host: WhichHost, rate: 'megabits' | 'megabitsFromStart'): number =>
      median(runs.filter((run) => run.host === host && run.control === control && run.direction === direction).map((run) => run[rate]));
    const [kernel, ours] = HOSTS.map((host) => of(host, 'megabits')) as [number, number];
    const [kernelFromStart, oursFromStart] = HOSTS.map((host) => of(host, 'megabitsFromStart')) as [number, number];
    return { control, direction, kernel, ours, kernelFromStart, oursFromStart, ratio: Math.round((ours / kernel) * 1000) / 1000 };
  }),
);
const ok = summary.every(({ ratio }) => ratio >= BAR);
console.log(
  JSON.stringify({ bench: 'host-two-paths', node: process.version, links: LINKS, seconds, bar: BAR, ok, summary, runs }, undefined, 2),
);
process.exitCode = ok ? 0 : 1;

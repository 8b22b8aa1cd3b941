/**
 * One TCP stream by iperf3 through the real tunnel, two paths without a limit, both ends on this machine, both directions.
 *
 *   sudo node dist/test/bench/tunnel-throughput.js [SECONDS=5] [RUNS=3]
 *
 * Prints one JSON object: Gbit/s of each run and the median.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { createTunnelRig, SERVER_ADDRESS, type TunnelRig } from '../netns/tunnel-rig.js';

const SECONDS = Number(process.argv[2] ?? 5);
const RUNS = Number(process.argv[3] ?? 3);
/** Without the slow start. */
const OMIT_SECONDS = 1;

async function gbitPerSec(rig: TunnelRig, host: string, reverse: boolean): Promise<number> {
  const args = ['-c', host, '-t', String(SECONDS), '-O', String(OMIT_SECONDS), '-J', ...(reverse ? ['-R'] : [])];
  const { stdout } = await rig.lab.client.run('iperf3', args, { timeoutMs: (SECONDS + 20) * 1000 });
  return JSON.parse(stdout).end.sum_received.bits_per_second / 1e9;
}

async function median(runs: () => Promise<number>): Promise<{ gbitPerSec: number; runs: number[] }> {
  const values: number[] = [];
  for (let i = 0; i < RUNS; i++) values.push(Number((await runs()).toFixed(3)));
  return { gbitPerSec: [...values].sort((a, b) => a - b)[values.length >> 1]!, runs: values };
}

const rig = await createTunnelRig({ links: [{}, {}], wires: true });
try {
  // Where the server itself is the far side, the kernel's own forwarding takes nothing.
  rig.lab.server.spawn('iperf3', ['-s']);
  rig.lab.web.spawn('iperf3', ['-s']);
  await sleep(300);
  const report: Record<string, unknown> = { benchmark: 'tunnel-throughput', seconds: SECONDS };
  for (const [name, host] of [
    ['web', WEB_ADDRESS],
    ['gateway', SERVER_ADDRESS],
  ] as const) {
    report[`${name}Down`] = await median(() => gbitPerSec(rig, host, true));
    report[`${name}Up`] = await median(() => gbitPerSec(rig, host, false));
  }
  const links = await Promise.all(rig.lab.links.map((link) => link.counters()));
  report.linkBytes = links.map(({ upBytes, downBytes }) => ({ upBytes, downBytes }));
  process.stdout.write(`${JSON.stringify(report)}\n`);
} finally {
  await rig.close();
}
process.exit(0);

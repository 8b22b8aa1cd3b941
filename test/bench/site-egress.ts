/**
 * Two sites over two wires, one TCP connection between hosts behind the gateways, with each kind of egress, taken in turns:
 *
 *   sudo node dist/test/bench/site-egress.js [--seconds 5] [--runs 3]
 *
 * Prints one JSON object a run: Gbit/s that arrived, each way, and the CPU seconds of the gateway that dials for each GB, which other work on the machine does not change so
 * much. Needs iperf3.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { TunnelStatus } from '../../src/tunnel/status.js';
import { HOST_B, SiteRig } from '../netns/site-rig.js';
import { cpuSecondsOf } from './performance/processes.js';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '5' }, runs: { type: 'string', default: '3' } } });
const LISTEN_MS = 500;

interface IperfReport {
  end: { sum_sent: { bytes: number }; sum_received: { bits_per_second: number } };
}

async function measure(mode: 'tun' | 'socket'): Promise<Record<string, unknown>> {
  const rig = await SiteRig.create({ links: [{}, {}], wires: true, mode });
  try {
    rig.lanB.spawn('iperf3', ['-s']);
    await sleep(LISTEN_MS);
    const { pid } = JSON.parse((await rig.mptunnel('b', 'status', 'mpt0', '--json')).stdout) as TunnelStatus;
    const cpuSeconds = (): number => {
      const { user, system } = cpuSecondsOf(pid);
      return user + system;
    };
    const transfer = async (...args: string[]) => {
      const before = cpuSeconds();
      const { stdout } = await rig.lanA.run('iperf3', ['-c', HOST_B, '-J', '-t', values.seconds, ...args], { timeoutMs: 120_000 });
      const { sum_sent: sent, sum_received: received } = (JSON.parse(stdout) as IperfReport).end;
      return {
        gbitPerSec: Number((received.bits_per_second / 1e9).toFixed(2)),
        cpuSecondsPerGb: Number((((cpuSeconds() - before) * 1e9) / sent.bytes).toFixed(2)),
      };
    };
    return { egress: mode, up: await transfer(), down: await transfer('-R') };
  } finally {
    await rig.close();
  }
}

for (let run = 0; run < Number(values.runs); run++) {
  for (const mode of ['socket', 'tun'] as const) process.stdout.write(`${JSON.stringify(await measure(mode))}\n`);
}

/**
 * Two sites over two wires, one TCP connection between hosts behind the gateways, with each kind of egress, taken in turns:
 *
 *   sudo node dist/test/bench/site-egress.js [--seconds 5] [--runs 3]
 *
 * Prints one JSON object a run: Gbit/s that arrived, each way. Needs iperf3.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { HOST_B, SiteRig } from '../netns/site-rig.js';

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '5' }, runs: { type: 'string', default: '3' } } });
const LISTEN_MS = 500;

interface IperfReport {
  end: { sum_received: { bits_per_second: number } };
}

async function measure(mode: 'tun' | 'socket'): Promise<Record<string, unknown>> {
  const rig = await SiteRig.create({ links: [{}, {}], wires: true, mode });
  try {
    rig.lanB.spawn('iperf3', ['-s']);
    await sleep(LISTEN_MS);
    const gbitPerSec = async (...args: string[]): Promise<number> => {
      const command = ['-c', HOST_B, '-J', '-O', '1', '-t', values.seconds, ...args];
      const { stdout } = await rig.lanA.run('iperf3', command, { timeoutMs: 120_000 });
      return Number(((JSON.parse(stdout) as IperfReport).end.sum_received.bits_per_second / 1e9).toFixed(2));
    };
    return { egress: mode, up: await gbitPerSec(), down: await gbitPerSec('-R') };
  } finally {
    await rig.close();
  }
}

for (let run = 0; run < Number(values.runs); run++) {
  for (const mode of ['socket', 'tun'] as const) process.stdout.write(`${JSON.stringify(await measure(mode))}\n`);
}

/** The real program on both ends of 50 Mbit/s, 10 ms and 30 Mbit/s, 30 ms: one TCP stream runs by both links. */

import t from 'tap';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { runTraffic, startTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { createTunnelRig, rateBetween, type TunnelRig } from './tunnel-rig.js';

const LINKS = [
  { rateBitsPerSec: 50e6, delayMs: 10, queuePackets: 300 },
  { rateBitsPerSec: 30e6, delayMs: 30, queuePackets: 250 },
];
const SECONDS = 6;
/** Without the slow start. */
const STEADY_MS = 1500;
const TARGET = { host: WEB_ADDRESS, port: TRAFFIC_PORT };

/** Every byte is checked by its receiver; a wrong one rejects. */
async function measure(rig: TunnelRig, op: 'download' | 'upload'): Promise<number> {
  const samples: { atMs: number; bytes: number }[] = [];
  await runTraffic(rig.lab.client, { op, ...TARGET, seconds: SECONDS }, (line) => {
    if (line.type === 'sample') samples.push(line);
  });
  return rateBetween(samples, STEADY_MS, Number.POSITIVE_INFINITY);
}

const mbit = (bitsPerSec: number): string => `${(bitsPerSec / 1e6).toFixed(1)} Mbit/s`;

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

t.setTimeout(90_000);

t.test('one TCP stream over two links', async (t) => {
  const rig = await createTunnelRig({ links: LINKS });
  t.teardown(() => rig.close());
  await startTrafficServer(rig.lab.web);

  for (const op of ['download', 'upload'] as const) {
    const rate = await measure(rig, op);
    t.comment(`${op}: ${mbit(rate)}`);
    t.ok(rate > 55e6, `${op}: faster than the best link alone`);
  }

  const echoes = { op: 'echo', ...TARGET, count: 10, intervalMs: 100 } as const;
  const idle = median((await runTraffic(rig.lab.client, echoes)).timesMs!);
  const load = startTraffic(rig.lab.client, { op: 'download', ...TARGET });
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const loaded = median((await runTraffic(rig.lab.client, echoes)).timesMs!);
  load.stop();
  t.equal((await load.result).error, undefined, 'the download beside them is whole');
  t.comment(`first echoed byte of a new connection: ${idle.toFixed(0)} ms idle, ${loaded.toFixed(0)} ms under load`);
  t.ok(loaded < 5 * idle, 'a new connection is answered soon while a download fills both links');

  await Promise.all(rig.lab.links.map((link) => link.setShape({ lossRatio: 0.01 })));
  for (const op of ['download', 'upload'] as const) {
    const rate = await measure(rig, op);
    t.comment(`${op} with 1 % loss on both: ${mbit(rate)}`);
    t.ok(rate > 45e6, `${op} with 1 % loss on both links`);
  }
});

/**
 * The first echoed byte of a new TCP connection, with idle links and while one download fills both.
 *
 *   sudo node dist/test/bench/tunnel-latency.js [TRIES=20]
 *
 * Prints one JSON object, times in milliseconds.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { WEB_ADDRESS } from '../../src/lab/topology.js';
import { runTraffic, startTraffic, startTrafficServer, TRAFFIC_PORT } from '../../src/lab/traffic.js';
import { createTunnelRig } from '../netns/tunnel-rig.js';

const TRIES = Number(process.argv[2] ?? 20);
const LINKS = [
  { rateBitsPerSec: 50e6, delayMs: 10, queuePackets: 300 },
  { rateBitsPerSec: 30e6, delayMs: 30, queuePackets: 250 },
];
const TARGET = { host: WEB_ADDRESS, port: TRAFFIC_PORT };

function summary(times: readonly number[]): { medianMs: number; p90Ms: number; maxMs: number } {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (part: number): number =>
    Math.round((sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN) * 10) / 10;
  return { medianMs: at(0.5), p90Ms: at(0.9), maxMs: at(1) };
}

const rig = await createTunnelRig({ links: LINKS });
try {
  await startTrafficServer(rig.lab.web);
  const echoes = { op: 'echo', ...TARGET, count: TRIES, intervalMs: 200 } as const;
  const idle = summary((await runTraffic(rig.lab.client, echoes)).timesMs!);
  const report: Record<string, unknown> = { benchmark: 'tunnel-latency', tries: TRIES, idle };
  for (const op of ['download', 'upload'] as const) {
    const load = startTraffic(rig.lab.client, { op, ...TARGET });
    await sleep(3000);
    const loaded = summary((await runTraffic(rig.lab.client, echoes)).timesMs!);
    load.stop();
    const { bitsPerSec, error } = await load.result;
    const timesIdle = Math.round((loaded.medianMs / idle.medianMs) * 100) / 100;
    report[op] = {
      ...loaded,
      timesIdle,
      loadMbitPerSec: Math.round((bitsPerSec ?? 0) / 1e5) / 10,
      ...(error === undefined ? {} : { error }),
    };
    await sleep(1000);
  }
  process.stdout.write(`${JSON.stringify(report)}\n`);
} finally {
  await rig.close();
}
process.exit(0);

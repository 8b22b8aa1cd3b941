/** What others feel while one TCP stream has all that the machine, or all that the links give. */

import { setTimeout as sleep } from 'node:timers/promises';
import { runTraffic, startTraffic, startTrafficServer, TRAFFIC_PORT } from '../../../src/lab/traffic.js';
import { median } from '../profiles/report.js';
import type { Carrier } from './carrier.js';
import { bothWays, directionRows, tcpBitsPerSec } from './iperf.js';
import { CARRIERS, type Figures, type Group, TWO_WIRES } from './row.js';

const PING_INTERVAL_SECONDS = 0.05;
/** The stream is at full speed then. */
const AFTER_MS = 1500;

async function pingMs(carrier: Carrier, seconds: number): Promise<number> {
  const count = Math.floor(seconds / PING_INTERVAL_SECONDS);
  const args = ['-n', '-i', String(PING_INTERVAL_SECONDS), '-c', String(count), '-W', '2', carrier.gateway];
  const { stdout } = await carrier.lab.client.run('ping', args);
  const times = [...stdout.matchAll(/time=([\d.]+) ms/g)].map((match) => Number(match[1]));
  // One that got no answer is worse than every answer.
  return median([...times, ...Array<number>(count - times.length).fill(Number.POSITIVE_INFINITY)]);
}

const ECHOES = 20;
const ECHO_INTERVAL_MS = 200;
const FILL_MS = 3000;
const DRAIN_MS = 1000;
/** Two links that a stream can fill. */
const SLOW_LINKS = [
  { rateBitsPerSec: 50e6, delayMs: 10, queuePackets: 300 },
  { rateBitsPerSec: 30e6, delayMs: 30, queuePackets: 250 },
];

async function firstByte(carrier: Carrier): Promise<Figures> {
  const { client, server } = carrier.lab;
  const target = { host: carrier.gateway, port: TRAFFIC_PORT };
  const traffic = await startTrafficServer(server);
  const echo = async (): Promise<number> =>
    median((await runTraffic(client, { op: 'echo', ...target, count: ECHOES, intervalMs: ECHO_INTERVAL_MS })).timesMs ?? []);
  try {
    const idleMs = await echo();
    return await bothWays('first-byte', async (direction) => {
      const load = startTraffic(client, { op: direction === 'down' ? 'download' : 'upload', ...target });
      await sleep(FILL_MS);
      const underLoadMs = await echo();
      load.stop();
      const { error } = await load.result;
      if (error !== undefined) throw new Error(error);
      await sleep(DRAIN_MS);
      return underLoadMs / idleMs;
    });
  } finally {
    traffic.close();
  }
}

export const LATENCY_GROUPS: readonly Group[] = [
  {
    name: 'first-byte',
    rows: directionRows(
      'first-byte',
      (way) =>
        `first echoed byte of a new connection while one stream ${way} fills both links (50 Mbit/s, 10 ms + 30 Mbit/s, 30 ms), median`,
      { unit: 'times idle', bar: 3, better: 'less', digits: 2 },
    ),
    carriers: ['ours'],
    setup: { links: SLOW_LINKS, wires: false },
    measure: firstByte,
  },
  {
    name: 'ping-under-load',
    rows: directionRows('ping-under-load', (way) => `ping under full load, one stream ${way}, median`, {
      unit: 'ms',
      bar: 5,
      aim: 2,
      better: 'less',
      digits: 2,
    }),
    carriers: CARRIERS,
    setup: TWO_WIRES,
    measure: (carrier, { seconds }) =>
      bothWays('ping-under-load', async (direction) => {
        const load = tcpBitsPerSec(carrier, direction, { seconds: seconds + 1 });
        load.catch(() => undefined);
        await sleep(AFTER_MS);
        const medianMs = await pingMs(carrier, seconds);
        await load;
        return medianMs;
      }),
  },
];

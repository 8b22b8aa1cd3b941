/** What a ping takes while one TCP stream has all that the machine gives. */

import { setTimeout as sleep } from 'node:timers/promises';
import { median } from '../profiles/report.js';
import type { Carrier } from './carrier.js';
import { DIRECTIONS, tcpBitsPerSec } from './iperf.js';
import { CARRIERS, type Figures, type Group } from './row.js';

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

export const LATENCY_GROUPS: readonly Group[] = [
  {
    name: 'ping-under-load',
    rows: DIRECTIONS.map((direction) => ({
      name: `ping-under-load-${direction}`,
      title: `ping under full load, one stream ${direction}, median`,
      unit: 'ms',
      bar: 5,
      aim: 2,
      better: 'less',
      digits: 2,
    })),
    carriers: CARRIERS,
    setup: { links: [{}, {}], wires: true },
    measure: async (carrier, { seconds }) => {
      const figures: Record<string, number> = {};
      for (const direction of DIRECTIONS) {
        const load = tcpBitsPerSec(carrier, direction, { seconds: seconds + 1 });
        load.catch(() => undefined);
        await sleep(AFTER_MS);
        figures[`ping-under-load-${direction}`] = await pingMs(carrier, seconds);
        await load;
      }
      return figures satisfies Figures;
    },
  },
];

/** Whether many streams that start together get the same: Jain's index over their rates. */

import { type BulkDirection, bytesAt, runBulk } from './bulk.js';
import { type Carrier, drain, openCarrier, WARM_UP_SEC } from './measure.js';
import type { Profile } from './profiles.js';
import { table } from './report.js';

export const FAIR_INDEX = 0.95;

export interface FairnessResult {
  profile: string;
  carrier: Carrier;
  direction: BulkDirection;
  jain: number;
  megabits: number[];
  ok: boolean;
}

/** 1: all the same; 1/n: one has everything. */
export function jainIndex(values: readonly number[]): number {
  const sum = values.reduce((a, b) => a + b, 0);
  const squares = values.reduce((a, b) => a + b * b, 0);
  return squares === 0 ? 0 : (sum * sum) / (values.length * squares);
}

export async function runFairness(profile: Profile, carrier: Carrier, connections: number, seconds: number): Promise<FairnessResult[]> {
  const carried = await openCarrier(carrier, profile, { seed: 1 });
  const { lab, server, serverAddress, mptcp } = carried;
  try {
    const results: FairnessResult[] = [];
    for (const direction of ['download', 'upload'] as const) {
      const record = await runBulk({
        client: lab.client,
        server,
        serverAddress,
        direction,
        mptcp,
        connections,
        seconds: seconds + WARM_UP_SEC,
      });
      const fromSec = record.connectedSec + WARM_UP_SEC;
      const megabits = record.samples.map(
        (samples) => ((bytesAt(samples, fromSec + seconds) - bytesAt(samples, fromSec)) * 8e-6) / seconds,
      );
      const jain = jainIndex(megabits);
      results.push({ profile: profile.name, carrier, direction, jain, megabits, ok: jain >= FAIR_INDEX });
      await drain(lab);
    }
    return results;
  } finally {
    await carried.close();
  }
}

export function fairnessTable(results: readonly FairnessResult[]): string {
  const rows = results.map(({ profile, carrier, direction, jain, megabits, ok }) => [
    profile,
    carrier,
    direction,
    String(megabits.length),
    jain.toFixed(3),
    `${Math.min(...megabits).toFixed(2)} - ${Math.max(...megabits).toFixed(2)}`,
    ok ? 'ok' : 'unfair',
  ]);
  return table(['profile', 'carrier', 'direction', 'connections', "Jain's index", 'least - most Mbit/s', 'verdict'], rows);
}

/** A web-like load: many objects, some at a time, each by its own connection; all links together against each alone, all through the tunnel. */

import { seededRandom } from '../../../src/lab/link-queue.js';
import { fetchObjects } from './bulk.js';
import { openCarrier } from './measure.js';
import { type Profile, singleLink } from './profiles.js';
import { median, table } from './report.js';

const LEAST_BYTES = 2_000;
const MOST_BYTES = 2_000_000;

export interface ShortFlowsResult {
  profile: string;
  links: 'all' | number;
  objects: number;
  totalSec: number;
  medianFirstByteMs: number;
  errors: string[];
}

/** Sizes even on a logarithmic scale: most are small, most bytes are in the large ones. */
export function objectSizes(count: number, seed: number): number[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, () => Math.round(LEAST_BYTES * (MOST_BYTES / LEAST_BYTES) ** random()));
}

export async function runShortFlows(profile: Profile, objects: number, parallel: number): Promise<ShortFlowsResult[]> {
  const sizes = objectSizes(objects, 1);
  const set: ['all' | number, Profile][] = [['all', profile]];
  for (const index of profile.paths.keys()) set.push([index, singleLink(profile, index)]);
  const results: ShortFlowsResult[] = [];
  for (const [links, one] of set) {
    const carried = await openCarrier('tunnel', one, { seed: 1 });
    try {
      const record = await fetchObjects(carried.lab.client, carried.serverAddress, parallel, sizes);
      const medianFirstByteMs = median(record.objects.map(({ firstByteSec }) => firstByteSec)) * 1000;
      const { totalSec, errors } = record;
      results.push({ profile: profile.name, links, objects: record.objects.length, totalSec, medianFirstByteMs, errors });
    } finally {
      await carried.close();
    }
  }
  return results;
}

export function shortFlowsOk(results: readonly ShortFlowsResult[]): boolean {
  const all = results.find(({ links }) => links === 'all');
  const best = Math.min(...results.filter(({ links }) => links !== 'all').map(({ totalSec }) => totalSec));
  return all !== undefined && all.totalSec <= best && results.every(({ errors }) => errors.length === 0);
}

export function shortFlowsTable(results: readonly ShortFlowsResult[]): string {
  const rows = results.map(({ profile, links, objects, totalSec, medianFirstByteMs, errors }) => [
    profile,
    links === 'all' ? 'all links' : `link ${links} alone`,
    String(objects),
    totalSec.toFixed(2),
    medianFirstByteMs.toFixed(0),
    String(errors.length),
  ]);
  return table(['profile', 'links', 'objects', 'total, s', 'first byte, median ms', 'errors'], rows);
}

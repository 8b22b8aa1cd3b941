/** How a call and a video fare: a steady flow of datagrams each way, on idle links and beside a TCP download that fills them. */

import { type CallRecord, runBulk, runCall } from './bulk.js';
import { countersOf, openCarrier } from './measure.js';
import type { Profile } from './profiles.js';
import { table } from './report.js';

const FLOWS = {
  call: { packetsPerSec: 50, payloadBytes: 172 },
  video: { packetsPerSec: 400, payloadBytes: 1200 },
} as const;
const SETTLE_SEC = 3;

export interface UdpResult {
  profile: string;
  flow: keyof typeof FLOWS;
  beside: 'nothing' | 'download';
  lossRatio: number;
  /** Arrivals at the client behind a later one. */
  reordered: number;
  /** One way. */
  upMs: { median: number; p99: number };
  downMs: { median: number; p99: number };
  /** Longest time without an arrival at the client. */
  longestGapMs: number;
  /** IP bytes over each link meanwhile, both ways. */
  linkBytes: number[];
}

export async function runUdp(profile: Profile, seconds: number): Promise<UdpResult[]> {
  const carried = await openCarrier('tunnel', profile, { seed: 1 });
  const { lab, server, serverAddress } = carried;
  const results: UdpResult[] = [];
  try {
    for (const beside of ['nothing', 'download'] as const) {
      for (const [flow, shape] of Object.entries(FLOWS) as [keyof typeof FLOWS, (typeof FLOWS)[keyof typeof FLOWS]][]) {
        const loadSec = seconds + SETTLE_SEC + 3;
        const load =
          beside === 'nothing'
            ? undefined
            : runBulk({ client: lab.client, server, serverAddress, direction: 'download', seconds: loadSec });
        if (load !== undefined) await new Promise((resolve) => setTimeout(resolve, SETTLE_SEC * 1000));
        const before = await countersOf(lab);
        const call = await runCall(lab.client, lab.web, serverAddress, { ...shape, seconds });
        const after = await countersOf(lab);
        await load;
        const linkBytes = after.map((now, i) => now.upBytes + now.downBytes - before[i]!.upBytes - before[i]!.downBytes);
        results.push({ profile: profile.name, flow, beside, ...describeCall(call), linkBytes });
      }
    }
    return results;
  } finally {
    await carried.close();
  }
}

export function describeCall({ packets, sentPackets }: CallRecord): Omit<UdpResult, 'profile' | 'flow' | 'beside' | 'linkBytes'> {
  let highest = -1;
  let reordered = 0;
  let longestGapMs = 0;
  for (const [i, { sequence, backSec }] of packets.entries()) {
    if (sequence < highest) reordered++;
    highest = Math.max(highest, sequence);
    if (i > 0) longestGapMs = Math.max(longestGapMs, (backSec - packets[i - 1]!.backSec) * 1000);
  }
  const unique = new Set(packets.map(({ sequence }) => sequence)).size;
  return {
    lossRatio: sentPackets === 0 ? 1 : 1 - unique / sentPackets,
    reordered,
    upMs: quantiles(packets.map(({ sentSec, farSec }) => (farSec - sentSec) * 1000)),
    downMs: quantiles(packets.map(({ farSec, backSec }) => (backSec - farSec) * 1000)),
    longestGapMs,
  };
}

function quantiles(values: number[]): { median: number; p99: number } {
  const sorted = values.sort((a, b) => a - b);
  const at = (q: number): number => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
  return { median: at(0.5), p99: at(0.99) };
}

export function udpTable(results: readonly UdpResult[]): string {
  const rows = results.map((one) => [
    one.profile,
    one.flow,
    one.beside,
    `${(one.lossRatio * 100).toFixed(2)} %`,
    String(one.reordered),
    `${one.upMs.median.toFixed(0)} / ${one.upMs.p99.toFixed(0)}`,
    `${one.downMs.median.toFixed(0)} / ${one.downMs.p99.toFixed(0)}`,
    one.longestGapMs.toFixed(0),
  ]);
  return table(['profile', 'flow', 'beside', 'lost', 'reordered', 'up, median / p99 ms', 'down, median / p99 ms', 'longest gap, ms'], rows);
}

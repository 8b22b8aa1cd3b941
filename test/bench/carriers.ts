/**
 * What paths carry over each carrier:
 *
 *   sudo node dist/test/bench/carriers.js [--seconds 8] [--runs 3] [CASE ...]
 *
 * Prints one JSON object a case: one TCP stream each way, Mbit/s, median of the runs, of the sum of the links' rates; and the first echoed byte of a new connection, idle
 * and beside a download.
 */

import { parseArgs } from 'node:util';
import type { CarrierKind } from '../../src/tunnel/carrier/carrier.js';
import { CARRIER_PORT, carriersOf, createCarrierRig, firstByteMs, rateOf } from '../netns/carrier-rig.js';
import { until } from '../netns/tunnel-rig.js';

interface Case {
  readonly carriers: readonly CarrierKind[];
  /** WebTransport goes over HTTP/3; absent: UDP to its port is dropped, so that it goes over HTTP/2. */
  readonly http3?: true;
  /** Mbit/s and one-way delay, ms; absent: a wire. */
  readonly links?: readonly (readonly [mbit: number, delayMs: number])[];
}

const CASES: Readonly<Record<string, Case>> = {
  'udp+webtransport': {
    carriers: ['udp', 'webtransport'],
    links: [
      [50, 10],
      [30, 30],
    ],
  },
  'quic+quic': {
    carriers: ['quic', 'quic'],
    links: [
      [50, 10],
      [30, 30],
    ],
  },
  'udp+udp': {
    carriers: ['udp', 'udp'],
    links: [
      [50, 10],
      [30, 30],
    ],
  },
  'webtransport+webtransport': {
    carriers: ['webtransport', 'webtransport'],
    links: [
      [50, 10],
      [30, 30],
    ],
  },
  'quic-unlimited': { carriers: ['quic'] },
  'webtransport-unlimited': { carriers: ['webtransport'] },
  'http3-unlimited': { carriers: ['webtransport'], http3: true },
};
const STEADY_MS = 2000;
const UP_LIMIT_MS = 15_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '8' }, runs: { type: 'string', default: '3' } },
});

async function measure(name: string, { carriers, links, http3 }: Case): Promise<Record<string, unknown>> {
  const paths = carriers.map((carrier, i) => `[[path]]\nname = "p${i}"\ninterface = "wan${i}"\ncarrier = "${carrier}"\n`).join('');
  const shapes = links === undefined ? [{}] : links.map(([mbit, delayMs]) => ({ rateBitsPerSec: mbit * 1e6, delayMs, queuePackets: 300 }));
  const blocked = carriers.includes('webtransport') && http3 !== true ? `udp dport ${CARRIER_PORT} drop;` : '';
  const rig = await createCarrierRig({ links: shapes, paths, blocked, ...(links === undefined ? { wires: true } : {}) });
  try {
    await until('up', async () => `${await carriersOf(rig)}` === `${carriers}`, UP_LIMIT_MS);
    const rates: Record<'download' | 'upload', number[]> = { download: [], upload: [] };
    for (let run = 0; run < Number(values.runs); run++) {
      for (const op of ['download', 'upload'] as const) rates[op].push((await rateOf(rig, op, Number(values.seconds), STEADY_MS)) / 1e6);
    }
    const sumMbit = links?.reduce((sum, [mbit]) => sum + mbit, 0);
    const figures = Object.entries(rates).map(([op, all]) => {
      const mbit = [...all].sort((a, b) => a - b)[all.length >> 1]!;
      return [op, { mbit: Number(mbit.toFixed(1)), ...(sumMbit === undefined ? {} : { share: Number((mbit / sumMbit).toFixed(3)) }) }];
    });
    const { idleMs, loadedMs } = await firstByteMs(rig);
    return { case: name, ...Object.fromEntries(figures), firstByteIdleMs: Math.round(idleMs), firstByteLoadedMs: Math.round(loadedMs) };
  } finally {
    await rig.close();
  }
}

for (const name of positionals.length > 0 ? positionals : Object.keys(CASES)) {
  const one = CASES[name];
  if (one === undefined) throw new Error(`"${name}" is no case: known are ${Object.keys(CASES).join(', ')}`);
  process.stdout.write(`${JSON.stringify(await measure(name, one))}\n`);
}

/** One transfer through cuts of a link, drawn: what each link and the application carry over time, as SVG. */

import type { BulkDirection } from './bulk.js';
import { bytesAt, monotonicSec, runBulk } from './bulk.js';
import { openCarrier } from './measure.js';
import type { Profile } from './profiles.js';

const SAMPLE_MS = 100;
const SMOOTHING_SEC = 0.2;
const TIMELINE = [
  { atSec: 4, what: 'cut silently', down: true, silent: true },
  { atSec: 8, what: 'back', down: false, silent: true },
  { atSec: 12, what: 'link down', down: true, silent: false },
  { atSec: 16, what: 'link up', down: false, silent: false },
] as const;
const SECONDS = 20;
const WIDTH = 760;
const HEIGHT = 260;

export interface Plot {
  profile: string;
  direction: BulkDirection;
  /** Mbit/s; of the links in IP packets, of the application in its bytes. */
  points: { second: number; what: string; mbitPerSec: number }[];
  events: { second: number; what: string }[];
}

/** The first link is the one that is cut. */
export async function runPlot(profile: Profile, direction: BulkDirection): Promise<Plot> {
  const carried = await openCarrier('tunnel', profile, { seed: 1 });
  const { lab, server, serverAddress, mptcp } = carried;
  const linkSamples: { atSec: number; bytes: number }[][] = profile.paths.map(() => []);
  const events: { atSec: number; what: string }[] = [];
  let sampler: NodeJS.Timeout | undefined;
  const timers: NodeJS.Timeout[] = [];
  try {
    const sample = async (): Promise<void> => {
      const counters = await Promise.all(lab.links.map((link) => link.counters()));
      const atSec = monotonicSec();
      for (const [i, { downBytes, upBytes }] of counters.entries())
        linkSamples[i]?.push({ atSec, bytes: direction === 'download' ? downBytes : upBytes });
    };
    const onConnected = (): void => {
      sampler = setInterval(() => void sample(), SAMPLE_MS);
      const link = lab.links[0]!;
      for (const { atSec, what, down, silent } of TIMELINE) {
        timers.push(
          setTimeout(() => {
            events.push({ atSec: monotonicSec(), what });
            void (silent ? link.blackhole(down) : link.setDown(down));
          }, atSec * 1000),
        );
      }
    };
    const record = await runBulk({ client: lab.client, server, serverAddress, direction, mptcp, seconds: SECONDS, onConnected });
    const start = record.connectedSec;
    const points: Plot['points'] = [];
    const add = (what: string, samples: readonly { atSec: number; bytes: number }[]): void => {
      for (let second = SMOOTHING_SEC; second < SECONDS; second += SAMPLE_MS / 1000) {
        const bytes = bytesAt(samples, start + second) - bytesAt(samples, start + second - SMOOTHING_SEC);
        points.push({ second: round(second), what, mbitPerSec: round((bytes * 8) / SMOOTHING_SEC / 1e6) });
      }
    };
    for (const [i, { rateBitsPerSec, delayMs }] of profile.paths.entries())
      add(`link ${i + 1}: ${rateBitsPerSec / 1e6} Mbit/s, ${delayMs} ms`, linkSamples[i] ?? []);
    add('application', record.samples[0] ?? []);
    return { profile: profile.name, direction, points, events: events.map(({ atSec, what }) => ({ second: round(atSec - start), what })) };
  } finally {
    clearInterval(sampler);
    for (const timer of timers) clearTimeout(timer);
    await carried.close();
  }
}

export async function plotSvg(plot: Plot): Promise<string> {
  const [{ parse, View }, { compile }] = await Promise.all([import('vega'), import('vega-lite')]);
  const second = { field: 'second', type: 'quantitative' as const, title: 'seconds', scale: { domain: [0, SECONDS], nice: false } };
  const { spec } = compile({
    width: WIDTH,
    height: HEIGHT,
    background: 'white',
    title: `${plot.profile}, one TCP ${plot.direction}`,
    layer: [
      {
        data: { values: plot.points },
        mark: { type: 'line', strokeWidth: 1.5 },
        encoding: {
          x: second,
          y: { field: 'mbitPerSec', type: 'quantitative', title: 'Mbit/s' },
          color: { field: 'what', type: 'nominal', title: null, legend: { orient: 'bottom' } },
        },
      },
      { data: { values: plot.events }, mark: { type: 'rule', strokeDash: [4, 3], color: 'gray' }, encoding: { x: second } },
      {
        data: { values: plot.events },
        mark: { type: 'text', align: 'left', dx: 3, baseline: 'top', color: 'gray' },
        encoding: { x: second, y: { value: 0 }, text: { field: 'what' } },
      },
    ],
  });
  return new View(parse(spec), { renderer: 'none' }).toSVG();
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

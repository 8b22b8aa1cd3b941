/** A link is cut in the middle of a transfer, silently and then with a link event: how long the stream stands, how soon the link is used again. */

import type { EmulatedLink } from '../../../src/lab/lab-api.js';
import type { Lab } from '../../../src/lab/topology.js';
import { type BulkDirection, longestGapMs, monotonicSec, runBulk, runCall } from './bulk.js';
import { type Carrier, drain, openCarrier } from './measure.js';
import type { Profile } from './profiles.js';
import { table } from './report.js';

export type Cut = 'silent' | 'event';

export interface FailoverResult {
  profile: string;
  carrier: Carrier;
  flow: BulkDirection | 'udp';
  cut: Cut;
  link: number;
  /** Longest time without a byte in the second after the cut. */
  gapMs: number;
  /** The same from then to the return: what the links that remain have by themselves, by loss and jitter. */
  laterGapMs: number;
  gapBoundMs: number;
  /** What the delay of the links that remain costs alone, where everything else takes no time. */
  leastGapMs: number;
  /** From the return until the link carried data again; Infinity: it did not. null in JSON. */
  returnMs: number | undefined;
  ok: boolean;
}

const START_SEC = 4;
const DOWN_SEC = 3;
const UP_SEC = 3;
/** What the cut itself costs is over by then. */
const CUT_SEC = 1;
const RETURN_BOUND_MS = 1000;
const POLL_MS = 50;
/** A link is used again when it carries this part of its rate: probes are less. */
const USED_RATIO = 0.05;
const CALL = { packetsPerSec: 100, payloadBytes: 172 };

type Arrival = Parameters<typeof longestGapMs>[0][number];

interface Moment {
  cut: Cut;
  cutSec: number;
  backSec: number;
  returnMs?: number | undefined;
}

function gapBoundMs(cut: Cut, profile: Profile): number {
  const slowestRttMs = 2 * Math.max(...profile.paths.map(({ delayMs }) => delayMs));
  return cut === 'silent' ? 300 + 2 * slowestRttMs : 100;
}

/** The news of an event crosses a remaining link where the other side sends, and then what was lost does. A silent cut has to be found out first. */
function leastGapMs(cut: Cut, flow: FailoverResult['flow'], link: number, profile: Profile): number {
  const delayMs = Math.min(...profile.paths.filter((_, index) => index !== link).map((path) => path.delayMs));
  if (cut === 'silent') return 0;
  return flow === 'upload' ? delayMs : 2 * delayMs;
}

export async function runFailover(profile: Profile, carrier: Carrier): Promise<FailoverResult[]> {
  const carried = await openCarrier(carrier, profile, { seed: 1 });
  const { lab, server, serverAddress, mptcp } = carried;
  const results: FailoverResult[] = [];
  const add = (flow: FailoverResult['flow'], link: number, arrivals: readonly Arrival[], moment: Moment): void => {
    const afterSec = moment.cutSec + CUT_SEC;
    const gapMs = longestGapMs(arrivals, moment.cutSec, afterSec);
    const laterGapMs = longestGapMs(arrivals, afterSec, moment.backSec);
    const bound = gapBoundMs(moment.cut, profile);
    const returned = flow === 'udp' || (moment.returnMs ?? Number.POSITIVE_INFINITY) <= RETURN_BOUND_MS;
    const common = { profile: profile.name, carrier, flow, cut: moment.cut, link };
    const least = leastGapMs(moment.cut, flow, link, profile);
    results.push({
      ...common,
      gapMs,
      laterGapMs,
      gapBoundMs: bound,
      leastGapMs: least,
      returnMs: moment.returnMs,
      ok: gapMs <= bound && returned,
    });
  };
  const seconds = START_SEC + 2 * (DOWN_SEC + UP_SEC);
  try {
    for (const link of profile.paths.keys()) {
      for (const direction of ['download', 'upload'] as const) {
        let moments: Promise<Moment[]> = Promise.resolve([]);
        const onConnected = () => {
          moments = playCuts(lab, link, profile, direction);
        };
        const record = await runBulk({ client: lab.client, server, serverAddress, direction, mptcp, seconds, onConnected });
        for (const moment of await moments) {
          add(direction, link, record.samples[0] ?? [], moment);
        }
        await drain(lab);
      }
      if (carrier === 'kernel') continue;
      let moments: Promise<Moment[]> = Promise.resolve([]);
      const onStart = () => {
        moments = playCuts(lab, link, profile, undefined);
      };
      const call = await runCall(lab.client, lab.web, serverAddress, { ...CALL, seconds, onStart });
      const arrivals = call.packets.map(({ backSec }, i) => ({ atSec: backSec, bytes: i + 1 }));
      for (const moment of await moments) add('udp', link, arrivals, moment);
    }
    return results;
  } finally {
    await carried.close();
  }
}

async function playCuts(lab: Lab, index: number, profile: Profile, direction: BulkDirection | undefined): Promise<Moment[]> {
  const link = lab.links[index]!;
  const moments: Moment[] = [];
  await sleep(START_SEC);
  for (const cut of ['silent', 'event'] as const) {
    const set = (down: boolean): Promise<void> => (cut === 'silent' ? link.blackhole(down) : link.setDown(down));
    const cutSec = monotonicSec();
    await set(true);
    await sleep(DOWN_SEC);
    await set(false);
    const backSec = monotonicSec();
    const moment: Moment = { cut, cutSec, backSec };
    if (direction !== undefined) moment.returnMs = await whenUsed(link, direction, profile.paths[index]!.rateBitsPerSec, backSec);
    moments.push(moment);
    await sleep(UP_SEC - (monotonicSec() - backSec));
  }
  return moments;
}

async function whenUsed(
  link: EmulatedLink,
  direction: BulkDirection,
  rateBitsPerSec: number,
  sinceSec: number,
): Promise<number | undefined> {
  const bytes = async (): Promise<number> => {
    const counters = await link.counters();
    return direction === 'download' ? counters.downBytes : counters.upBytes;
  };
  let before = await bytes();
  let beforeSec = monotonicSec();
  while (monotonicSec() - sinceSec < UP_SEC - 0.2) {
    await sleep(POLL_MS / 1000);
    const now = await bytes();
    const nowSec = monotonicSec();
    if (((now - before) * 8) / (nowSec - beforeSec) > USED_RATIO * rateBitsPerSec) return (nowSec - sinceSec) * 1000;
    before = now;
    beforeSec = nowSec;
  }
  return undefined;
}

function sleep(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, seconds) * 1000));
}

export function failoverTable(results: readonly FailoverResult[]): string {
  const rows = results.map(
    ({ profile, carrier, flow, cut, link, gapMs, laterGapMs, gapBoundMs: bound, leastGapMs: least, returnMs, ok }) => [
      profile,
      carrier,
      flow,
      `${link}, ${cut}`,
      gapMs.toFixed(0),
      bound.toFixed(0),
      least === 0 ? '' : least.toFixed(0),
      laterGapMs.toFixed(0),
      flow === 'udp' ? '' : returnMs === undefined ? 'never' : returnMs.toFixed(0),
      ok ? 'ok' : 'over the bound',
    ],
  );
  return table(
    ['profile', 'carrier', 'flow', 'link cut', 'gap, ms', 'bound', 'delay alone', 'later gaps', 'used again after, ms', 'verdict'],
    rows,
  );
}

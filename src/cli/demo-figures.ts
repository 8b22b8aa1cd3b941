/** What the demo concludes from its samples. Pure: samples in, figures out. */

/** One reading of the counters; bytes since the start. */
export interface DemoSample {
  /** Since the download began. */
  atMs: number;
  /** IP bytes delivered by each link, towards the client. */
  linkBytes: readonly number[];
  /** Bytes of the download itself. */
  downloadBytes: number;
  /** Longest time without a byte of the download since the sample before. */
  gapMs: number;
}

export interface DemoLink {
  name: string;
  rateBitsPerSec: number;
  delayMs: number;
}

/** Times since the download began. */
export interface DemoSchedule {
  /** The bonded rate is measured from here to the cut. */
  steadyMs: number;
  cutMs: number;
  restoreMs: number;
  endMs: number;
  /** Index of the link that is cut. */
  cutLink: number;
}

export interface DemoFigures {
  /** Mean from steadyMs to the cut. */
  bondedBitsPerSec: number;
  /** From one second after the cut to the return. */
  cutBitsPerSec: number;
  /** Longest time without a byte from the cut to the return. */
  gapAtCutMs: number;
  /** From two seconds after the return to the end. */
  afterBitsPerSec: number;
  /** From the return until the cut link carries data again; null: it did not, or did not keep on. */
  bothAgainAfterMs: number | null;
  /** The download moved after the cut and after the return. */
  moved: boolean;
}

/** A link is in use when it carries this part of its rate: probes and keepalives are far below. */
const IN_USE_RATIO = 0.2;
/** Beyond this factor a bonded rate is called faster than the best link. */
const REALLY_FASTER = 1.05;
const CUT_SETTLE_MS = 1000;
const RETURN_SETTLE_MS = 2000;

/** Mean rate of `bytesOf` between two times; 0 when there are not two samples. */
export function rateBetween(samples: readonly DemoSample[], fromMs: number, toMs: number, bytesOf: (s: DemoSample) => number): number {
  const inside = samples.filter(({ atMs }) => atMs >= fromMs && atMs <= toMs);
  const [first, last] = [inside[0], inside.at(-1)];
  if (first === undefined || last === undefined || last.atMs <= first.atMs) return 0;
  return ((bytesOf(last) - bytesOf(first)) * 8000) / (last.atMs - first.atMs);
}

export function computeFigures(samples: readonly DemoSample[], links: readonly DemoLink[], schedule: DemoSchedule): DemoFigures {
  const { steadyMs, cutMs, restoreMs, endMs, cutLink } = schedule;
  const download = (fromMs: number, toMs: number) => rateBetween(samples, fromMs, toMs, (sample) => sample.downloadBytes);
  const duringCut = samples.filter(({ atMs }) => atMs > cutMs && atMs <= restoreMs);
  return {
    bondedBitsPerSec: download(steadyMs, cutMs),
    cutBitsPerSec: download(cutMs + CUT_SETTLE_MS, restoreMs),
    gapAtCutMs: duringCut.reduce((longest, { gapMs }) => Math.max(longest, gapMs), 0),
    afterBitsPerSec: download(restoreMs + RETURN_SETTLE_MS, endMs),
    bothAgainAfterMs: lastingUseAfter(samples, schedule, cutLink, links[cutLink]?.rateBitsPerSec ?? 0),
    moved: download(cutMs + CUT_SETTLE_MS, restoreMs) > 0 && download(restoreMs, endMs) > 0,
  };
}

function lastingUseAfter(samples: readonly DemoSample[], schedule: DemoSchedule, link: number, rateBitsPerSec: number): number | null {
  const { restoreMs, endMs } = schedule;
  const bytesOf = (sample: DemoSample) => sample.linkBytes[link] ?? 0;
  const enough = rateBitsPerSec * IN_USE_RATIO;
  // A burst after the return that dries up again is no use.
  if (rateBetween(samples, restoreMs + RETURN_SETTLE_MS, endMs, bytesOf) < enough) return null;
  for (let i = 1; i < samples.length; i++) {
    const [before, sample] = [samples[i - 1]!, samples[i]!];
    if (before.atMs < restoreMs || sample.atMs <= before.atMs) continue;
    if (((bytesOf(sample) - bytesOf(before)) * 8000) / (sample.atMs - before.atMs) >= enough) return sample.atMs - restoreMs;
  }
  return null;
}

export function isReallyFaster(bondedBitsPerSec: number, singleBitsPerSec: readonly number[]): boolean {
  return bondedBitsPerSec > Math.max(...singleBitsPerSec) * REALLY_FASTER;
}

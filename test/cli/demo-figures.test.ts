import t from 'tap';
import { computeFigures, type DemoSample, isReallyFaster, rateBetween } from '../../src/cli/demo-figures.js';
import { formatBar } from '../../src/cli/demo-view.js';

const LINKS = [
  { name: 'a', rateBitsPerSec: 40e6, delayMs: 10 },
  { name: 'b', rateBitsPerSec: 20e6, delayMs: 10 },
];
const SCHEDULE = { steadyMs: 1000, cutMs: 4000, restoreMs: 8000, endMs: 12_000, cutLink: 0 };

/** Samples every 100 ms of links whose rates (bits per second) are a function of time; the download carries what they carry. */
function play(ratesAt: (atMs: number) => readonly number[], gaps: Readonly<Record<number, number>> = {}): DemoSample[] {
  const samples: DemoSample[] = [];
  const linkBytes = [0, 0];
  for (let atMs = 100; atMs <= 12_000; atMs += 100) {
    ratesAt(atMs).forEach((rate, i) => {
      linkBytes[i]! += rate / 80;
    });
    samples.push({ atMs, linkBytes: [...linkBytes], downloadBytes: linkBytes[0]! + linkBytes[1]!, gapMs: gaps[atMs] ?? 5 });
  }
  return samples;
}

t.test('a download that goes on by the other link while one is cut', async (t) => {
  const samples = play((atMs) => [atMs > 4000 && atMs <= 8500 ? 40e3 : 40e6, 20e6], { 4300: 250, 3000: 900, 9000: 900 });
  const figures = computeFigures(samples, LINKS, SCHEDULE);
  t.equal(Math.round(figures.bondedBitsPerSec / 1e6), 60);
  t.equal(Math.round(figures.cutBitsPerSec / 1e6), 20);
  t.equal(figures.gapAtCutMs, 250, 'gaps before the cut and after the return are others');
  t.equal(figures.bothAgainAfterMs, 600, 'probes on the cut link are not use');
  t.equal(figures.moved, true);
});

t.test('a download that stalls at the cut, or after the return, has not moved', async (t) => {
  t.equal(
    computeFigures(
      play((atMs) => (atMs > 4000 && atMs <= 8000 ? [0, 0] : [40e6, 0])),
      LINKS,
      SCHEDULE,
    ).moved,
    false,
  );
  const stalled = computeFigures(
    play((atMs) => (atMs > 8000 ? [0, 0] : [0, 20e6])),
    LINKS,
    SCHEDULE,
  );
  t.equal(stalled.moved, false);
  t.equal(stalled.bothAgainAfterMs, null);
});

t.test('a burst after the return that dries up is no use of the link', async (t) => {
  const samples = play((atMs) => [atMs > 4000 && (atMs <= 8000 || atMs > 9500) ? 40e3 : 40e6, 20e6]);
  const figures = computeFigures(samples, LINKS, SCHEDULE);
  t.equal(figures.bothAgainAfterMs, null);
  t.equal(figures.moved, true);
  t.equal(Math.round(figures.afterBitsPerSec / 1e6), 20);
});

t.test('bonding counts only when it is clearly faster than the best link', async (t) => {
  t.equal(isReallyFaster(60e6, [40e6, 20e6]), true);
  t.equal(isReallyFaster(41e6, [40e6, 20e6]), false);
  t.equal(isReallyFaster(0, [0, 0]), false);
});

t.test('a rate needs two samples', async (t) => {
  t.equal(
    rateBetween([], 0, 1000, (s) => s.downloadBytes),
    0,
  );
  t.equal(
    rateBetween(play(() => [8e6, 0]).slice(0, 1), 0, 1000, (s) => s.downloadBytes),
    0,
  );
});

t.test('a bar is as wide as asked for, whatever the value', async (t) => {
  t.equal(formatBar(5, 10, 8, false), '####....');
  t.equal(formatBar(50, 10, 8, false), '########');
  t.equal(formatBar(-1, 10, 8, false), '........');
  t.equal(formatBar(1, 0, 8, false), '........');
});

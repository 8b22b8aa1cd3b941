import t from 'tap';
import { bytesAt, longestGapMs, rateBetween } from './bulk.js';
import { jainIndex } from './fairness-command.js';
import type { RunResult } from './measure.js';
import { PROFILES, profileNamed, singleLink, sumOfRatesBitsPerSec, swingIsLow } from './profiles.js';
import { judge, markdownTable, median, summarise } from './report.js';
import { objectSizes } from './short-flows-command.js';
import { describeCall } from './udp-command.js';

function run(direction: 'download' | 'upload', share: number, megabits = share * 100): RunResult {
  return { direction, share, shareFromStart: share, megabits, gapMs: 0, links: [], load: 0 };
}

t.test('the figure of several runs is their median, for each direction alone', async (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([4, 1, 2, 3]), 2.5);
  const measured = summarise([
    run('download', 0.9),
    run('upload', 0.5),
    run('download', 0.7),
    run('upload', 0.4),
    run('download', 0.8),
    run('upload', 0.6),
  ]);
  t.same(measured.share, [0.8, 0.5]);
});

t.test('a share below the bar, a stream below the better link alone, and a run that failed are told', async (t) => {
  const profile = profileNamed('baseline');
  const ours = summarise([run('download', 0.9), run('upload', 0.8)]);
  t.same(judge({ profile, ours }).reasons, ['up below the bar']);
  const good = summarise([run('download', 0.9, 40), run('upload', 0.9, 90)]);
  const single = [summarise([run('download', 0.9, 41.0), run('upload', 0.9, 41.0)])];
  t.same(judge({ profile, ours: good, single }).reasons, ['down below the better link']);
  t.notOk(judge({ profile, ours: summarise([]) }).ok, 'without a figure no bar is met');
  t.match(markdownTable([{ profile, ours, single }]), /\| baseline \| 50 \/ 20 ms \+ 50 \/ 20 ms \| 0\.88 \| 0\.90 \/ 0\.80 \|/);
});

t.test('bytes between two samples are shared out in proportion, and nothing came before the first', async (t) => {
  const samples = [
    { atSec: 1, bytes: 100 },
    { atSec: 2, bytes: 300 },
    { atSec: 4, bytes: 300 },
  ];
  t.equal(bytesAt(samples, 0.5), 0);
  t.equal(bytesAt(samples, 1.5), 200);
  t.equal(bytesAt(samples, 9), 300);
  t.equal(rateBetween({ startSec: 0, connectedSec: 0, endSec: 4, samples: [samples, samples] }, 1, 2), 2 * 200 * 8);
});

t.test('the longest gap counts the silence at both ends of the window, and a sample that brought nothing is silence too', async (t) => {
  const samples = [
    { atSec: 1, bytes: 10 },
    { atSec: 1.2, bytes: 20 },
    { atSec: 1.9, bytes: 20 },
    { atSec: 2, bytes: 30 },
  ];
  t.equal(Math.round(longestGapMs(samples, 1, 2)), 800);
  t.equal(Math.round(longestGapMs(samples, 1, 5)), 3000);
  t.equal(Math.round(longestGapMs(samples, 0, 1.2)), 1000);
});

t.test('the sum of rates of a swinging link is its mean over the window', async (t) => {
  const profile = profileNamed('swing');
  const how = profile.swing!;
  t.notOk(swingIsLow(how, 0));
  t.ok(swingIsLow(how, how.periodMs / 2));
  t.equal(sumOfRatesBitsPerSec(profile, 0, how.periodMs), 50e6 + 30e6);
  t.equal(sumOfRatesBitsPerSec(profile, how.periodMs / 2, how.periodMs), 50e6 + 10e6);
  t.equal(sumOfRatesBitsPerSec(profile, 2000, 8000), 50e6 + 30e6);
  t.equal(sumOfRatesBitsPerSec(singleLink(profile, 1), 0, how.periodMs), 30e6);
  t.equal(singleLink(profile, 0).swing, undefined);
});

t.test('names of profiles are unique, and an unknown one is an error that tells them', async (t) => {
  t.equal(new Set(PROFILES.map(({ name }) => name)).size, PROFILES.length);
  t.throws(() => profileNamed('rtt'), /there are baseline/);
});

t.test("Jain's index is 1 when all have the same and 1/n when one has everything", async (t) => {
  t.equal(jainIndex([5, 5, 5]), 1);
  t.equal(jainIndex([9, 0, 0]), 1 / 3);
  t.equal(jainIndex([0, 0]), 0);
});

t.test('object sizes are the same every time, and within 2 KB and 2 MB', async (t) => {
  const sizes = objectSizes(200, 1);
  t.same(sizes, objectSizes(200, 1));
  t.ok(Math.min(...sizes) >= 2_000 && Math.max(...sizes) <= 2_000_000);
});

t.test('a call: what is lost, late behind others, and how long nothing came', async (t) => {
  const packet = (sequence: number, backSec: number) => ({ sequence, sentSec: sequence / 10, farSec: sequence / 10 + 0.02, backSec });
  const described = describeCall({
    startSec: 0,
    sentPackets: 5,
    packets: [packet(0, 0.05), packet(2, 0.25), packet(1, 0.26), packet(4, 0.46)],
  });
  t.equal(described.reordered, 1);
  t.equal(described.lossRatio.toFixed(3), '0.200');
  t.equal(Math.round(described.longestGapMs), 200);
  t.equal(Math.round(described.upMs.median), 20);
});

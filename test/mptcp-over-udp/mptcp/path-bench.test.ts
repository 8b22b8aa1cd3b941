import t from 'tap';
import { HarmWatch, PathBench, type WatchedSubflow } from '../../../src/mptcp-over-udp/mptcp/path-bench.js';
import { type BulkPeer, type BulkServer, bulkServer, connectBulk } from '../../sim/bulk-peer.js';
import type { SimLinkOptions } from '../../sim/sim-link.js';
import { TwoHosts } from '../../sim/two-hosts.js';

const CABLE: SimLinkOptions = { rateBitsPerSec: 50e6, delayMs: 10, queuePackets: 1000, queueCountsInFlight: true };
/** Far, slow, and every twentieth packet is lost. */
const BAD_SATELLITE: SimLinkOptions = {
  rateBitsPerSec: 2e6,
  delayMs: 600,
  queuePackets: 1000,
  lossRatio: 0.05,
  queueCountsInFlight: true,
};

interface Download {
  hosts: TwoHosts;
  server: BulkServer;
  client: BulkPeer;
}

function download(paths: SimLinkOptions[], benchedMs: number[] = []): Download {
  const server = bulkServer();
  const hosts = new TwoHosts({
    paths,
    serverEvents: { ...server, onPathBenched: (_path, _reason, nowMs) => benchedMs.push(nowMs) },
  });
  return { hosts, server, client: connectBulk(hosts, false, 0) };
}

function megabits({ hosts, client }: Download, ms: number): number {
  const before = client.readBytes;
  hosts.run(ms);
  return ((client.readBytes - before) * 8) / 1000 / ms;
}

t.test('a path that harms is benched with the reason, and the stream is no worse than on the good one alone', async (t) => {
  const alone = download([CABLE]);
  megabits(alone, 8_000);
  const expected = megabits(alone, 10_000);
  const both = download([CABLE, BAD_SATELLITE]);
  megabits(both, 8_000);
  const path = both.hosts.server.paths.get(1);
  t.equal(path?.bench?.isBenched(both.hosts.clock.nowMs), true);
  t.match(path?.bench?.reason, /^streams waited for it \d+ % of the time, for \d\.\d % of their data$/);
  t.equal(both.hosts.server.paths.get(0)?.bench, undefined, 'the good one is not');
  const found = megabits(both, 10_000);
  t.ok(found >= 0.98 * expected, `${found} Mbit/s, alone ${expected}`);
});

t.test('where it is the only one left, a benched path carries', async (t) => {
  const both = download([CABLE, BAD_SATELLITE]);
  megabits(both, 8_000);
  both.hosts.setPathUsable(0, false);
  megabits(both, 3_000);
  const rate = megabits(both, 10_000);
  t.ok(rate > 0.05, `${rate} Mbit/s`);
});

t.test('connections that come later find the path benched', async (t) => {
  const both = download([CABLE, BAD_SATELLITE]);
  megabits(both, 8_000);
  connectBulk(both.hosts, false, 0);
  both.hosts.run(3_000);
  const far = both.server.peers[1]?.connection?.subflows.find(({ pathId }) => pathId === 1);
  t.equal(far?.benched, true);
  t.equal(far?.recovery.rate.totalDeliveredBytes, 0);
});

t.test('several connections that find the same harm bench the path once', async (t) => {
  const benchedMs: number[] = [];
  const { hosts, server } = download([CABLE, BAD_SATELLITE], benchedMs);
  for (let i = 0; i < 3; i++) {
    hosts.run(300);
    connectBulk(hosts, false, 0);
  }
  hosts.run(14_000);
  t.equal(server.peers.length, 4);
  t.equal(benchedMs.length, 1);
  t.equal(hosts.server.paths.get(1)?.bench?.untilMs, (benchedMs[0] ?? 0) + 15_000);
  t.equal(hosts.server.counters['mptcp-benched'], 1);
});

function subflow(pathId: number, rttMs: number): WatchedSubflow & { recovery: { rate: { totalDeliveredBytes: number } } } {
  return { pathId, rttMs, usable: true, heldBack: false, recovery: { rate: { totalDeliveredBytes: 0 } } };
}

/** Ten seconds, in steps of 10 ms: each period, the head of line stands for `heldMs` with the second subflow. Returns harm found. */
function watch(share: number, heldMs: number, periodMs = 1_000): ReturnType<HarmWatch['look']> {
  const watch = new HarmWatch();
  const [fast, slow] = [subflow(0, 20), subflow(1, 400)];
  let una = 0;
  for (let nowMs = 0; nowMs < 10_000; nowMs += 10) {
    fast.recovery.rate.totalDeliveredBytes += 10_000 * (1 - share);
    slow.recovery.rate.totalDeliveredBytes += 10_000 * share;
    const held = nowMs % periodMs < heldMs;
    if (!held) una += 10_000;
    const harm = watch.look([fast, slow], una, held ? slow : fast, nowMs);
    if (harm !== undefined) return harm;
  }
  return undefined;
}

t.test('harm is much waiting for little data', async (t) => {
  const harm = watch(0.02, 500);
  t.equal(harm?.subflow.pathId, 1);
  t.ok(Math.abs((harm?.share ?? 0) - 0.02) < 0.001, 'its share');
  // The first 100 ms of each wait are nobody's fault.
  t.ok(Math.abs((harm?.held ?? 0) - 0.4) < 0.05, `held ${harm?.held}`);
  t.equal(watch(0.02, 200), undefined, 'short waits are none');
  t.equal(watch(0.3, 700), undefined, 'a path that brings a third is worth them');
});

t.test('each time the bench is twice as long, up to five minutes, and after ten minutes of peace it is short again', async (t) => {
  const bench = new PathBench();
  const harm = { subflow: subflow(1, 400), share: 0.01, held: 0.5 };
  const lengths: number[] = [];
  let nowMs = 1_000;
  for (let i = 0; i < 6; i++) {
    bench.put(harm, nowMs);
    t.ok(bench.isBenched(nowMs));
    lengths.push(bench.untilMs - nowMs);
    nowMs = bench.untilMs;
    t.notOk(bench.isBenched(nowMs));
  }
  t.same(lengths, [15_000, 30_000, 60_000, 120_000, 240_000, 300_000]);
  nowMs += 600_000;
  bench.put(harm, nowMs);
  t.equal(bench.untilMs - nowMs, 15_000);
});

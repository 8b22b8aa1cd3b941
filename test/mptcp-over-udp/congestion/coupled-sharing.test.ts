/**
 * What the coupled algorithms were published for, in the real engine over simulated bottlenecks: no more than a single TCP on a shared bottleneck,
 * away from congested paths, the sum of disjoint paths. Uncoupled Reno is the contrast: it fails the first two.
 */

import t from 'tap';
import { CONGESTION_CONTROLS } from '../../../src/mptcp-over-udp/congestion/congestion-controls.js';
import { type FlowResult, SharedBottlenecks } from '../../sim/shared-bottleneck.js';
import { TUNNEL_OVERHEAD_BYTES } from '../../sim/two-hosts.js';

const COUPLED = ['lia', 'olia', 'balia', 'wvegas'] as const;
type Name = keyof typeof CONGESTION_CONTROLS;
const RUN_MS = 60_000;
const SHORT_RUN_MS = 30_000;
const SEEDS = [1, 2];
/** Payload in a full packet on the wire: 1500 less tunnel, IP and TCP headers and the DSS option. */
const PAYLOAD_RATIO = (1_500 - TUNNEL_OVERHEAD_BYTES - 40 - 24) / 1_500;

/** Two subflows through one link of 12 Mbit/s, beside one single-path Reno: goodput over Reno's. */
function sharedBottleneckRatio(name: Name, seed: number): number {
  const sim = new SharedBottlenecks([{ rateBitsPerSec: 12e6, queuePackets: 30 }], seed);
  sim.start({ paths: [0, 0], delaysMs: [10, 10], congestionControl: CONGESTION_CONTROLS[name] });
  sim.start({ paths: [0], delaysMs: [10], congestionControl: CONGESTION_CONTROLS.reno });
  sim.mark();
  sim.run(RUN_MS);
  const [multipath, single] = sim.results() as [FlowResult, FlowResult];
  return multipath.goodputBitsPerSec / single.goodputBitsPerSec;
}

/** Path 0: 10 Mbit/s alone; path 1: 10 Mbit/s shared with four Reno connections. What the connection takes on each, in Mbit/s. */
function besideFourOnTheSecondPath(name: Name, seed: number): [number, number] {
  const sim = new SharedBottlenecks(
    [
      { rateBitsPerSec: 10e6, queuePackets: 50 },
      { rateBitsPerSec: 10e6, queuePackets: 50 },
    ],
    seed,
  );
  sim.start({ paths: [0, 1], congestionControl: CONGESTION_CONTROLS[name] });
  for (let i = 0; i < 4; i++) sim.start({ paths: [1], congestionControl: CONGESTION_CONTROLS.reno });
  sim.mark();
  sim.run(SHORT_RUN_MS);
  const [free, congested] = (sim.results()[0] as FlowResult).pathBitsPerSec as [number, number];
  return [free / 1e6, congested / 1e6];
}

/** 12 and 8 Mbit/s with unequal delays, nobody else: the part of what the two carry as payload. */
function disjointShare(name: Name, seed: number): number {
  const sim = new SharedBottlenecks(
    [
      { rateBitsPerSec: 12e6, queuePackets: 60 },
      { rateBitsPerSec: 8e6, queuePackets: 60 },
    ],
    seed,
  );
  sim.start({ paths: [0, 1], delaysMs: [10, 25], congestionControl: CONGESTION_CONTROLS[name] });
  sim.mark();
  sim.run(SHORT_RUN_MS);
  return (sim.results()[0] as FlowResult).goodputBitsPerSec / (20e6 * PAYLOAD_RATIO);
}

t.setTimeout(120_000);

for (const name of COUPLED) {
  t.test(`${name}: two subflows on a shared bottleneck take at most 1.2 times what a single TCP takes`, async (t) => {
    for (const seed of SEEDS) {
      const ratio = sharedBottleneckRatio(name, seed);
      t.comment(`${name} seed ${seed}: ${ratio.toFixed(2)}`);
      t.ok(ratio <= 1.2, `seed ${seed}: ${ratio.toFixed(2)}`);
      // wVegas yields to loss-based flows; it must not starve.
      t.ok(ratio >= (name === 'wvegas' ? 0.3 : 0.7), `seed ${seed}: ${ratio.toFixed(2)}`);
    }
  });

  t.test(`${name}: load moves off a path that others congest`, async (t) => {
    const [free, congested] = besideFourOnTheSecondPath(name, 1);
    t.comment(`${name}: ${free.toFixed(2)} Mbit/s on the free path, ${congested.toFixed(2)} on the congested one`);
    t.ok(free > 9, `free path: ${free.toFixed(2)} of 10`);
    t.ok(congested < 1, `less than half of a fair share of 2 Mbit/s: ${congested.toFixed(2)}`);
    t.ok(congested > 0.02, 'and still probes it');
  });

  t.test(`${name}: disjoint paths add up`, async (t) => {
    const share = disjointShare(name, 1);
    t.comment(`${name}: ${share.toFixed(3)} of the sum`);
    t.ok(share >= 0.8, share.toFixed(3));
  });
}

t.test('reno, uncoupled: two subflows take twice a single TCP, and stay on the congested path', async (t) => {
  for (const seed of SEEDS) {
    const ratio = sharedBottleneckRatio('reno', seed);
    t.comment(`reno seed ${seed}: ${ratio.toFixed(2)}`);
    t.ok(ratio > 1.5 && ratio < 2.5, `seed ${seed}: ${ratio.toFixed(2)}`);
  }
  const [, congested] = besideFourOnTheSecondPath('reno', 1);
  t.comment(`reno: ${congested.toFixed(2)} Mbit/s on the congested path`);
  t.ok(congested > 1.5, `about a fair share of 2 Mbit/s: ${congested.toFixed(2)}`);
  t.ok(disjointShare('reno', 1) >= 0.8);
});

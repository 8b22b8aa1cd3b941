/**
 * Congestion control over single emulated links, one bulk flow each, on the virtual clock: share of the rate, mean queueing delay and loss must stay
 * within each row's bounds. Queues are counted as in the lab: what is in flight is in them.
 */
import t from 'tap';
import { createBbr } from '../../../src/mptcp-over-udp/congestion/bbr.js';
import { createCubic } from '../../../src/mptcp-over-udp/congestion/cubic.js';
import { runSingleLink, type SingleLinkProfile } from '../../sim/single-link.js';

interface Row {
  name: string;
  profile: SingleLinkProfile;
  minShare: number;
  maxQueueMs: number;
  maxLossRatio: number;
}

const SEEDS = [1, 2, 3];

function row(
  name: string,
  rate: number,
  delay: number,
  minShare: number,
  maxQueueMs: number,
  maxLossRatio: number,
  rest: Partial<SingleLinkProfile> = {},
): Row {
  return { name, profile: { rateMbitPerSec: rate, delayMs: delay, ...rest }, minShare, maxQueueMs, maxLossRatio };
}

const SEPARATE_QUEUE = { queueCountsInFlight: false };
/** Standing queue: at most half of the RTT (delay, both ways) and 5 ms. */
const queueBound = (delayMs: number): number => delayMs + 5;

const BBR_ROWS: Row[] = [
  row('clean 50/20', 50, 20, 0.96, queueBound(20), 0.001),
  row('clean 12/20', 12, 20, 0.96, queueBound(20), 0.001),
  row('clean 100/20', 100, 20, 0.96, queueBound(20), 0.001),
  row('clean 300/8', 300, 8, 0.96, queueBound(8), 0.001),
  row('clean 50/70', 50, 70, 0.93, queueBound(70), 0.01),
  row('clean 50/120', 50, 120, 0.88, queueBound(120), 0.02, SEPARATE_QUEUE),
  row('2 % loss 20/10', 20, 10, 0.9, queueBound(10), 0.03, { lossRatio: 0.02, ...SEPARATE_QUEUE }),
  row('2 % loss 20/100', 20, 100, 0.9, queueBound(100), 0.03, { lossRatio: 0.02, ...SEPARATE_QUEUE }),
  row('2 % loss 50/20', 50, 20, 0.9, queueBound(20), 0.03, { lossRatio: 0.02, ...SEPARATE_QUEUE }),
  row('2 % loss 100/10', 100, 10, 0.9, queueBound(10), 0.03, { lossRatio: 0.02, ...SEPARATE_QUEUE }),
  row('2 % loss 100/100', 100, 100, 0.9, queueBound(100), 0.04, { lossRatio: 0.02, ...SEPARATE_QUEUE }),
  row('0.5 % loss 50/20', 50, 20, 0.95, queueBound(20), 0.01, { lossRatio: 0.005 }),
  row('jitter 5, 50/20', 50, 20, 0.95, 35, 0.01, { jitterMs: 5 }),
  row('jitter 20, 50/20', 50, 20, 0.85, 80, 0.06, { jitterMs: 20 }),
  row('jitter 8, 0.5 % 25/45', 25, 45, 0.93, 85, 0.03, { jitterMs: 8, lossRatio: 0.005 }),
  row('jitter 20, 2 % 20/50', 20, 50, 0.9, 130, 0.06, { jitterMs: 20, lossRatio: 0.02 }),
  row('queue of 20, 50/20', 50, 20, 0.9, 5, 0.05, { queuePackets: 20, ...SEPARATE_QUEUE }),
  row('ACKs every 8 ms, 100/10', 100, 10, 0.93, 35, 0.01, { aggregationMs: 8 }),
];

const CUBIC_ROWS: Row[] = [
  row('clean 50/20', 50, 20, 0.95, 220, 0.01),
  row('clean 300/8', 300, 8, 0.95, 40, 0.01),
  row('clean 50/20, queue of half a BDP', 50, 20, 0.9, 30, 0.01, { queuePackets: 90, ...SEPARATE_QUEUE }),
  row('queue of 20, 50/20', 50, 20, 0.8, 5, 0.01, { queuePackets: 20, ...SEPARATE_QUEUE }),
];

for (const [name, congestion, rows] of [
  ['bbr', createBbr, BBR_ROWS],
  ['cubic', createCubic, CUBIC_ROWS],
] as const) {
  t.test(name, async (t) => {
    for (const { name: rowName, profile, minShare, maxQueueMs, maxLossRatio } of rows) {
      for (const seed of SEEDS) {
        const result = runSingleLink(profile, {
          congestion,
          seed,
          warmUpMs: profile.delayMs >= 100 ? 2500 : 0,
          durationMs: 20_000,
          timerGranularityMs: 0.2,
        });
        const figures = `share ${result.share.toFixed(3)}, queue ${result.queueMeanMs.toFixed(1)} ms, loss ${result.lossRatio.toFixed(4)}, seed ${seed}`;
        t.ok(
          result.share >= minShare && result.queueMeanMs <= maxQueueMs && result.lossRatio <= maxLossRatio,
          `${rowName}: share >= ${minShare}, queue <= ${maxQueueMs} ms, loss <= ${maxLossRatio}: ${figures}`,
        );
      }
    }
  });
}

t.test('random loss costs bbr almost nothing where cubic collapses', async (t) => {
  const profile: SingleLinkProfile = { rateMbitPerSec: 50, delayMs: 20, lossRatio: 0.01 };
  const bbr = runSingleLink(profile, { congestion: createBbr });
  const cubic = runSingleLink(profile, { congestion: createCubic });
  t.ok(bbr.share > 0.95, `${bbr.share}`);
  t.ok(bbr.share > 4 * cubic.share, `${cubic.share}`);
});

import t from 'tap';
import { createBbr } from '../../../src/mptcp-over-udp/congestion/bbr.js';
import { sharedModel } from '../../../src/mptcp-over-udp/congestion/bbr-shared-path.js';
import type { CongestionControl, PathMemory } from '../../../src/mptcp-over-udp/congestion/congestion-control.js';
import { createAckSample } from '../../../src/mptcp-over-udp/congestion/delivery-rate.js';
import { createSingleLink, runSingleLink, type SingleLinkProfile } from '../../sim/single-link.js';

const SEEDS = [1, 2, 3];

/** As the class shows it, beyond the seam. */
type Bbr = CongestionControl & { state: string; bandwidthBytesPerSec: number };

for (const flowCount of [2, 4, 16]) {
  t.test(`${flowCount} flows on one path share it fairly and keep their common queue short`, async (t) => {
    for (const seed of SEEDS) {
      const profile: SingleLinkProfile = { rateMbitPerSec: 50, delayMs: 20 };
      const result = runSingleLink(profile, {
        congestion: createBbr,
        seed,
        flowCount,
        startEveryMs: 500,
        warmUpMs: 15_000,
        durationMs: 35_000,
      });
      t.ok(result.fairness >= 0.95, `Jain ${result.fairness.toFixed(3)}, seed ${seed}`);
      t.ok(result.share >= 0.95, `share ${result.share.toFixed(3)}, seed ${seed}`);
      t.ok(result.queueMeanMs <= 25, `queue ${result.queueMeanMs.toFixed(1)} ms, seed ${seed}`);
      t.equal(result.lossRatio, 0);
    }
  });
}

t.test('four flows under jitter still share fairly', async (t) => {
  const profile: SingleLinkProfile = { rateMbitPerSec: 50, delayMs: 20, jitterMs: 5 };
  const result = runSingleLink(profile, { congestion: createBbr, flowCount: 4, startEveryMs: 500, warmUpMs: 15_000, durationMs: 35_000 });
  t.ok(result.fairness >= 0.95, `Jain ${result.fairness.toFixed(3)}`);
  t.ok(result.share >= 0.93, `share ${result.share.toFixed(3)}`);
});

for (const flowCount of [2, 4]) {
  t.test(`so do ${flowCount} under heavy jitter`, async (t) => {
    const profile: SingleLinkProfile = { rateMbitPerSec: 50, delayMs: 20, jitterMs: 10 };
    const options = { congestion: createBbr, flowCount, startEveryMs: 500, warmUpMs: 15_000, durationMs: 35_000, timerGranularityMs: 0.2 };
    const indices = SEEDS.map((seed) => runSingleLink(profile, { ...options, seed }).fairness);
    const mean = indices.reduce((sum, index) => sum + index) / indices.length;
    t.ok(mean >= 0.96, `Jain ${mean.toFixed(3)}, of ${indices.map((index) => index.toFixed(3)).join(', ')}`);
  });
}

t.test('four flows on a queue of 20 packets lose less than a fifth and fill the path', async (t) => {
  const profile: SingleLinkProfile = { rateMbitPerSec: 50, delayMs: 20, queuePackets: 20, queueCountsInFlight: false };
  const result = runSingleLink(profile, { congestion: createBbr, flowCount: 4, startEveryMs: 500, durationMs: 30_000 });
  t.ok(result.lossRatio < 0.2, `loss ${result.lossRatio.toFixed(3)}`);
  t.ok(result.share > 0.9, `share ${result.share.toFixed(3)}`);
});

/** When the flow first got 0.9 of the rate over 50 ms. */
function timeToFullRateMs(profile: SingleLinkProfile): number {
  const world = createSingleLink(profile, { congestion: createBbr });
  const stepMs = 50;
  let before = 0;
  for (let nowMs = stepMs; nowMs < 10_000; nowMs += stepMs) {
    world.clock.runUntil(nowMs);
    const received = world.flows[0]?.receivedBytes ?? 0;
    if (received - before >= (0.9 * profile.rateMbitPerSec * 125 * stepMs) / 1) return nowMs;
    before = received;
  }
  return Number.POSITIVE_INFINITY;
}

t.test('a new flow reaches the full rate in a few round trips, sooner on a path that is known', async (t) => {
  const profile: SingleLinkProfile = { rateMbitPerSec: 50, delayMs: 20 };
  const unknownMs = timeToFullRateMs(profile);
  const knownMs = timeToFullRateMs({ ...profile, memory: { minRttMs: 40, bandwidthBytesPerSec: 50 * 125_000 } });
  t.ok(unknownMs <= 8 * 40, `unknown path: ${unknownMs} ms`);
  t.ok(knownMs <= 4 * 40, `known path: ${knownMs} ms`);
});

t.test('the path memory is kept by the flows: a later one starts from what the first got', async (t) => {
  const world = createSingleLink({ rateMbitPerSec: 50, delayMs: 20 }, { congestion: createBbr, flowCount: 2, startEveryMs: 3000 });
  world.clock.runUntil(3000.5);
  const second = world.flows[1]?.congestion as Bbr;
  t.ok(second.bandwidthBytesPerSec > 0.35 * 50 * 125_000, `${second.bandwidthBytesPerSec}`);
  t.ok(second.cwndBytes > 10 * 1400);
});

t.test('a flow alone on a steady path leaves next to nothing of it, and queues next to nothing', async (t) => {
  const result = runSingleLink({ rateMbitPerSec: 100, delayMs: 10 }, { congestion: createBbr, warmUpMs: 2000, durationMs: 32_000 });
  t.ok(result.share >= 0.996, `share ${result.share.toFixed(4)}`);
  t.ok(result.queueMeanMs <= 4, `queue ${result.queueMeanMs.toFixed(1)} ms`);
});

t.test('ProbeRTT comes rarely on a path to itself and costs little', async (t) => {
  const world = createSingleLink({ rateMbitPerSec: 50, delayMs: 20 }, { congestion: createBbr });
  let probingMs = 0;
  let entries = 0;
  let smallest = Number.POSITIVE_INFINITY;
  for (let nowMs = 1; nowMs <= 60_000; nowMs++) {
    const was = (world.flows[0]?.congestion as Bbr | undefined)?.state;
    world.clock.runUntil(nowMs);
    const flow = world.flows[0];
    const is = (flow?.congestion as Bbr | undefined)?.state;
    if (is !== 'ProbeRTT') continue;
    probingMs++;
    if (was !== 'ProbeRTT') entries++;
    smallest = Math.min(smallest, flow?.inflightBytes ?? 0);
  }
  t.ok(entries >= 1 && entries <= 12, `${entries} entries in a minute`);
  t.ok(probingMs < 1500, `${probingMs} ms`);
  t.ok(smallest > 0.3 * 250_000, `never fewer than ${smallest} bytes in flight of a BDP of 250000`);
});

t.test('a rate that swings by five is followed both ways', async (t) => {
  const received: number[] = [];
  const result = runSingleLink(
    { rateMbitPerSec: 50, delayMs: 20 },
    {
      congestion: createBbr,
      durationMs: 40_000,
      prepare: ({ clock, forward, flows }) => {
        for (let at = 4000; at < 40_000; at += 4000) {
          clock.schedule(at, () => {
            received.push(flows[0]?.receivedBytes ?? 0);
            forward.rateBitsPerSec = forward.rateBitsPerSec === 50e6 ? 10e6 : 50e6;
          });
        }
      },
    },
  );
  // Half of the time 50, half of it 10: 0.6 of 50 on average.
  t.ok(result.share >= 0.85 * 0.6, `share ${result.share.toFixed(3)} of 0.6`);
  t.ok(result.queueMeanMs < 120, `queue ${result.queueMeanMs.toFixed(1)} ms`);
  received.forEach((bytes, index) => {
    if (index === 0) return;
    const rate = index % 2 === 1 ? 10 : 50;
    const share = (bytes - received[index - 1]!) / (rate * 125 * 4000);
    t.ok(share > 0.75, `period ${index} at ${rate} Mbit/s: ${share.toFixed(2)}`);
  });
});

t.test('a longer round trip is accepted within seconds', async (t) => {
  const at = (delayMs: number): number => {
    let before = 0;
    const result = runSingleLink(
      { rateMbitPerSec: 50, delayMs: 20 },
      {
        congestion: createBbr,
        durationMs: 20_000,
        prepare: ({ clock, forward, flows }) => {
          clock.schedule(7000, () => {
            forward.delayMs = delayMs;
          });
          clock.schedule(14_000, () => {
            before = flows[0]?.receivedBytes ?? 0;
          });
        },
      },
    );
    return (result.bytesPerSec * 20 - before) / (50 * 125_000 * 6);
  };
  t.ok(at(80) > 0.9, 'from 40 to 100 ms');
  t.ok(at(5) > 0.9, 'from 40 to 25 ms');
});

t.test('one leap of the round trip while a flow starts does not slow it for seconds', async (t) => {
  const profile: SingleLinkProfile = { rateMbitPerSec: 100, delayMs: 10, jitterMs: 0.1 };
  const leapMs = 8;
  for (const startMs of [60, 140]) {
    for (const seed of SEEDS) {
      const { clock, forward, flows } = createSingleLink(profile, { congestion: createBbr, seed });
      clock.schedule(startMs, () => {
        forward.delayMs += leapMs;
        clock.schedule(startMs + leapMs, () => {
          forward.delayMs -= leapMs;
        });
      });
      const [fromMs, toMs] = [startMs + 300, startMs + 2300];
      clock.runUntil(fromMs);
      const before = flows[0]!.receivedBytes;
      clock.runUntil(toMs);
      const share = ((flows[0]!.receivedBytes - before) * 8) / (profile.rateMbitPerSec * 1000 * (toMs - fromMs));
      t.ok(share >= 0.99, `${share.toFixed(3)}, leap at ${startMs} ms, seed ${seed}`);
    }
  }
});

t.test('nor do leaps that another flow saw before', async (t) => {
  const memory: PathMemory = { minRttMs: 20.2, bandwidthBytesPerSec: 0 };
  Object.assign(sharedModel(memory, 0), { jitterMs: 22, jitterFlow: 0, lastFlow: 0, nextFlow: 1 });
  const profile: SingleLinkProfile = { rateMbitPerSec: 100, delayMs: 10, memory };
  const { share } = runSingleLink(profile, { congestion: createBbr, warmUpMs: 500, durationMs: 3500 });
  t.ok(share >= 0.98, `share ${share.toFixed(3)}`);
});

t.test('a packet that was lucky at the start of a flow under jitter does not keep it slow', async (t) => {
  const profile: SingleLinkProfile = { rateMbitPerSec: 50, delayMs: 20, jitterMs: 20 };
  // Their first round trips are 2 to 10 ms, of 90 on average.
  for (const seed of [11, 15, 31, 97]) {
    const { share } = runSingleLink(profile, { congestion: createBbr, seed, warmUpMs: 2000, durationMs: 14_000, timerGranularityMs: 0.2 });
    t.ok(share >= 0.9, `share ${share.toFixed(3)}, seed ${seed}`);
  }
});

t.test('under jitter a path that gives much more than before is filled within seconds', async (t) => {
  const profile: SingleLinkProfile = { rateMbitPerSec: 3, delayMs: 20, jitterMs: 10 };
  for (const seed of [1, 2, 3, 4, 5]) {
    const { clock, forward, backward, flows } = createSingleLink(profile, { congestion: createBbr, seed, timerGranularityMs: 0.2 });
    clock.runUntil(6000);
    for (const link of [forward, backward]) link.rateBitsPerSec = 50e6;
    clock.runUntil(10_500);
    const before = flows[0]!.receivedBytes;
    clock.runUntil(12_500);
    const share = ((flows[0]!.receivedBytes - before) * 8) / (50e6 * 2);
    t.ok(share >= 0.8, `share ${share.toFixed(3)}, seed ${seed}`);
  }
});

t.test('after silence on the path the flow is back at its rate within a second', async (t) => {
  let before = 0;
  let after = 0;
  const result = runSingleLink(
    { rateMbitPerSec: 50, delayMs: 20 },
    {
      congestion: createBbr,
      durationMs: 15_000,
      prepare: ({ clock, forward, flows }) => {
        clock.schedule(5000, () => {
          forward.blackhole = true;
        });
        clock.schedule(7000, () => {
          forward.blackhole = false;
        });
        // The RTO has backed off: it may be as long as the silence was.
        clock.schedule(10_000, () => {
          before = flows[0]?.receivedBytes ?? 0;
        });
        clock.schedule(11_000, () => {
          after = flows[0]?.receivedBytes ?? 0;
        });
      },
    },
  );
  t.ok(result.timeoutCount > 0);
  t.ok((after - before) / (50 * 125_000) > 0.9, `${(((after - before) * 8) / 1e6).toFixed(1)} Mbit/s`);
});

t.test('a timeout shrinks the window to a few segments at once, the first ACK brings half of it back', async (t) => {
  const world = createSingleLink({ rateMbitPerSec: 50, delayMs: 20 }, { congestion: createBbr });
  world.clock.runUntil(3000);
  const flow = world.flows[0]!;
  const full = flow.congestion.cwndBytes;
  flow.congestion.onRetransmissionTimeout(3000, flow.inflightBytes);
  t.ok(flow.congestion.cwndBytes <= 4 * 1400);
  world.clock.runUntil(3050);
  t.ok(flow.congestion.cwndBytes >= 0.45 * full);
  flow.congestion.onRetransmissionTimeout(3050, flow.inflightBytes);
  flow.congestion.onSpuriousLoss(3050);
  t.ok(flow.congestion.cwndBytes >= 0.45 * full);
});

t.test('without a rate limit that matters, bunched ACKs and short round trips do not starve the window', async (t) => {
  for (const aggregationMs of [0, 2, 5]) {
    const result = runSingleLink(
      { rateMbitPerSec: 2000, delayMs: 0.1, aggregationMs, queuePackets: 0 },
      { congestion: createBbr, durationMs: 2000, warmUpMs: 300, timerGranularityMs: 0.5, mssBytes: 14_000 },
    );
    t.ok(result.share > 0.85, `ACKs every ${aggregationMs} ms: ${(result.share * 2).toFixed(2)} Gbit/s of 2`);
  }
});

t.test('an application slower than the path does not lower what the path is known to give', async (t) => {
  const world = createSingleLink({ rateMbitPerSec: 50, delayMs: 20 }, { congestion: createBbr });
  world.clock.runUntil(3000);
  const flow = world.flows[0]!;
  const bbr = flow.congestion as Bbr;
  const before = bbr.bandwidthBytesPerSec;
  t.ok(before > 0.9 * 50 * 125_000);
  flow.applicationBytesPerSec = 125_000;
  world.clock.runUntil(3400);
  t.ok(bbr.bandwidthBytesPerSec > 0.8 * before, `${bbr.bandwidthBytesPerSec} of ${before}`);
});

t.test('the same seed gives the same run', async (t) => {
  const run = () =>
    runSingleLink(
      { rateMbitPerSec: 20, delayMs: 10, lossRatio: 0.01, jitterMs: 3 },
      { congestion: createBbr, seed: 9, durationMs: 5000, flowCount: 3 },
    );
  t.same(run(), run());
});

// RFC 6298 (3), Karn: where all was sent again, as behind a black hole for large segments, no acknowledgement is a sample.
t.test('until the round trip is known the model stays sound', async (t) => {
  const control = createBbr({ mssBytes: 1_160, initialWindowBytes: 11_600, nowMs: 0 }) as Bbr;
  const sample = createAckSample();
  let nowMs = 0;
  for (let round = 0; round < 60; round++) {
    const lossy = round >= 20 && round < 24;
    nowMs += 100;
    control.onSent(nowMs - 100, 5_000, 0);
    sample.nowMs = nowMs;
    sample.deliveredBytes = lossy ? 2_500 : 5_000;
    sample.lostBytes = lossy ? 2_500 : 0;
    sample.priorInflightBytes = 5_000;
    sample.inflightBytes = 0;
    sample.sampleDeliveredBytes = sample.deliveredBytes;
    sample.sampleLostBytes = sample.lostBytes;
    sample.sampleIntervalMs = 100;
    sample.priorDeliveredBytes = sample.totalDeliveredBytes;
    sample.totalDeliveredBytes += sample.deliveredBytes;
    sample.cwndLimited = true;
    sample.rttMs = round < 50 ? -1 : 100;
    control.onAck(sample);
    const { cwndBytes, bandwidthBytesPerSec } = control;
    if (!(cwndBytes >= 1_160 && bandwidthBytesPerSec >= 0)) {
      t.fail(`window ${cwndBytes}, bandwidth ${bandwidthBytesPerSec} after round ${round}`);
      return;
    }
  }
  t.ok(control.cwndBytes < 1_000_000, `window of ${control.cwndBytes} bytes`);
});
